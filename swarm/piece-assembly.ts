/** Blocks of pieces on their way, put together in buffers that are used again; verified when whole. */
import { createHash, hash } from "node:crypto"
import { BLOCK_BYTES, pieceBytesAt, type Torrent } from "#core/torrent.ts"
import type { BlockSlices } from "./wire.ts"

/** Buffers kept for the next pieces. */
const SPARE_BYTES_MAX = 16 * 1024 * 1024
/** Corrupt attempts remembered, to tell later which blocks were wrong. */
const ATTEMPTS_MAX = 64

export class PieceAssembly {
  readonly #torrent: Torrent
  readonly #buffers = new Map<number, Buffer>()
  readonly #spare: Buffer[] = []
  /** SHA-1 of each block of a piece that failed its digest. */
  readonly #attempts = new Map<number, readonly string[]>()

  constructor(torrent: Torrent) {
    this.#torrent = torrent
  }

  keep(piece: number, offset: number, block: BlockSlices): void {
    let buffer = this.#buffers.get(piece)
    if (buffer === undefined) {
      buffer = this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#torrent.pieceBytes)
      this.#buffers.set(piece, buffer)
    }
    let at = offset
    for (const slice of block) at += slice.copy(buffer, at)
  }

  /**
   * The whole piece when it matches its digest, and which blocks of an earlier attempt were wrong. Null when it does not match.
   * The bytes stay as they are until `drop`.
   */
  verify(piece: number): { readonly bytes: Buffer; readonly wrongBlocks: readonly number[] } | null {
    const bytes = this.#buffers.get(piece)?.subarray(0, pieceBytesAt(this.#torrent, piece))
    if (bytes === undefined) return null
    const expected = this.#torrent.pieceDigests.subarray(piece * 20, piece * 20 + 20)
    const attempt = this.#attempts.get(piece)
    if (!createHash("sha1").update(bytes).digest().equals(expected)) {
      if (attempt === undefined && this.#attempts.size < ATTEMPTS_MAX) this.#attempts.set(piece, blockDigests(bytes))
      return null
    }
    this.#attempts.delete(piece)
    if (attempt === undefined) return { bytes, wrongBlocks: [] }
    const right = blockDigests(bytes)
    return { bytes, wrongBlocks: attempt.flatMap((digest, block) => (digest === right[block] ? [] : [block])) }
  }

  drop(piece: number): void {
    const buffer = this.#buffers.get(piece)
    if (buffer === undefined) return
    this.#buffers.delete(piece)
    if ((this.#spare.length + 1) * buffer.length <= SPARE_BYTES_MAX || this.#spare.length < 2) this.#spare.push(buffer)
  }
}

function blockDigests(bytes: Buffer): string[] {
  const digests: string[] = []
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) digests.push(hash("sha1", bytes.subarray(at, at + BLOCK_BYTES)))
  return digests
}
