/**
 * The home of a site's first server with many image versions, made without sealing a tree for each: a layer is one small file under another name. Manifests with
 * their lineages, grants, tags, publishers and all that is signed are what the product's own functions make.
 */
import { createHash, hash, randomBytes } from "node:crypto"
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { systemClock } from "#core/clock.ts"
import { pathOf, type Grants, type ImageDocument, type Layer, type Manifest, type SiteDocument, type Tags } from "#core/documents.ts"
import { imageName, imageVersion, siteName, type ImageName, type Sha256 } from "#core/identifiers.ts"
import { makeTorrent, type Torrent } from "#core/torrent.ts"
import { newImageIdentity } from "#crypto/age.ts"
import { sealGrant } from "#crypto/grant.ts"
import { decodeKey, KEY_FILE_BYTES_MAX } from "#crypto/key-file.ts"
import { signingKeyFromSeed } from "#crypto/identity.ts"
import { sealLineage, type VersionIdentity } from "#crypto/lineage.ts"
import { seedsFrom } from "#member/catalog-keeper.ts"
import type { Home } from "#member/home.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import { createSite, DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { saveKeyFile } from "../../nodes/key-ring.ts"
import { ServerState } from "../../nodes/state.ts"
import { readSecretFile } from "#store/atomic-file.ts"
import { HELD_FILE, INFO_FILE, LAYER_FILE } from "#store/file-piece-store.ts"
import { encodeHeld } from "#store/held-record.ts"
import { PieceSet } from "#store/piece-set.ts"
import { packCatalog } from "#trust/catalog-file.ts"
import { applyChange, draftChange, signChange, type Edits, type PublisherEdit } from "#trust/change.ts"
import { keyIdOf, publicTufKey } from "#trust/metadata.ts"
import { pathsOfPattern } from "#trust/name-patterns.ts"

/** Versions of each image, each made from the one before by a delta. */
const VERSIONS = 10
/** One image in so many is of the second publisher. */
const SECOND_PUBLISHERS_SHARE = 4
const LAYER_BYTES = 256
const PIECE_BYTES = 16 * 1024
const anyPort = { host: "127.0.0.1", port: 0 }
const content = Buffer.alloc(LAYER_BYTES, 7)
const sealedSha256 = hash("sha256", content) as Sha256
const pieceDigests = createHash("sha1").update(content).digest()

export type ManyImages = { readonly home: Home; readonly torrents: readonly Torrent[] }

export async function makeSite(directory: string, imageCount: number): Promise<ManyImages> {
  const home = await createSite(
    { clock: systemClock, random: randomBytes },
    { directory, site: siteName("many"), groups: [], listen: { api: anyPort, swarm: anyPort, dht: anyPort } },
  )
  const first = decodeKey(await readSecretFile(home.path("keys", "publisher.key"), KEY_FILE_BYTES_MAX), "publisher.key")
  const targets = decodeKey(await readSecretFile(home.path("keys", "targets.key"), KEY_FILE_BYTES_MAX), "targets.key")
  const second = randomBytes(32)
  await saveKeyFile(home.path("keys", "second.key"), second, null)
  const secondKey = signingKeyFromSeed(second).publicKeyHex
  const online = seedsFrom(await home.onlineKeys())
  const nowMs = systemClock.nowMs()
  const { catalog } = await storedCatalog(home, nowMs)
  let { files } = catalog
  const group = catalog.site.groups.find((one) => one.name === DEFAULT_GROUP)
  if (group === undefined) throw new Error("a new site has its default group")
  const change = (edits: Edits): void => {
    const signed = signChange(files, draftChange(files, edits, nowMs), [first, targets, second])
    files = applyChange({ files, change: signed, online, nowMs })
  }
  change({
    delegations: ({ keys, roles }) => ({
      keys: { ...keys, [keyIdOf(secondKey)]: publicTufKey(secondKey) },
      roles: [
        { name: "second", keyids: [keyIdOf(secondKey)], threshold: 1, terminating: false, paths: [...new Set(pathsOfPattern("second/*"))] },
        ...roles,
      ],
    }),
  })
  const torrents: Torrent[] = []
  const documents = new Map<string, Map<string, ImageDocument>>([
    ["second", new Map()],
    ["publisher", new Map()],
  ])
  for (let number = 0; number * VERSIONS < imageCount; number += 1) {
    const isSecond = number % SECOND_PUBLISHERS_SHARE === 0
    const name = imageName(isSecond ? `second/image-${number}` : `image-${number}`)
    const made = await makeImage(home, group, name, Math.min(VERSIONS, imageCount - number * VERSIONS))
    torrents.push(...made.torrents)
    for (const document of made.documents) documents.get(isSecond ? "second" : "publisher")?.set(pathOf(document), document)
  }
  const publishers = new Map<string, PublisherEdit>()
  for (const [role, own] of documents) if (own.size > 0) publishers.set(role, { documents: own })
  change({ publishers })
  await home.saveCatalog(await packCatalog(files))
  await keepLayers(home, torrents)
  return { home, torrents }
}

/** Puts these layers into a server's home, as verified there. They lie there as the store lays them down, without its syncs. */
export async function keepLayers(home: Home, torrents: readonly Torrent[]): Promise<void> {
  for (const { infohash, infoBytes, pieceCount } of torrents) {
    const directory = home.path("layers", infohash)
    await mkdir(directory, { recursive: true })
    await writeFile(join(directory, INFO_FILE), infoBytes)
    await writeFile(join(directory, LAYER_FILE), content)
    await writeFile(join(directory, HELD_FILE), encodeHeld(infohash, PieceSet.full(pieceCount)))
  }
  new ServerState(home.path("state.sqlite")).close()
  const database = new DatabaseSync(home.path("state.sqlite"))
  database.exec("BEGIN")
  const insert = database.prepare("INSERT OR REPLACE INTO whole_layers VALUES (?, ?, ?, ?)")
  for (const { infohash, contentBytes } of torrents) insert.run(infohash, sealedSha256, contentBytes, systemClock.nowMs())
  database.exec("COMMIT")
  database.close()
}

async function makeImage(home: Home, group: SiteDocument["groups"][number], name: ImageName, versionCount: number) {
  const torrents: Torrent[] = []
  const documents: ImageDocument[] = []
  const identities: VersionIdentity[] = []
  const indexes: { version: string; indexSha256: Sha256 }[] = []
  const lineageLayers: Layer[] = []
  const layer = (kind: Layer["kind"], version: string): Layer => {
    const torrent = makeTorrent({ name: `${name}-${version}-${kind}`, contentBytes: LAYER_BYTES, pieceBytes: PIECE_BYTES, pieceDigests })
    torrents.push(torrent)
    const contentSha256 = hash("sha256", torrent.infohash) as Sha256
    return {
      kind,
      infohash: torrent.infohash,
      pieceBytes: PIECE_BYTES,
      sealedBytes: LAYER_BYTES,
      sealedSha256,
      contentBytes: 10_240,
      contentSha256,
    }
  }
  for (let number = 1; number <= versionCount; number += 1) {
    const ref = { name, version: imageVersion(`2026.${number}`) }
    const { version } = ref
    const { identity, recipient } = await newImageIdentity()
    const main = layer(number === 1 ? "full" : "delta", version)
    const index = layer("index", version)
    const sealed = number === 1 ? null : sealLineage({ site: home.site, ref, identity }, identities, randomBytes)
    const manifest: Manifest = {
      format: "imagegrid-manifest-1",
      site: home.site,
      ...ref,
      publishedAtMs: systemClock.nowMs() + number,
      recipient,
      entryCount: 12_000,
      layers: [...lineageLayers, main, index],
      exclude: [],
      lineage: sealed === null ? null : { versions: [...indexes], sealed },
    }
    const grant = sealGrant({ site: home.site, ref, group, imageIdentity: identity, random: randomBytes })
    const grants: Grants = { format: "imagegrid-grants-1", site: home.site, ...ref, grants: [grant], retiredAtMs: null, pinned: false }
    documents.push(manifest, grants)
    identities.push({ version, identity })
    indexes.push({ version, indexSha256: index.contentSha256 })
    lineageLayers.push({ ...main, version })
  }
  const newest = indexes.at(-1)?.version ?? ""
  const tags: Tags = {
    format: "imagegrid-tags-1",
    site: home.site,
    name,
    tags: [{ tag: "stable", version: newest, movedAtMs: systemClock.nowMs() }],
  }
  documents.push(tags)
  return { torrents, documents }
}
