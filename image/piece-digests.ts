/**
 * SHA-1 of each piece (BEP 3) of a file that is written front to back, whose length nobody knows before its end.
 *
 * SHA-1 digests can't be merged, so a length of pieces that turns out too short costs another look at what was written. The
 * steps are few and wide: 64 KiB pieces up to 256 MiB, 512 KiB up to 4 GiB, 4 MiB beyond: 500 to 8,000 pieces
 * but for small and very large files. At a step the digests start anew with longer pieces, and `unhashedBytes` from the front
 * are read again at the end.
 */
import { createHash, type Hash } from "node:crypto"
import { INFO_BYTES_MAX, PIECE_BYTES_MAX, PIECE_BYTES_MIN } from "#core/torrent.ts"

const STEPS = [
  { pieceBytes: 64 * 1024, upToBytes: 256 * 1024 * 1024 },
  { pieceBytes: 512 * 1024, upToBytes: 4 * 1024 * 1024 * 1024 },
  { pieceBytes: 4 * 1024 * 1024, upToBytes: Number.POSITIVE_INFINITY },
]
const DIGEST_BYTES = 20
/** What a peer would take; the rest of the info dictionary is far below 1 KiB. */
const PIECE_COUNT_MAX = Math.floor((INFO_BYTES_MAX - 1024) / DIGEST_BYTES)

export class PieceDigests {
  readonly #fixed: boolean
  pieceBytes: number
  #digests: Buffer[] = []
  #hash: Hash = createHash("sha1")
  #hashedBytes = 0
  #total = 0
  /** This many bytes from the front are not in the digests: the caller passes them to `completeFront`. */
  unhashedBytes = 0

  /** @throws {RangeError} unless `pieceBytes` is null, for steps, or a power of two from 16 KiB to 16 MiB */
  constructor(pieceBytes: number | null) {
    if (pieceBytes !== null) requirePieceBytes(pieceBytes)
    this.#fixed = pieceBytes !== null
    this.pieceBytes = pieceBytes ?? STEPS[0]?.pieceBytes ?? PIECE_BYTES_MIN
  }

  update(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.length) {
      const part = bytes.subarray(at, at + this.pieceBytes - this.#hashedBytes)
      this.#hash.update(part)
      this.#hashedBytes += part.length
      this.#total += part.length
      at += part.length
      if (this.#hashedBytes === this.pieceBytes) this.#endPiece()
      if (!this.#fixed && this.#hashedBytes === 0) this.#step()
    }
  }

  /**
   * The digests of all pieces, 20 bytes each. `front` gives the first `unhashedBytes` bytes again, and is not asked when there are none.
   * @throws {RangeError} when a torrent of so many pieces is more than peers take
   */
  async finish(front: (bytes: number) => AsyncIterable<Uint8Array>): Promise<Buffer> {
    if (this.#hashedBytes > 0) this.#endPiece()
    const pieceCount = this.unhashedBytes / this.pieceBytes + this.#digests.length
    if (pieceCount > PIECE_COUNT_MAX)
      throw new RangeError(
        `pieces of ${this.pieceBytes} bytes: ${pieceCount} of them, at most ${PIECE_COUNT_MAX} make a torrent; take longer ones`,
      )
    if (this.unhashedBytes === 0) return Buffer.concat(this.#digests)
    const first = new PieceDigests(this.pieceBytes)
    for await (const bytes of front(this.unhashedBytes)) first.update(bytes)
    if (first.#total !== this.unhashedBytes) throw new Error("the file is shorter than what was written")
    return Buffer.concat([...first.#digests, ...this.#digests])
  }

  #endPiece(): void {
    this.#digests.push(this.#hash.digest())
    this.#hash = createHash("sha1")
    this.#hashedBytes = 0
  }

  #step(): void {
    const step = STEPS.find(({ upToBytes }) => this.#total < upToBytes)
    if (step === undefined || step.pieceBytes === this.pieceBytes) return
    this.pieceBytes = step.pieceBytes
    this.unhashedBytes = this.#total
    this.#digests = []
  }
}

/** @throws {RangeError} */
export function requirePieceBytes(pieceBytes: number): void {
  const inRange = Number.isInteger(pieceBytes) && pieceBytes >= PIECE_BYTES_MIN && pieceBytes <= PIECE_BYTES_MAX
  if (!inRange || (pieceBytes & (pieceBytes - 1)) !== 0)
    throw new RangeError(`a piece has a power of two of bytes, ${PIECE_BYTES_MIN} to ${PIECE_BYTES_MAX}; ${pieceBytes} was asked for`)
}
