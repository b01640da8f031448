/**
 * The home of a server that holds many layers, made without publishing: each layer is a file of zeros that takes no room, its pieces' digests are
 * true, and what is sealed in it nobody looks at. The site, its catalog and its members are as they always are.
 */
import { createHash, hash, randomBytes } from "node:crypto"
import { open } from "node:fs/promises"
import type { Address } from "#core/address.ts"
import { systemClock } from "#core/clock.ts"
import type { Grants, Layer, Manifest } from "#core/documents.ts"
import { imageName, imageVersion, siteName } from "#core/identifiers.ts"
import { makeTorrent, pieceBytesAt, pieceBytesFor, type Torrent } from "#core/torrent.ts"
import { Admission } from "#crypto/admission.ts"
import { newImageIdentity } from "#crypto/age.ts"
import { sealGrant } from "#crypto/grant.ts"
import { decodeKey, KEY_FILE_BYTES_MAX } from "#crypto/key-file.ts"
import { memberIdentity } from "#crypto/identity.ts"
import { seedsFrom } from "#member/catalog-keeper.ts"
import type { Home } from "#member/home.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import { authorityOf } from "../../nodes/authority.ts"
import { createSite, DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { issueMemberCertificate } from "../../nodes/issuer.ts"
import { ServerState } from "../../nodes/state.ts"
import { readSecretFile } from "#store/atomic-file.ts"
import { LayerStore } from "#store/layer-store.ts"
import { packCatalog } from "#trust/catalog-file.ts"
import { applyChange } from "#trust/change.ts"
import { signPublication } from "#trust/publication.ts"

const anyPort = { host: "127.0.0.1", port: 0 }
const kinds = ["full", "index"] as const

/**
 * Makes the home of a server in `directory` that holds layers of these sizes, two to an image; an odd one out has a small one for company. Returns
 * the layers in that order.
 */
export async function makeLayeredServer(
  directory: string,
  sizes: readonly number[],
  listen: { readonly api: Address; readonly swarm: Address; readonly dht: Address } = { api: anyPort, swarm: anyPort, dht: anyPort },
): Promise<readonly Torrent[]> {
  const home = await createSite({ clock: systemClock, random: randomBytes }, { directory, site: siteName("memory"), groups: [], listen })
  const even = sizes.length % 2 === 0 ? sizes : [...sizes, 1]
  const torrents = even.map((contentBytes, number) => zeros(contentBytes, `layer ${number}`))
  await keepLayers(home, torrents)
  await publish(home, torrents)
  return torrents
}

/** A new client of the site, made with the authority in its server's home. */
export async function newClient(home: Home): Promise<{ readonly memberId: string; readonly admission: Admission }> {
  const { memberId, sealing, signing } = memberIdentity(randomBytes(32))
  const nowMs = systemClock.nowMs()
  const authority = authorityOf(await home.onlineKeys(), (await storedCatalog(home, nowMs)).catalog)
  const { site } = home
  const certificateDer = await issueMemberCertificate({
    authority,
    subject: { kind: "member", site, role: "client", memberId, groups: [], sealingKeyHex: sealing.publicKeyHex },
    signingKeyHex: signing.publicKeyHex,
    nowMs,
    random: randomBytes,
  })
  return {
    memberId,
    admission: new Admission({ clock: systemClock, site, authorities: [authority.der], revoked: [], certificateDer, signing }),
  }
}

function zeros(contentBytes: number, name: string): Torrent {
  const pieceBytes = pieceBytesFor(contentBytes)
  const shape = { contentBytes, pieceBytes, pieceCount: Math.ceil(contentBytes / pieceBytes) }
  const whole = digestOfZeros(pieceBytes)
  const last = digestOfZeros(pieceBytesAt(shape, shape.pieceCount - 1))
  const pieceDigests = Buffer.concat([...Array.from({ length: shape.pieceCount - 1 }, () => whole), last])
  return makeTorrent({ name, contentBytes, pieceBytes, pieceDigests })
}

function digestOfZeros(byteCount: number): Buffer {
  return createHash("sha1").update(Buffer.alloc(byteCount)).digest()
}

/** Puts such layers into a home. */
export async function keepLayers(home: Home, torrents: readonly Torrent[]): Promise<void> {
  await using layers = await LayerStore.open(home.path("layers"))
  for (const torrent of torrents) {
    const path = home.path("made")
    await using file = await open(path, "w")
    await file.truncate(torrent.contentBytes)
    await layers.adopt(torrent, path)
  }
  const state = new ServerState(home.path("state.sqlite"))
  for (const torrent of torrents) state.recordWholeLayer(describe(torrent, "full"), systemClock.nowMs())
  state.close()
}

async function publish(home: Home, torrents: readonly Torrent[]): Promise<void> {
  const nowMs = systemClock.nowMs()
  const { identity, recipient } = await newImageIdentity()
  const { catalog } = await storedCatalog(home, nowMs)
  const group = catalog.site.groups.find(({ name }) => name === DEFAULT_GROUP)
  if (group === undefined) throw new Error("a new site has its default group")
  const publisherSeed = decodeKey(await readSecretFile(home.path("keys", "publisher.key"), KEY_FILE_BYTES_MAX), "publisher.key")
  const online = seedsFrom(await home.onlineKeys())
  let { files } = catalog
  for (let image = 0; image < torrents.length / 2; image += 1) {
    const ref = { name: imageName(`image-${image}`), version: imageVersion("1") }
    const manifest: Manifest = {
      format: "imagegrid-manifest-1",
      site: home.site,
      ...ref,
      publishedAtMs: nowMs,
      recipient,
      entryCount: 1,
      exclude: [],
      lineage: null,
      layers: torrents.slice(2 * image, 2 * image + 2).map((torrent, at) => describe(torrent, kinds[at] ?? "full")),
    }
    const grant = sealGrant({ site: home.site, ref, group, imageIdentity: identity, random: randomBytes })
    const grants: Grants = { format: "imagegrid-grants-1", site: home.site, ...ref, grants: [grant], retiredAtMs: null, pinned: false }
    const change = signPublication({ files, seeds: [publisherSeed], manifest, grants, nowMs })
    files = applyChange({ files, change, online, nowMs })
  }
  await home.saveCatalog(await packCatalog(files))
}

function describe(torrent: Torrent, kind: Layer["kind"]): Layer {
  const { infohash, pieceBytes, contentBytes } = torrent
  const sha256 = hash("sha256", infohash) as Layer["sealedSha256"]
  return { kind, infohash, pieceBytes, sealedBytes: contentBytes, sealedSha256: sha256, contentBytes, contentSha256: sha256 }
}
