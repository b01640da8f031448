/** Which pieces someone has: one bit for each, the first in the highest bit of the first byte (BEP 3). */
import { GridError } from "#core/errors.ts"

export class Bitfield {
  readonly pieceCount: number
  readonly bytes: Uint8Array
  #count = 0

  constructor(pieceCount: number, bytes: Uint8Array = new Uint8Array(Math.ceil(pieceCount / 8))) {
    this.pieceCount = pieceCount
    this.bytes = bytes
    for (const byte of bytes) this.#count += bitsIn(byte)
  }

  static full(pieceCount: number): Bitfield {
    const field = new Bitfield(pieceCount)
    for (let piece = 0; piece < pieceCount; piece += 1) field.set(piece)
    return field
  }

  /**
   * Takes a bitfield from a peer; keeps a copy.
   * @throws {GridError} PEER_MISBEHAVED for a wrong length or spare bits that are set
   */
  static fromPeer(pieceCount: number, bytes: Uint8Array): Bitfield {
    const expectedBytes = Math.ceil(pieceCount / 8)
    if (bytes.length !== expectedBytes)
      throw new GridError("PEER_MISBEHAVED", `bitfield of ${bytes.length} bytes, expected ${expectedBytes}`)
    const spareBits = expectedBytes * 8 - pieceCount
    if (((bytes[expectedBytes - 1] ?? 0) & ((1 << spareBits) - 1)) !== 0)
      throw new GridError("PEER_MISBEHAVED", "bitfield with spare bits set")
    return new Bitfield(pieceCount, Uint8Array.from(bytes))
  }

  get count(): number {
    return this.#count
  }

  get complete(): boolean {
    return this.#count === this.pieceCount
  }

  has(piece: number): boolean {
    return ((this.bytes[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) !== 0
  }

  /** False when the piece was there already. */
  set(piece: number): boolean {
    const mask = 0x80 >> (piece & 7)
    const byte = this.bytes[piece >> 3] ?? 0
    if ((byte & mask) !== 0) return false
    this.bytes[piece >> 3] = byte | mask
    this.#count += 1
    return true
  }

  /** False when the piece was not there. */
  clear(piece: number): boolean {
    if (!this.has(piece)) return false
    this.bytes[piece >> 3] = (this.bytes[piece >> 3] ?? 0) & ~(0x80 >> (piece & 7))
    this.#count -= 1
    return true
  }

  /** How many pieces this has that `other` lacks. */
  countBeyond(other: Bitfield): number {
    let count = 0
    for (let index = 0; index < this.bytes.length; index += 1) count += bitsIn((this.bytes[index] ?? 0) & ~(other.bytes[index] ?? 0))
    return count
  }
}

function bitsIn(byte: number): number {
  let bits = byte & 0xff
  bits -= (bits >> 1) & 0x55
  bits = (bits & 0x33) + ((bits >> 2) & 0x33)
  return (bits + (bits >> 4)) & 0x0f
}
