/** The bytes that an archive stores for a file -> the digest of the file's content, holes filled. */
import type { Sha256 } from "#core/identifiers.ts"
import type { ByteString } from "./byte-string.ts"
import { ContentDigest, digestOfSmall, ZERO_BLOCK_BYTES } from "./content-digest.ts"
import type { SparseMap } from "./pax-records.ts"
import { quoted, TarFault } from "./tar-fault.ts"

const NOTHING = Buffer.alloc(0)

/** Takes the stored bytes of one file; gives the digest of its content. */
export type ContentSink = { update(stored: Buffer): void; finish(): { sha256: Sha256; zeroBlocks: number } }

export function sinkFor(storedBytes: number, sparse: SparseMap | null, path: ByteString): ContentSink {
  if (sparse !== null) return sparseSink(sparse, storedBytes, path)
  return storedBytes < ZERO_BLOCK_BYTES ? smallSink(storedBytes) : new LargeSink()
}

/** Most files are whole in one push, and cheaper to hash at once. */
function smallSink(storedBytes: number): ContentSink {
  let sha256: Sha256 | null = storedBytes === 0 ? digestOfSmall(NOTHING) : null
  let digest: ContentDigest | null = null
  return {
    update(stored) {
      if (stored.length === storedBytes) sha256 = digestOfSmall(stored)
      else {
        digest ??= new ContentDigest()
        digest.update(stored)
      }
    },
    finish: () => ({ sha256: sha256 ?? digest?.digest() ?? digestOfSmall(NOTHING), zeroBlocks: 0 }),
  }
}

class LargeSink implements ContentSink {
  readonly #digest = new ContentDigest()
  update(stored: Buffer): void {
    this.#digest.update(stored)
  }
  finish(): { sha256: Sha256; zeroBlocks: number } {
    return { sha256: this.#digest.digest(), zeroBlocks: this.#digest.zeroBlocks }
  }
}

/** Refuses a map whose pieces overlap, leave the file, or are not the bytes that are stored. */
export function requireFits(map: SparseMap, storedBytes: number, path: ByteString): void {
  let end = 0
  let total = 0
  const countsAgree = map.offsets.length === map.blocks && map.lengths.length === map.blocks
  for (const [at, offset] of map.offsets.entries()) {
    const length = map.lengths[at] ?? 0
    if (offset < end) throw new TarFault(`the sparse map of ${quoted(path)} is out of order`)
    end = offset + length
    total += length
  }
  if (!countsAgree || end > map.size || total !== storedBytes) throw new TarFault(`the sparse map of ${quoted(path)} does not fit the file`)
}

function sparseSink(map: SparseMap, storedBytes: number, path: ByteString): ContentSink {
  requireFits(map, storedBytes, path)
  const digest = new ContentDigest()
  let at = 0
  let position = 0
  let leftHere = map.lengths[0] ?? 0
  /** Zeros up to the next piece that has bytes. */
  const seek = (): void => {
    while (leftHere === 0 && at < map.lengths.length) {
      at += 1
      leftHere = map.lengths[at] ?? 0
    }
    const next = leftHere > 0 ? (map.offsets[at] ?? map.size) : map.size
    digest.updateZeros(next - position)
    position = next
  }
  let begun = false
  return {
    update(stored) {
      let from = 0
      while (from < stored.length) {
        if (!begun || leftHere === 0) {
          begun = true
          seek()
        }
        const part = stored.subarray(from, from + leftHere)
        digest.update(part)
        from += part.length
        position += part.length
        leftHere -= part.length
      }
    },
    finish() {
      digest.updateZeros(map.size - position)
      return { sha256: digest.digest(), zeroBlocks: digest.zeroBlocks }
    },
  }
}
