/** Which pieces of one torrent are held. `count` always equals the number of pieces that `has` answers true for. */
import { pieceBytesAt, type Torrent } from "#core/torrent.ts"

export type Shape = Pick<Torrent, "contentBytes" | "pieceBytes" | "pieceCount">

export class PieceSet {
  readonly pieceCount: number
  /** High bit first, as in the bitfield message (BEP 3). */
  readonly #bits: Uint8Array
  #count = 0

  constructor(pieceCount: number) {
    this.pieceCount = pieceCount
    this.#bits = new Uint8Array(Math.ceil(pieceCount / 8))
  }

  static full(pieceCount: number): PieceSet {
    const set = new PieceSet(pieceCount)
    for (let piece = 0; piece < pieceCount; piece++) set.add(piece)
    return set
  }

  /** Reads what `toBytes` gave; null when the length is another, or a bit stands behind the last piece. */
  static fromBytes(bytes: Uint8Array, pieceCount: number): PieceSet | null {
    const set = new PieceSet(pieceCount)
    if (bytes.length !== set.#bits.length) return null
    for (let piece = 0; piece < bytes.length * 8; piece++) {
      if (((bytes[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) === 0) continue
      if (piece >= pieceCount) return null
      set.add(piece)
    }
    return set
  }

  toBytes(): Uint8Array {
    return Uint8Array.from(this.#bits)
  }

  get count(): number {
    return this.#count
  }

  get complete(): boolean {
    return this.#count === this.pieceCount
  }

  has(piece: number): boolean {
    return ((this.#bits[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) !== 0 && piece >= 0 && piece < this.pieceCount
  }

  /** True when the piece was missing before. */
  add(piece: number): boolean {
    if (this.has(piece)) return false
    const at = piece >> 3
    this.#bits[at] = (this.#bits[at] ?? 0) | (0x80 >> (piece & 7))
    this.#count += 1
    return true
  }

  /** True when the piece was there before. */
  delete(piece: number): boolean {
    if (!this.has(piece)) return false
    const at = piece >> 3
    this.#bits[at] = (this.#bits[at] ?? 0) & ~(0x80 >> (piece & 7))
    this.#count -= 1
    return true
  }
}

/** Bytes of the pieces that are held: the last piece of a torrent may be short. */
export function heldBytes(shape: Shape, held: { has(piece: number): boolean }): number {
  let bytes = 0
  for (let piece = 0; piece < shape.pieceCount; piece++) if (held.has(piece)) bytes += pieceBytesAt(shape, piece)
  return bytes
}

/** @throws {RangeError} unless `bytes` is exactly piece `piece` long */
export function requirePiece(shape: Shape, piece: number, bytes: Uint8Array): void {
  if (!Number.isInteger(piece) || piece < 0 || piece >= shape.pieceCount)
    throw new RangeError(`piece ${piece} of a torrent of ${shape.pieceCount}`)
  const expected = pieceBytesAt(shape, piece)
  if (bytes.length !== expected) throw new RangeError(`piece ${piece} has ${expected} bytes, ${bytes.length} were given`)
}

/** @throws {RangeError} unless the range lies in the content, fits into `into`, and all its pieces are held */
export function requireHeldRange(shape: Shape, held: PieceSet, offset: number, length: number, into: Uint8Array): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0 || offset + length > shape.contentBytes)
    throw new RangeError(`bytes ${offset} to ${offset + length} of a content of ${shape.contentBytes}`)
  if (into.length < length) throw new RangeError(`${length} bytes into a buffer of ${into.length}`)
  if (length === 0) return
  const last = Math.floor((offset + length - 1) / shape.pieceBytes)
  for (let piece = Math.floor(offset / shape.pieceBytes); piece <= last; piece++)
    if (!held.has(piece)) throw new RangeError(`piece ${piece} is not held`)
}
