/** Layers of which a window is in memory and nothing on disk, for a client that has no room to stage them: a twin of `LayerStore` for one download. */
import type { Infohash } from "#core/identifiers.ts"
import type { Torrent } from "#core/torrent.ts"
import type { LayerPlace } from "./layer-store.ts"
import { windowFor, WindowPieceStore } from "./window-piece-store.ts"

export class WindowLayerStore implements LayerPlace {
  readonly #stores = new Map<Infohash, WindowPieceStore>()

  /** Nothing is kept: peers have it. */
  torrent(_infohash: Infohash): Promise<Torrent | null> {
    return Promise.resolve(null)
  }

  pieces(torrent: Torrent): Promise<WindowPieceStore> {
    const store = this.#stores.get(torrent.infohash) ?? new WindowPieceStore(torrent, windowFor(torrent.pieceBytes))
    this.#stores.set(torrent.infohash, store)
    return Promise.resolve(store)
  }

  infohashes(): Promise<Infohash[]> {
    return Promise.resolve([...this.#stores.keys()].sort())
  }

  async remove(infohash: Infohash): Promise<void> {
    await this.#stores.get(infohash)?.close()
    this.#stores.delete(infohash)
  }

  async close(): Promise<void> {
    for (const infohash of this.#stores.keys()) await this.remove(infohash)
  }
}
