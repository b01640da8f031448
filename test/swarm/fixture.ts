/** A site with members for tests of the swarm: real certificates, swarms on loopback, torrents of repeatable bytes. */
import { createHash } from "node:crypto"
import type { TestContext } from "node:test"
import type { Address } from "#core/address.ts"
import { systemClock, type Clock } from "#core/clock.ts"
import { siteName } from "#core/identifiers.ts"
import { makeTorrent, pieceBytesAt, type Torrent } from "#core/torrent.ts"
import { Admission } from "#crypto/admission.ts"
import { issueAuthority, issueCertificate } from "#crypto/certificate.ts"
import { memberIdentity } from "#crypto/identity.ts"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { seededRandom } from "#swarm/core/random.ts"
import { Swarm, type Discovery, type SwarmLog, type SwarmOptions, type TorrentSession } from "#swarm/swarm.ts"

const DAY_MS = 24 * 3600 * 1000
const seed = (name: string): Buffer => createHash("sha256").update(name).digest()

export type TestMember = { readonly memberId: string; readonly admission: Admission }

/** DER of the authority of a site, whose key is the same whenever the site's name is. */
async function testAuthority(site: string): Promise<Buffer> {
  const nowMs = systemClock.nowMs()
  return issueAuthority({
    site: siteName(site),
    seed: seed(`authority of ${site}`),
    notBeforeMs: nowMs - DAY_MS,
    notAfterMs: nowMs + DAY_MS,
    serial: seed(site).subarray(0, 16),
  })
}

/** From now on members of these other sites are admitted beside those of its own. */
export async function federate({ admission }: TestMember, sites: readonly string[]): Promise<void> {
  const federated = await Promise.all(sites.map(async (site) => ({ site, authorities: [await testAuthority(site)], revoked: [] })))
  admission.update({ federated })
}

/** One member of `site`, whose authority is the same whenever the site's name is. */
export async function testMember(
  name: string,
  role: "server" | "client",
  site = "testsite",
  clock: Clock = systemClock,
): Promise<TestMember> {
  const nowMs = systemClock.nowMs()
  const times = { notBeforeMs: nowMs - DAY_MS, notAfterMs: nowMs + DAY_MS }
  const authoritySeed = seed(`authority of ${site}`)
  const serial = seed(name).subarray(0, 16)
  const authorityDer = await testAuthority(site)
  const identity = memberIdentity(seed(`${site} ${name}`))
  const subject = {
    kind: "member",
    site: siteName(site),
    role,
    memberId: identity.memberId,
    groups: [],
    sealingKeyHex: identity.sealing.publicKeyHex,
  } as const
  const certificateDer = await issueCertificate({
    authoritySeed,
    authorityDer,
    subject,
    signingKeyHex: identity.signing.publicKeyHex,
    ...times,
    serial,
  })
  const admission = new Admission({
    clock,
    site: siteName(site),
    authorities: [authorityDer],
    revoked: [],
    certificateDer,
    signing: identity.signing,
  })
  return { memberId: identity.memberId, admission }
}

export type SwarmSettings = Partial<SwarmOptions> & {
  readonly discovery?: Discovery
  readonly log?: SwarmLog
  readonly site?: string
  /** Sites whose members are admitted too. */
  readonly federatedWith?: readonly string[]
}

/** A swarm on a free port of loopback; closed when the test ends. */
export async function testSwarm(t: TestContext, name: string, role: "server" | "client", settings: SwarmSettings = {}): Promise<Swarm> {
  const { discovery, log, site, federatedWith, ...options } = settings
  const member = await testMember(name, role, site)
  if (federatedWith !== undefined) await federate(member, federatedWith)
  const swarm = await Swarm.listen(
    {
      memberId: member.memberId,
      admission: federatedWith === undefined ? member.admission : member.admission.forSwarm(),
      clock: systemClock,
      discovery: discovery ?? null,
      random: seededRandom(seed(name).readUInt32BE()),
      ...(log === undefined ? {} : { log }),
    },
    { listen: { host: "127.0.0.1", port: 0 }, ...options },
  )
  t.after(() => swarm.close())
  return swarm
}

/** Content that a seed makes, the same each time. */
export function testContent(contentBytes: number, contentSeed = 1): Buffer {
  const content = Buffer.allocUnsafe(contentBytes)
  const random = seededRandom(contentSeed)
  const words = contentBytes >> 2
  for (let word = 0; word < words; word += 1) content.writeUInt32LE(random.below(0xffffffff), word * 4)
  for (let at = words * 4; at < contentBytes; at += 1) content[at] = random.below(256)
  return content
}

export function torrentOf(content: Buffer, pieceBytes: number, name = "layer"): Torrent {
  const digests: Buffer[] = []
  for (let at = 0; at < content.length; at += pieceBytes)
    digests.push(
      createHash("sha1")
        .update(content.subarray(at, at + pieceBytes))
        .digest(),
    )
  return makeTorrent({ name, contentBytes: content.length, pieceBytes, pieceDigests: Buffer.concat(digests) })
}

/** A store that holds some pieces of `content`. */
export async function storeWith(torrent: Torrent, content: Buffer, pieces: Iterable<number>): Promise<MemoryPieceStore> {
  const store = new MemoryPieceStore(torrent)
  for (const piece of pieces) {
    const at = piece * torrent.pieceBytes
    await store.write(piece, content.subarray(at, at + pieceBytesAt(torrent, piece)))
  }
  return store
}

export async function readAll(session: TorrentSession): Promise<Buffer> {
  const bytes = Buffer.alloc(session.torrent.contentBytes)
  await session.pieces.read(0, bytes.length, bytes)
  return bytes
}

/** Addresses of swarms. */
export function addressesOf(...swarms: readonly Swarm[]): Address[] {
  return swarms.map((swarm) => swarm.address)
}

/** Resolves once `holds` does. */
export async function eventually(holds: () => boolean, limitMs = 20_000): Promise<void> {
  const endMs = performance.now() + limitMs
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`not within ${limitMs} ms: ${holds.toString()}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
