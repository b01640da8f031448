/**
 * Loaded into a server before it starts (`node --import`), it makes it a liar about the layers that IMAGEGRID_LIES names: whatever their bytes are worth, it takes
 * them for good and says so, to itself too. The checks on a grid of sites need such a server; the program cannot be told to be one.
 */
import { hash } from "node:crypto"
import { pieceBytesAt, type Torrent } from "#core/torrent.ts"
import { LayerStore } from "#store/layer-store.ts"

const lies = new Set((process.env["IMAGEGRID_LIES"] ?? "").split(","))
const prototype: Pick<LayerStore, "torrent"> = LayerStore.prototype
// oxlint-disable-next-line typescript/unbound-method -- called with its store below
const honest = prototype.torrent

/** As if the digests of all pieces were those of zeros. */
function ofZeros(torrent: Torrent): Torrent {
  const digests = Array.from({ length: torrent.pieceCount }, (_, piece) =>
    hash("sha1", Buffer.alloc(pieceBytesAt(torrent, piece)), "buffer"),
  )
  return { ...torrent, pieceDigests: Buffer.concat(digests) }
}

prototype.torrent = async function lie(this: LayerStore, infohash) {
  const torrent = await honest.call(this, infohash)
  return torrent !== null && lies.has(infohash) ? ofZeros(torrent) : torrent
}
