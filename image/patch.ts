/**
 * One content written as what it has beyond another: a zstd frame (RFC 8878) with the other as its dictionary of raw content, which is what
 * `zstd --patch-from` writes.
 */
import { promisify } from "node:util"
import { constants, zstdCompress, zstdDecompress, type ZstdOptions } from "node:zlib"
import { GridError } from "#core/errors.ts"

/** Of either content: both are in memory whole. */
export const PATCH_BYTES_MAX = 32 * 1024 * 1024
/** Measured on upgrades of Debian packages: 19 saves 12 % of the bytes and takes 25 times as long. */
const LEVEL = 9
const WINDOW_LOG_MIN = 10
/** Both contents at their largest. */
const WINDOW_LOG_MAX = 26

const compress = promisify<Uint8Array, ZstdOptions & { dictionary: Uint8Array }, Buffer>(zstdCompress)
const decompress = promisify<Uint8Array, ZstdOptions & { dictionary: Uint8Array }, Buffer>(zstdDecompress)

/** Neither may be longer than `PATCH_BYTES_MAX`. */
export function makePatch(base: Buffer, content: Buffer): Promise<Buffer> {
  const windowLog = Math.max(WINDOW_LOG_MIN, Math.ceil(Math.log2(base.length + content.length + 1)))
  return compress(content, {
    dictionary: base,
    params: { [constants.ZSTD_c_compressionLevel]: LEVEL, [constants.ZSTD_c_windowLog]: windowLog },
  })
}

/** @throws {GridError} SEALED_INVALID where it is damaged, or gives more than `size` bytes */
export async function applyPatch(base: Buffer, patch: Uint8Array, size: number): Promise<Buffer> {
  try {
    return await decompress(patch, {
      dictionary: base,
      maxOutputLength: size + 1,
      params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
    })
  } catch (cause) {
    throw new GridError("SEALED_INVALID", "a patch of a delta layer is damaged, or is not for the file that is here", { cause })
  }
}
