/**
 * Blocks of pieces on their way, put together in buffers that are used again. A block is hashed as soon as those before it are, while it is in the
 * processor's cache: when the last one comes, little is left to do before the piece is verified.
 */
import { createHash, hash, type Hash } from "node:crypto"
import { BLOCK_BYTES, pieceBytesAt, type Torrent } from "#core/torrent.ts"
import type { BlockSlices } from "./wire.ts"

/** Buffers kept for the next pieces. */
const SPARE_BYTES_MAX = 16 * 1024 * 1024
/** Corrupt attempts remembered, to tell later which blocks were wrong. */
const ATTEMPTS_MAX = 64

/** `hashedBytes` from the start are hashed; `ahead`: where blocks end that came before one in front of them, by where they begin. */
type Assembling = { readonly buffer: Buffer; readonly hash: Hash; hashedBytes: number; readonly ahead: Map<number, number> }

export class PieceAssembly {
  readonly #torrent: Torrent
  readonly #assembling = new Map<number, Assembling>()
  readonly #spare: Buffer[] = []
  /** SHA-1 of each block of a piece that failed its digest. */
  readonly #attempts = new Map<number, readonly string[]>()

  constructor(torrent: Torrent) {
    this.#torrent = torrent
  }

  /** Takes a block that this piece did not have; copies it. */
  keep(piece: number, offset: number, block: BlockSlices): void {
    const assembling = this.#assembling.get(piece) ?? this.#begin(piece)
    let end = offset
    for (const slice of block) end += slice.copy(assembling.buffer, end)
    if (offset === assembling.hashedBytes) hashOn(assembling, end)
    else assembling.ahead.set(offset, end)
  }

  /**
   * The whole piece when it matches its digest, and which blocks of an earlier attempt were wrong. Null when it does not match. To be asked once,
   * when all blocks were kept. The bytes stay as they are until `drop`.
   */
  verify(piece: number): { readonly bytes: Buffer; readonly wrongBlocks: readonly number[] } | null {
    const assembling = this.#assembling.get(piece)
    const pieceBytes = pieceBytesAt(this.#torrent, piece)
    if (assembling?.hashedBytes !== pieceBytes) return null
    const bytes = assembling.buffer.subarray(0, pieceBytes)
    const expected = this.#torrent.pieceDigests.subarray(piece * 20, piece * 20 + 20)
    const attempt = this.#attempts.get(piece)
    if (!assembling.hash.digest().equals(expected)) {
      if (attempt === undefined && this.#attempts.size < ATTEMPTS_MAX) this.#attempts.set(piece, blockDigests(bytes))
      return null
    }
    this.#attempts.delete(piece)
    if (attempt === undefined) return { bytes, wrongBlocks: [] }
    const right = blockDigests(bytes)
    return { bytes, wrongBlocks: attempt.flatMap((digest, block) => (digest === right[block] ? [] : [block])) }
  }

  drop(piece: number): void {
    const buffer = this.#assembling.get(piece)?.buffer
    if (buffer === undefined) return
    this.#assembling.delete(piece)
    if ((this.#spare.length + 1) * buffer.length <= SPARE_BYTES_MAX || this.#spare.length < 2) this.#spare.push(buffer)
  }

  #begin(piece: number): Assembling {
    const buffer = this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#torrent.pieceBytes)
    const assembling = { buffer, hash: createHash("sha1"), hashedBytes: 0, ahead: new Map() }
    this.#assembling.set(piece, assembling)
    return assembling
  }
}

function hashOn(assembling: Assembling, end: number): void {
  const { buffer, hash: running, ahead } = assembling
  for (let to: number | undefined = end; to !== undefined; to = ahead.get(assembling.hashedBytes)) {
    running.update(buffer.subarray(assembling.hashedBytes, to))
    ahead.delete(assembling.hashedBytes)
    assembling.hashedBytes = to
  }
}

function blockDigests(bytes: Buffer): string[] {
  const digests: string[] = []
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) digests.push(hash("sha1", bytes.subarray(at, at + BLOCK_BYTES)))
  return digests
}
