/** Makes a site from nothing: its keys, its authority, its signed repository, and the home of its first server. */
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { memberIdentity, sealingKeyFromSecret, signingKeyFromSeed } from "#crypto/identity.ts"
import { networkKeyDigest } from "#crypto/network-key.ts"
import { createRepository } from "#trust/create-repository.ts"
import { rootDigest } from "#trust/catalog.ts"
import { packCatalog } from "#trust/catalog-file.ts"
import type { Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import type { SiteDocument } from "#core/documents.ts"
import { groupName, type GroupName, type SiteName } from "#core/identifiers.ts"
import type { MemberSecrets } from "#core/wire.ts"
import { Home, keysDirectory } from "#member/home.ts"
import { AuditLog } from "./audit-log.ts"
import { saveKeyFile } from "./key-ring.ts"
import { newAuthority } from "./authority.ts"
import { issueMemberCertificate } from "./issuer.ts"

/** The group that members are in and images are granted to when no other is named. */
export const DEFAULT_GROUP = groupName("default")

export type CreateSiteParts = { readonly clock: Clock; readonly random: (byteCount: number) => Uint8Array }
export type CreateSiteOptions = {
  readonly directory: string
  readonly site: SiteName
  /** Besides the default one. */
  readonly groups: readonly GroupName[]
  /** How many keys the root has, and how many of them must sign; one if not given. */
  readonly rootKeys?: { readonly count: number; readonly threshold: number }
  /** Protects the root, targets and publisher keys; null leaves them to their file modes. */
  readonly passphrase?: string | null
  readonly listen: { readonly api: Address; readonly swarm: Address; readonly dht: Address }
}

/** @throws {GridError} HOME_EXISTS */
export async function createSite(parts: CreateSiteParts, options: CreateSiteOptions): Promise<Home> {
  const nowMs = parts.clock.nowMs()
  const { site } = options
  const { count, threshold } = options.rootKeys ?? { count: 1, threshold: 1 }
  const keys = {
    root: Array.from({ length: count }, () => parts.random(32)),
    targets: parts.random(32),
    publisher: parts.random(32),
    snapshot: parts.random(32),
    timestamp: parts.random(32),
    pointer: parts.random(32),
  }
  const groups = [...new Set([DEFAULT_GROUP, ...options.groups])].map((name) => ({ name, key: sealingKeyFromSecret(parts.random(32)) }))
  const networkKey = parts.random(32)
  const authority = await newAuthority({ site, nowMs, random: parts.random })
  const document: SiteDocument = {
    format: "imagegrid-site-1",
    site,
    authorities: [authority.der.toString("base64")],
    pointerKey: signingKeyFromSeed(keys.pointer).publicKeyHex,
    groups: groups.map(({ name, key }) => ({ name, generation: 1, publicKey: key.publicKeyHex, added: [], removed: [] })),
    networkKeys: [networkKeyDigest(networkKey)],
    revoked: [],
    federation: [],
    placement: [],
    weights: [],
    retention: [],
  }
  const files = createRepository({ document, keys, rootThreshold: threshold, nowMs })
  const seed = parts.random(32)
  const identity = memberIdentity(seed)
  const secrets: MemberSecrets = {
    groups: groups.map(({ name, key }) => ({ name, generation: 1, secretKey: hex(key.secretKey) })),
    networkKeys: [hex(networkKey)],
    online: {
      authorities: [hex(authority.seed)],
      snapshot: [hex(keys.snapshot)],
      timestamp: [hex(keys.timestamp)],
      pointers: [hex(keys.pointer)],
    },
  }
  const certificateDer = await issueMemberCertificate({
    authority,
    subject: {
      kind: "member",
      site,
      role: "server",
      memberId: identity.memberId,
      groups: [DEFAULT_GROUP],
      sealingKeyHex: identity.sealing.publicKeyHex,
    },
    signingKeyHex: identity.signing.publicKeyHex,
    nowMs,
    random: parts.random,
  })
  // A home is one once its member.json is there: by then the keys are durable.
  await Home.requireVacant(options.directory)
  await mkdir(keysDirectory(options.directory), { recursive: true, mode: 0o700 })
  const passphrase = options.passphrase ?? null
  const write = (name: string, key: Uint8Array) => saveKeyFile(join(keysDirectory(options.directory), `${name}.key`), key, passphrase)
  for (const [position, key] of keys.root.entries()) await write(count === 1 ? "root" : `root-${position + 1}`, key)
  await write("targets", keys.targets)
  await write("publisher", keys.publisher)
  const home = await Home.create(options.directory, {
    site,
    role: "server",
    rootDigest: rootDigest(files),
    listen: options.listen,
    firstKnown: { api: [], dht: [] },
    seed,
    certificateDer,
    secrets,
    catalogBytes: await packCatalog(files),
    createdAtMs: nowMs,
  })
  await new AuditLog({ home, clock: parts.clock }).append([
    {
      event: "site-created",
      actor: { kind: "member", ids: [home.memberId] },
      from: null,
      what: { site, rootDigest: home.rootDigest, groups: groups.map(({ name }) => name).join(" ") },
    },
  ])
  return home
}
function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex")
}
