/** A piece store that lives and dies with its process: catalogs on their way, tests, simulations. `sync` has nothing to do. */
import type { PieceStore } from "#core/piece-store.ts"
import type { Torrent } from "#core/torrent.ts"
import { PieceSet, requireHeldRange, requirePiece } from "./piece-set.ts"

export class MemoryPieceStore implements PieceStore {
  readonly pieceCount: number
  readonly contentBytes: number
  readonly pieceBytes: number
  readonly #content: Buffer
  readonly #held: PieceSet
  #closed = false

  /** All pieces missing. Takes `contentBytes` of memory: check that number before. */
  constructor(torrent: Pick<Torrent, "contentBytes" | "pieceBytes" | "pieceCount">) {
    this.pieceCount = torrent.pieceCount
    this.contentBytes = torrent.contentBytes
    this.pieceBytes = torrent.pieceBytes
    this.#content = Buffer.alloc(torrent.contentBytes)
    this.#held = new PieceSet(torrent.pieceCount)
  }

  /**
   * All pieces held. Copies `content`, which the caller vouches for.
   * @throws {RangeError} when it is of another length
   */
  static full(torrent: Pick<Torrent, "contentBytes" | "pieceBytes" | "pieceCount">, content: Uint8Array): MemoryPieceStore {
    if (content.length !== torrent.contentBytes) throw new RangeError(`${content.length} bytes, the torrent has ${torrent.contentBytes}`)
    const store = new MemoryPieceStore(torrent)
    store.#content.set(content)
    for (let piece = 0; piece < torrent.pieceCount; piece++) store.#held.add(piece)
    return store
  }

  has(piece: number): boolean {
    return this.#held.has(piece)
  }

  get heldCount(): number {
    return this.#held.count
  }

  get complete(): boolean {
    return this.#held.complete
  }

  async write(piece: number, bytes: Uint8Array): Promise<void> {
    this.#requireOpen()
    requirePiece(this, piece, bytes)
    if (this.#held.has(piece)) return
    this.#content.set(bytes, piece * this.pieceBytes)
    this.#held.add(piece)
  }

  async read(offset: number, length: number, into: Uint8Array): Promise<void> {
    this.#requireOpen()
    requireHeldRange(this, this.#held, offset, length, into)
    into.set(this.#content.subarray(offset, offset + length))
  }

  async sync(): Promise<void> {
    this.#requireOpen()
  }

  async close(): Promise<void> {
    this.#closed = true
  }

  #requireOpen(): void {
    if (this.#closed) throw new TypeError("this piece store is closed")
  }
}
