/** From a layer that a manifest names to its place in the swarm: metadata checked, pieces continued, peers told of. */
import { createHash } from "node:crypto"
import type { Address } from "#core/address.ts"
import type { Layer, Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import type { PieceStore } from "#core/piece-store.ts"
import type { Torrent } from "#core/torrent.ts"
import type { LayerPlace } from "#store/layer-store.ts"
import type { TorrentSession } from "#swarm/swarm.ts"
import type { Member } from "./member.ts"

const HASH_CHUNK_BYTES = 1024 * 1024

/** One layer of an image that some site published. */
export type ImageLayer = { readonly manifest: Pick<Manifest, "site" | "name">; readonly layer: Layer }

/** Joins the layer's swarm, to download what `store` lacks and seed what it has. One session for each layer, shared. */
export async function openLayerSession(
  member: Member,
  { manifest, layer }: ImageLayer,
  store: LayerPlace,
  signal?: AbortSignal,
): Promise<TorrentSession> {
  const running = member.swarm.session(layer.infohash)
  if (running !== null) return running
  const mayHave = (site: string) => member.federation.catalogs.mayHave(manifest.site, manifest.name, site)
  const torrent = await layerTorrent(member, { manifest, layer }, store, signal)
  const pieces = await store.pieces(torrent)
  const session = member.swarm.session(layer.infohash) ?? member.swarm.join(torrent, pieces, { sharedWith: mayHave })
  session.addPeers(peersOf(member, manifest))
  return session
}

/**
 * The layer's torrent: from the store if an earlier run kept it, else from peers.
 * @throws {GridError} TORRENT_INVALID when it is not as the manifest says, SEEDERS_MISSING
 */
export async function layerTorrent(
  member: Member,
  { manifest, layer }: ImageLayer,
  store: Pick<LayerPlace, "torrent">,
  signal?: AbortSignal,
): Promise<Torrent> {
  const peers = peersOf(member, manifest)
  const torrent =
    (await store.torrent(layer.infohash)) ?? (await member.swarm.fetchTorrent(layer.infohash, { peers, ...(signal && { signal }) }))
  if (torrent.contentBytes !== layer.sealedBytes || torrent.pieceBytes !== layer.pieceBytes)
    throw new GridError(
      "TORRENT_INVALID",
      `${layer.infohash} has ${torrent.contentBytes} bytes, the manifest says ${layer.sealedBytes}; publish the image anew`,
    )
  return torrent
}

/** Servers that may have the image's layers, of all sites. */
function peersOf(member: Member, { site: publishedBy, name }: ImageLayer["manifest"]): Address[] {
  const others = member.federation.catalogs.sites().map(({ agreement }) => agreement.site)
  return member.swarmAddresses(others.filter((site) => member.federation.catalogs.mayHave(publishedBy, name, site)))
}

/**
 * Compares a whole layer with the SHA-256 that the manifest gives: SHA-1 pieces alone prove less than signed metadata should.
 * @throws {GridError} DIGEST_MISMATCH
 */
export async function requireSealedDigest(pieces: PieceStore, layer: Layer): Promise<void> {
  const hash = createHash("sha256")
  const chunk = Buffer.allocUnsafe(Math.min(HASH_CHUNK_BYTES, Math.max(1, layer.sealedBytes)))
  for (let offset = 0; offset < layer.sealedBytes; offset += chunk.length) {
    const length = Math.min(chunk.length, layer.sealedBytes - offset)
    await pieces.read(offset, length, chunk)
    hash.update(chunk.subarray(0, length))
  }
  const found = hash.digest("hex")
  if (found !== layer.sealedSha256)
    throw new GridError(
      "DIGEST_MISMATCH",
      `layer ${layer.infohash} has SHA-256 ${found}, the manifest says ${layer.sealedSha256}; remove it and fetch it again`,
    )
}
