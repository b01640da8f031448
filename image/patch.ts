/**
 * One content written as what it has beyond another. The content is cut into segments, and each is a zstd frame (RFC 8878) with a part of the other content
 * as its dictionary of raw content, which is what `zstd --patch-from` writes: so the largest file takes no more memory than one segment and its part.
 */
import type { FileHandle } from "node:fs/promises"
import { promisify } from "node:util"
import { constants, zstdCompress, zstdDecompress, type ZstdOptions } from "node:zlib"
import { GridError } from "#core/errors.ts"

const MIB = 1024 * 1024
/** Of the content, but for the last segment. */
export const SEGMENT_BYTES = 16 * MIB
/** What a segment is compared with lies as far in the other content, this much before it and after it. */
const REACH_BYTES = 16 * MIB
export const BASE_BYTES_MAX = SEGMENT_BYTES + 2 * REACH_BYTES
/** A segment that is longer as a patch than as it is. */
export const STORED_BYTES_MAX = SEGMENT_BYTES + MIB
/** Measured on upgrades of Debian packages: 19 saves 12 % of the bytes and takes 25 times as long. */
const LEVEL = 9
const WINDOW_LOG_MIN = 10
/** 64 MiB for each of two tables, while a patch is made. */
const TABLE_LOG_MAX = 24
/** A segment and its part of the other content at their largest. */
const WINDOW_LOG_MAX = 26

/** Which part of the other content a segment is a patch of, in bytes, and how long the patch is. */
export type Segment = readonly [offset: number, length: number, storedBytes: number]

const compress = promisify<Uint8Array, ZstdOptions & { dictionary: Uint8Array }, Buffer>(zstdCompress)
const decompress = promisify<Uint8Array, ZstdOptions & { dictionary: Uint8Array }, Buffer>(zstdDecompress)

export function segmentCount(size: number): number {
  return Math.ceil(size / SEGMENT_BYTES)
}

/** Where a segment of a content of `size` bytes has its like in one of `baseSize`. */
export function basePart(segment: number, size: number, baseSize: number): { readonly offset: number; readonly length: number } {
  const at = Math.floor((segment * SEGMENT_BYTES * baseSize) / Math.max(1, size))
  const offset = Math.max(0, Math.min(at, baseSize - SEGMENT_BYTES) - REACH_BYTES)
  return { offset, length: Math.min(baseSize - offset, BASE_BYTES_MAX) }
}

/** Of one segment. */
export function makePatch(base: Buffer, segment: Buffer): Promise<Buffer> {
  const windowLog = Math.max(WINDOW_LOG_MIN, Math.ceil(Math.log2(base.length + segment.length)))
  // The tables that belong to the level hold the last megabytes of a long dictionary, and none of what is before.
  const tableLog = Math.min(TABLE_LOG_MAX, windowLog - 2)
  const tables = windowLog < TABLE_LOG_MAX ? {} : { [constants.ZSTD_c_hashLog]: tableLog, [constants.ZSTD_c_chainLog]: tableLog }
  return compress(segment, {
    dictionary: base,
    params: { [constants.ZSTD_c_compressionLevel]: LEVEL, [constants.ZSTD_c_windowLog]: windowLog, ...tables },
  })
}

/** @throws {GridError} SEALED_INVALID where it is damaged, or gives more than a segment */
export async function applyPatch(base: Buffer, patch: Uint8Array): Promise<Buffer> {
  try {
    return await decompress(patch, {
      dictionary: base,
      maxOutputLength: SEGMENT_BYTES,
      params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
    })
  } catch (cause) {
    throw new GridError("SEALED_INVALID", "a patch of a delta layer is damaged, or is not for the file that is here", { cause })
  }
}

/** These bytes of a file, or as many as it has. */
export async function readPart(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length)
  let read = 0
  while (read < length) {
    const { bytesRead } = await file.read(bytes, read, length - read, offset + read)
    if (bytesRead === 0) break
    read += bytesRead
  }
  return bytes.subarray(0, read)
}
