/**
 * The digest of a file's content, the same on every file system whatever holes it keeps.
 *
 * The content is cut at multiples of 1 MiB. Whole blocks of zeros are counted, not hashed, so a hole costs nothing however long
 * it is. A file without such a block, which is nearly every file, has the plain SHA-256 that `sha256sum` prints. For any other it is
 * SHA-256 of `imagegrid-zero-blocks-1\n`, the decimal size and a newline, the SHA-256 (32 bytes) of the content without those
 * blocks, and the SHA-256 (32 bytes) of one line `FIRST COUNT\n` for each run of them.
 */
import { createHash, hash, type Hash } from "node:crypto"
import type { Sha256 } from "#core/identifiers.ts"

export const ZERO_BLOCK_BYTES = 1024 * 1024
const ZEROS = Buffer.alloc(64 * 1024)

/** The digest of a content that is at hand whole and shorter than a block. */
export function digestOfSmall(content: Uint8Array): Sha256 {
  return hash("sha256", content, "hex") as Sha256
}

export class ContentDigest {
  readonly #kept: Hash = createHash("sha256")
  #runs: Hash | null = null
  #size = 0
  /** Zeros seen since the current block began, while nothing else was: not hashed yet. */
  #leadingZeros = 0
  #blockIsZeroSoFar = true
  #runFirst = 0
  #runCount = 0
  zeroBlocks = 0

  update(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.length) {
      const room = ZERO_BLOCK_BYTES - (this.#size % ZERO_BLOCK_BYTES)
      const part = bytes.subarray(at, at + room)
      at += part.length
      if (this.#blockIsZeroSoFar && isZero(part)) this.#pass(part.length)
      else {
        this.#keepLeadingZeros()
        this.#blockIsZeroSoFar = false
        this.#kept.update(part)
        this.#advance(part.length)
      }
    }
  }

  /** As `update` with that many zero bytes, at a cost that does not grow with them. */
  updateZeros(count: number): void {
    let left = count
    while (left > 0) {
      const filled = this.#size % ZERO_BLOCK_BYTES
      if (filled === 0 && left >= ZERO_BLOCK_BYTES) {
        const blocks = Math.floor(left / ZERO_BLOCK_BYTES)
        this.#countZeroBlocks(blocks)
        this.#size += blocks * ZERO_BLOCK_BYTES
        left -= blocks * ZERO_BLOCK_BYTES
        continue
      }
      const part = Math.min(left, ZERO_BLOCK_BYTES - filled)
      if (this.#blockIsZeroSoFar) this.#pass(part)
      else {
        hashZeros(this.#kept, part)
        this.#advance(part)
      }
      left -= part
    }
  }

  digest(): Sha256 {
    this.#keepLeadingZeros()
    if (this.zeroBlocks === 0) return this.#kept.digest("hex") as Sha256
    this.#endRun()
    return createHash("sha256")
      .update(`imagegrid-zero-blocks-1\n${this.#size}\n`)
      .update(this.#kept.digest())
      .update(this.#runsHash().digest())
      .digest("hex") as Sha256
  }

  /** Zeros in a block that had nothing else yet. */
  #pass(count: number): void {
    this.#leadingZeros += count
    if (this.#leadingZeros === ZERO_BLOCK_BYTES) {
      this.#leadingZeros = 0
      this.#size -= ZERO_BLOCK_BYTES - count
      this.#countZeroBlocks(1)
      this.#size += ZERO_BLOCK_BYTES
    } else this.#advance(count)
  }

  #advance(count: number): void {
    this.#size += count
    if (this.#size % ZERO_BLOCK_BYTES === 0) this.#blockIsZeroSoFar = true
  }

  #keepLeadingZeros(): void {
    hashZeros(this.#kept, this.#leadingZeros)
    this.#leadingZeros = 0
  }

  /** Counts blocks that begin at `#size`. */
  #countZeroBlocks(count: number): void {
    const first = this.#size / ZERO_BLOCK_BYTES
    if (this.#runCount > 0 && this.#runFirst + this.#runCount === first) this.#runCount += count
    else {
      this.#endRun()
      this.#runFirst = first
      this.#runCount = count
    }
    this.zeroBlocks += count
  }

  #endRun(): void {
    if (this.#runCount > 0) this.#runsHash().update(`${this.#runFirst} ${this.#runCount}\n`)
    this.#runCount = 0
  }

  #runsHash(): Hash {
    this.#runs ??= createHash("sha256")
    return this.#runs
  }
}

function isZero(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0 || bytes[bytes.length - 1] !== 0) return false
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const part = Buffer.from(bytes.buffer, bytes.byteOffset + at, Math.min(ZEROS.length, bytes.length - at))
    if (!part.equals(part.length === ZEROS.length ? ZEROS : ZEROS.subarray(0, part.length))) return false
  }
  return true
}

function hashZeros(into: Hash, count: number): void {
  for (let left = count; left > 0; left -= ZEROS.length) into.update(left >= ZEROS.length ? ZEROS : ZEROS.subarray(0, left))
}
