/**
 * A piece store that has room for a window of the torrent: what is read once, from the first piece to the last, needs no more.
 *
 * Invariant: it never holds more than `aheadPieces + behindPieces`, whatever it is given. `sync` has nothing to do: nothing outlives the process.
 */
import type { PieceStore, PieceWindow } from "#core/piece-store.ts"
import { pieceBytesAt } from "#core/torrent.ts"
import { PieceSet, requireHeldRange, requirePiece, type Shape } from "./piece-set.ts"

/** Memory for the pieces that are wanted next, and for those that others may still want. */
const AHEAD_BYTES = 20 * 1024 * 1024
const BEHIND_BYTES = 8 * 1024 * 1024
/** However large the pieces are. */
const AHEAD_PIECES_MIN = 4
const BEHIND_PIECES_MIN = 2
/** As many as are looked at where all pieces are kept (swarm/core/limits.ts). */
const AHEAD_PIECES_MAX = 192

export type WindowSize = Pick<PieceWindow, "aheadPieces" | "behindPieces">

/** How many pieces of this length a client keeps at a time. */
export function windowFor(pieceBytes: number): WindowSize {
  return {
    aheadPieces: Math.max(AHEAD_PIECES_MIN, Math.min(AHEAD_PIECES_MAX, Math.floor(AHEAD_BYTES / pieceBytes))),
    behindPieces: Math.max(BEHIND_PIECES_MIN, Math.min(AHEAD_PIECES_MAX / 2, Math.floor(BEHIND_BYTES / pieceBytes))),
  }
}

export class WindowPieceStore implements PieceStore {
  readonly pieceCount: number
  readonly contentBytes: number
  readonly pieceBytes: number
  readonly window: PieceWindow
  readonly #held: PieceSet
  readonly #buffers = new Map<number, Buffer>()
  /** Of pieces that were forgotten: to be used again. */
  readonly #spare: Buffer[] = []
  readonly #capacity: number
  #closed = false

  constructor(torrent: Shape, { aheadPieces, behindPieces }: WindowSize) {
    this.pieceCount = torrent.pieceCount
    this.contentBytes = torrent.contentBytes
    this.pieceBytes = torrent.pieceBytes
    this.window = { aheadPieces, behindPieces, forget: (piece) => this.#forget(piece) }
    this.#capacity = aheadPieces + behindPieces
    this.#held = new PieceSet(torrent.pieceCount)
  }

  has(piece: number): boolean {
    return this.#held.has(piece)
  }

  get heldCount(): number {
    return this.#held.count
  }

  /** @throws {RangeError} when as many pieces as there is room for are held */
  async write(piece: number, bytes: Uint8Array): Promise<void> {
    this.#requireOpen()
    requirePiece(this, piece, bytes)
    if (this.#held.has(piece)) return
    if (this.#held.count >= this.#capacity) throw new RangeError(`room for ${this.#capacity} pieces, and ${piece} is one more`)
    const buffer = this.#spare.pop() ?? Buffer.allocUnsafeSlow(Math.min(this.pieceBytes, this.contentBytes))
    buffer.set(bytes)
    this.#buffers.set(piece, buffer)
    this.#held.add(piece)
  }

  /** The bytes are there when this returns, before its promise settles. */
  async read(offset: number, length: number, into: Uint8Array): Promise<void> {
    this.#requireOpen()
    requireHeldRange(this, this.#held, offset, length, into)
    for (let at = 0; at < length;) {
      const piece = Math.floor((offset + at) / this.pieceBytes)
      const from = offset + at - piece * this.pieceBytes
      const part = this.#buffers.get(piece)?.subarray(from, Math.min(pieceBytesAt(this, piece), from + length - at))
      if (part === undefined) throw new Error(`unreachable: piece ${piece} is held without its bytes`)
      into.set(part, at)
      at += part.length
    }
  }

  async sync(): Promise<void> {
    this.#requireOpen()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#buffers.clear()
    this.#spare.length = 0
  }

  #forget(piece: number): void {
    const buffer = this.#buffers.get(piece)
    if (buffer === undefined) return
    this.#buffers.delete(piece)
    this.#held.delete(piece)
    this.#spare.push(buffer)
  }

  #requireOpen(): void {
    if (this.#closed) throw new TypeError("this piece store is closed")
  }
}
