/** The catalog as a torrent: passing on the kept one, and fetching another. Equal catalogs give equal torrents, whoever makes them. */
import { createHash } from "node:crypto"
import { GridError } from "#core/errors.ts"
import type { Address } from "#core/address.ts"
import type { Infohash } from "#core/identifiers.ts"
import { makeTorrent, pieceBytesFor, type Torrent } from "#core/torrent.ts"
import { CATALOG_BYTES_MAX } from "#core/wire.ts"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import type { Swarm, TorrentSession } from "#swarm/swarm.ts"

/** What a catalog's torrent is called; layers have another name. */
const TORRENT_NAME = "imagegrid-catalog"
/** A catalog that was replaced is seeded on for those who are halfway through it. */
const REPLACED_CATALOGS_SEEDED = 2

export class CatalogSwarm {
  readonly #swarm: Swarm
  /** Of the kept catalog, which is the last, and of those before it. */
  readonly #sessions: TorrentSession[] = []

  constructor(swarm: Swarm) {
    this.#swarm = swarm
  }

  /** Seeds a catalog where its torrent is not open already. */
  async seed(catalog: Buffer): Promise<Infohash> {
    const torrent = catalogTorrent(catalog)
    if (this.#swarm.session(torrent.infohash) !== null) return torrent.infohash
    this.#sessions.push(this.#swarm.join(torrent, MemoryPieceStore.full(torrent, catalog)))
    while (this.#sessions.length > 1 + REPLACED_CATALOGS_SEEDED) await this.#sessions.shift()?.close()
    return torrent.infohash
  }

  /** Tells every peer which catalog is kept here. */
  tell(seq: number, infohash: Infohash): void {
    this.#swarm.setNews({ seq, infohash })
  }

  /**
   * The bytes of a catalog that is not here. One call at a time. Null where it has come by another way meanwhile.
   * @throws {GridError} CATALOG_INVALID, SEEDERS_MISSING, TORRENT_INVALID
   * @throws the signal's reason
   */
  async fetch(infohash: Infohash, peers: readonly Address[], signal: AbortSignal): Promise<Buffer | null> {
    if (this.#swarm.session(infohash) !== null)
      throw new GridError("CATALOG_INVALID", `${infohash} is here already and is no newer catalog`)
    const torrent = await this.#swarm.fetchTorrent(infohash, { peers, signal })
    // Else someone who names a layer could have it fetched and closed under a deploy.
    if (torrent.name !== TORRENT_NAME) throw new GridError("CATALOG_INVALID", `${infohash} is no catalog`)
    if (torrent.contentBytes > CATALOG_BYTES_MAX) throw new GridError("CATALOG_INVALID", `a catalog of ${torrent.contentBytes} bytes`)
    if (this.#swarm.session(infohash) !== null) return null
    const pieces = new MemoryPieceStore(torrent)
    const session = this.#swarm.join(torrent, pieces)
    try {
      session.addPeers(peers)
      await session.whenComplete(signal)
      const bytes = Buffer.alloc(torrent.contentBytes)
      await pieces.read(0, bytes.length, bytes)
      return bytes
    } finally {
      await session.close()
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#sessions.map((session) => session.close()))
  }
}

function catalogTorrent(bytes: Buffer): Torrent {
  const pieceBytes = pieceBytesFor(bytes.length)
  const digests: Buffer[] = []
  for (let offset = 0; offset < bytes.length; offset += pieceBytes)
    digests.push(
      createHash("sha1")
        .update(bytes.subarray(offset, offset + pieceBytes))
        .digest(),
    )
  return makeTorrent({ name: TORRENT_NAME, contentBytes: bytes.length, pieceBytes, pieceDigests: Buffer.concat(digests) })
}
