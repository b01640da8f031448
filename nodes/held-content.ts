/** The sealed bytes of a layer that a server's store holds whole, in order. */
import type { Layer } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { pieceBytesAt } from "#core/torrent.ts"
import type { LayerStore } from "#store/layer-store.ts"

/** @throws {GridError} LAYER_MISSING */
export async function heldContent(layers: LayerStore, layer: Layer): Promise<AsyncGenerator<Buffer>> {
  const torrent = await layers.torrent(layer.infohash)
  if (torrent === null || !(await layers.isWhole(layer.infohash)))
    throw new GridError("LAYER_MISSING", `layer ${layer.infohash} (${layer.kind}) is not held here; wait until this server has the image`)
  const pieces = await layers.pieces(torrent)
  return (async function* () {
    for (let piece = 0; piece < torrent.pieceCount; piece++) {
      const bytes = Buffer.allocUnsafe(pieceBytesAt(torrent, piece))
      await pieces.read(piece * torrent.pieceBytes, bytes.length, bytes)
      yield bytes
    }
  })()
}
