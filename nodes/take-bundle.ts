/** Takes an unpacked bundle into a server: with the checks that catalogs and layers from the network get, and nothing on trust. */
import { createHash } from "node:crypto"
import { createReadStream } from "node:fs"
import { readdir } from "node:fs/promises"
import { join } from "node:path"
import { PieceDigests } from "#image/piece-digests.ts"
import { openCatalog, type Catalog } from "#trust/catalog.ts"
import { unpackCatalog } from "#trust/catalog-file.ts"
import type { Layer } from "#core/documents.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import { agreementWith, isMirrored } from "#core/federation.ts"
import { siteName, type SiteName } from "#core/identifiers.ts"
import { INFO_BYTES_MAX, parseTorrent, type Torrent } from "#core/torrent.ts"
import { CATALOG_BYTES_MAX, type BundleTaken } from "#core/wire.ts"
import { formatImage } from "#member/image-sources.ts"
import type { Member } from "#member/member.ts"
import { readBounded } from "#store/atomic-file.ts"
import { INFO_FILE, LAYER_FILE } from "#store/file-piece-store.ts"
import type { LayerStore } from "#store/layer-store.ts"
import { CATALOGS, LAYERS } from "./bundle.ts"

/** Where bundles are unpacked, below a home: on the file system of its layers. */
export const IMPORTING = "importing"

type Carried = { readonly site: SiteName; readonly bytes: Buffer; readonly catalog: Catalog }

/**
 * Layers first, so that whoever learns of an image from the catalog finds its bytes. Doing it again is harmless, and so is a crash in the middle:
 * what was taken is whole, and the rest is taken the next time.
 * @param layers the store of the member's home; no other process has the layers open
 * @throws {GridError} SITE_UNKNOWN, CATALOG_INVALID when a catalog is not of a site that is trusted here; nothing is taken then
 */
export async function takeBundle(member: Member, layers: LayerStore, directory: string): Promise<BundleTaken> {
  const carried: Carried[] = []
  for (const name of await readdir(join(directory, CATALOGS)))
    carried.push(await readCarried(member, siteName(name.replace(/\.tar$/, "")), join(directory, CATALOGS, name)))
  const there = new Set(await readdir(join(directory, LAYERS)))
  const images: string[] = []
  const passedOver: { image: string; why: string }[] = []
  for (const { site, catalog } of carried)
    for (const manifest of newerOf(member, site, catalog).images.values()) {
      const own = manifest.layers.filter(({ infohash }) => there.has(infohash))
      if (own.length === 0) continue
      const image = formatImage(manifest, member.home.site)
      try {
        if (!isHeldHere(member, carried, manifest.site, manifest.name))
          throw new GridError("SITE_UNKNOWN", `${site} does not share it with this site, or this site's --mirrors leave it out`)
        for (const layer of own) await takeLayer(layers, layer, join(directory, LAYERS, layer.infohash))
        images.push(image)
      } catch (error) {
        passedOver.push({ image, why: reasonOf(error).slice(0, 500) })
      }
    }
  const newerCatalogs: string[] = []
  for (const { site, bytes } of carried) {
    const taken =
      site === member.home.site
        ? await member.catalogs.consider(bytes, "a bundle", { expiry: "ignore" })
        : await member.federation.consider(site, bytes)
    if (taken) newerCatalogs.push(site)
  }
  return { images, passedOver, newerCatalogs }
}

/** Verified from the root that is trusted here, whatever its age. */
async function readCarried({ home, clock, catalogs }: Member, site: SiteName, path: string): Promise<Carried> {
  const agreement = agreementWith(catalogs.catalog.site, site)
  if (site !== home.site && agreement === null)
    throw new GridError("SITE_UNKNOWN", `${site}; this site has no agreement with it, so nothing that it signed is taken`)
  const bytes = await readBounded(path, CATALOG_BYTES_MAX)
  const anchor = { rootDigest: agreement?.rootDigest ?? home.rootDigest }
  const catalog = openCatalog(await unpackCatalog(bytes), anchor, clock.nowMs(), { expiry: "ignore" })
  if (catalog.site.site !== site) throw new GridError("CATALOG_INVALID", `the catalog of ${site} is of ${catalog.site.site}`)
  return { site, bytes, catalog }
}

/** What is in force once the bundle is taken: an older catalog brings no image back. */
function newerOf({ home, catalogs, federation }: Member, site: SiteName, carried: Catalog): Catalog {
  const kept = site === home.site ? catalogs.catalog : federation.catalogs.newest(site)
  return kept !== null && kept.seq > carried.seq && kept.scope === "whole" ? kept : carried
}

function isHeldHere(member: Member, carried: readonly Carried[], site: string, imageName: string): boolean {
  if (site === member.home.site) return true
  const theirs = carried.find((one) => one.site === site)?.catalog
  if (theirs === undefined) return false
  const own = { document: member.catalogs.catalog.site, rootDigest: member.home.rootDigest }
  const rootDigest = agreementWith(own.document, site)?.rootDigest ?? ""
  return isMirrored(own, { document: theirs.site, rootDigest }, imageName)
}

/** @throws {GridError} DIGEST_MISMATCH, TORRENT_INVALID, DISK_FULL */
async function takeLayer(layers: LayerStore, layer: Layer, directory: string): Promise<void> {
  if (await layers.isWhole(layer.infohash)) return
  const torrent = parseTorrent(await readBounded(join(directory, INFO_FILE), INFO_BYTES_MAX))
  if (torrent.infohash !== layer.infohash || torrent.contentBytes !== layer.sealedBytes || torrent.pieceBytes !== layer.pieceBytes)
    throw new GridError("TORRENT_INVALID", `the metadata of layer ${layer.infohash} is not that which its manifest names`)
  const path = join(directory, LAYER_FILE)
  await requireBytes(path, layer, torrent)
  await layers.adopt(torrent, path)
}

/** That a file is the layer: its SHA-256 as the manifest says, and the SHA-1 of every piece as peers will check it. @throws {GridError} DIGEST_MISMATCH */
async function requireBytes(path: string, layer: Layer, torrent: Torrent): Promise<void> {
  const whole = createHash("sha256")
  const pieces = new PieceDigests(torrent.pieceBytes)
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    whole.update(chunk)
    pieces.update(chunk)
  }
  // Nothing is asked for again where the length of pieces is fixed.
  const digests = await pieces.finish(() => createReadStream(path))
  if (whole.digest("hex") !== layer.sealedSha256 || !digests.equals(torrent.pieceDigests))
    throw new GridError("DIGEST_MISMATCH", `layer ${layer.infohash} is not what its manifest says; export it again`)
}
