/**
 * sealed bytes -> age -> zstd -> content, as a stream.
 *
 * Invariant: never more than `contentBytes` come out, and the iteration ends without an error only if both lengths, both
 * digests, age's last chunk and the end of the zstd frame were right. What came out before that end is not final.
 */
import { createHash } from "node:crypto"
import { once } from "node:events"
import type { TransformOptions } from "node:stream"
import { constants as zlibConstants, createZstdDecompress, type ZstdOptions } from "node:zlib"
import type { Layer } from "#core/documents.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import { AgeOpener } from "#crypto/age.ts"
import { untilAborted } from "./until-aborted.ts"

/** 8 MiB: what level 19 uses. A frame that asks for more memory is refused. */
const WINDOW_LOG_MAX = 23
const CHUNK_BYTES = 1024 * 1024
const DECOMPRESSION: ZstdOptions & TransformOptions = {
  chunkSize: CHUNK_BYTES,
  readableHighWaterMark: CHUNK_BYTES,
  writableHighWaterMark: CHUNK_BYTES,
  rejectGarbageAfterEnd: true,
  params: { [zlibConstants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
}

/**
 * Single use. Closing the iterator early closes `sealed` too.
 * @throws {GridError} SEALED_INVALID, DIGEST_MISMATCH, KEY_INVALID
 * @throws what `sealed` throws
 */
export async function* openLayer(
  sealed: AsyncIterable<Uint8Array>,
  parts: {
    readonly identity: string
    readonly layer: Pick<Layer, "sealedBytes" | "sealedSha256" | "contentBytes" | "contentSha256">
  },
): AsyncGenerator<Buffer, void, void> {
  const { layer } = parts
  const opener = new AgeOpener(parts.identity)
  const decompressor = createZstdDecompress(DECOMPRESSION)
  const closed = new AbortController()
  const feeding = feed(sealed, opener, decompressor, layer, closed.signal)
  const contentHash = createHash("sha256")
  let contentBytes = 0
  try {
    for await (const chunk of decompressor) {
      const content = chunk as Buffer
      contentBytes += content.length
      if (contentBytes > layer.contentBytes)
        throw new GridError("SEALED_INVALID", `expected ${layer.contentBytes} bytes of content, but there are more`)
      contentHash.update(content)
      yield content
    }
  } catch (error) {
    closed.abort()
    const failure = await feeding
    if (failure !== null) throw failure.error
    if (error instanceof GridError) throw error
    const reason = reasonOf(error)
    throw new GridError("SEALED_INVALID", `the zstd frame is damaged: ${reason}`, { cause: error })
  } finally {
    closed.abort()
    decompressor.destroy()
    await feeding
  }
  if (contentBytes !== layer.contentBytes)
    throw new GridError("SEALED_INVALID", `expected ${layer.contentBytes} bytes of content, found ${contentBytes}`)
  const found = contentHash.digest("hex")
  if (found !== layer.contentSha256)
    throw new GridError("DIGEST_MISMATCH", `expected content with SHA-256 ${layer.contentSha256}, found ${found}`)
}

/** Resolves to why it could not feed everything; null when it did or was closed. */
async function feed(
  sealed: AsyncIterable<Uint8Array>,
  opener: AgeOpener,
  decompressor: ReturnType<typeof createZstdDecompress>,
  layer: Pick<Layer, "sealedBytes" | "sealedSha256">,
  closed: AbortSignal,
): Promise<{ readonly error: unknown } | null> {
  const hash = createHash("sha256")
  const pass = async (compressed: Buffer[]): Promise<void> => {
    for (const bytes of compressed) if (!decompressor.write(bytes)) await once(decompressor, "drain", { signal: closed })
  }
  try {
    let sealedBytes = 0
    for await (const bytes of untilAborted(sealed, closed)) {
      sealedBytes += bytes.length
      if (sealedBytes > layer.sealedBytes)
        throw new GridError("SEALED_INVALID", `expected ${layer.sealedBytes} sealed bytes, but there are more`)
      hash.update(bytes)
      await pass(await opener.update(bytes))
    }
    if (sealedBytes < layer.sealedBytes)
      throw new GridError("SEALED_INVALID", `expected ${layer.sealedBytes} sealed bytes, but they end after ${sealedBytes}`)
    const last = opener.final()
    const found = hash.digest("hex")
    if (found !== layer.sealedSha256)
      throw new GridError("DIGEST_MISMATCH", `expected sealed bytes with SHA-256 ${layer.sealedSha256}, found ${found}`)
    await pass(last)
    decompressor.end()
    return null
  } catch (error) {
    // Once closed, whatever ended it here is of no interest: the reader knows why it closed.
    if (closed.aborted || decompressor.errored !== null) return null
    decompressor.destroy(error instanceof Error ? error : new Error(String(error)))
    return { error }
  }
}
