/**
 * content -> zstd (one frame) -> age -> file, with every digest a manifest needs, in one pass.
 *
 * Invariant: the file is complete and synced when `finish` resolves, and gone when `abort` does; nothing reads it in between.
 * Work is on two threads at once: zstd compresses in Node's pool while the main thread hashes, seals and reads on.
 */
import { createHash, randomUUID } from "node:crypto"
import { once } from "node:events"
import { open, rm, type FileHandle } from "node:fs/promises"
import { join } from "node:path"
import { constants as zlibConstants, createZstdCompress, type ZstdCompress } from "node:zlib"
import { AgeSealer } from "#crypto/age.ts"
import { GridError, systemErrorCode } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { makeTorrent, type Torrent } from "#core/torrent.ts"
import { PieceDigests } from "./piece-digests.ts"

/** The name in every layer's torrent: what an image is called is nobody's business but its members'. */
const TORRENT_NAME = "imagegrid-layer"
/** Of a whole tree, and of a difference, which is small and goes to many. */
export const ZSTD_LEVELS = { tree: 3, difference: 9 } as const
/** One call into the compressor each: long enough that waiting for it to be noticed costs little. */
export const CONTENT_CHUNK_BYTES = 4 * 1024 * 1024
const COMPRESSED_CHUNK_BYTES = 1024 * 1024
/** Buffers that may wait, with the one in the compressor, before the source must. */
const WAITING_MAX = 4
const HASH_STEP_BYTES = 256 * 1024
const READ_AGAIN_BYTES = 1024 * 1024

/** A sealed layer on disk: synced, in the directory that it was made in, under a name that its owner changes. */
export type SealedLayer = {
  readonly path: string
  readonly torrent: Torrent
  readonly sealedBytes: number
  readonly sealedSha256: Sha256
  readonly contentBytes: number
  readonly contentSha256: Sha256
}

export class LayerSealer {
  readonly #path: string
  readonly #file: FileHandle
  readonly #sealer: AgeSealer
  readonly #pieces: PieceDigests
  readonly #compressor: ZstdCompress
  readonly #contentHash = createHash("sha256")
  readonly #sealedHash = createHash("sha256")
  readonly #ended: Promise<unknown>
  /** One buffer fills while one is compressed and others wait, so that neither a run of small files nor a large one stalls the rest. */
  #filling: Buffer = Buffer.allocUnsafeSlow(CONTENT_CHUNK_BYTES)
  #filled = 0
  #hashed = 0
  readonly #spare: Buffer[] = []
  readonly #waiting: Buffer[] = []
  /** Settles when the buffer in the compressor is done. */
  #compressed: Promise<void> = Promise.resolve()
  #writing: Promise<void> = Promise.resolve()
  #failure: { readonly error: unknown } | null = null
  contentBytes = 0
  sealedBytes = 0

  private constructor(path: string, file: FileHandle, sealer: AgeSealer, pieces: PieceDigests, level: number) {
    this.#compressor = createZstdCompress({
      params: { [zlibConstants.ZSTD_c_compressionLevel]: level },
      chunkSize: COMPRESSED_CHUNK_BYTES,
    })
    this.#path = path
    this.#file = file
    this.#sealer = sealer
    this.#pieces = pieces
    this.#compressor.on("data", (compressed: Buffer) => this.#store(this.#sealer.update(compressed)))
    this.#compressor.on("error", (error) => (this.#failure ??= { error }))
    this.#ended = once(this.#compressor, "end")
    this.#ended.catch(() => {})
  }

  /**
   * Begins a file in `workDirectory`. `pieceBytes` null lets its length decide, see piece-digests.ts.
   * @throws {GridError} KEY_INVALID, DISK_FULL
   * @throws {RangeError} pieceBytes
   */
  static async create(parts: {
    workDirectory: string
    recipient: string
    pieceBytes: number | null
    level?: number
  }): Promise<LayerSealer> {
    const sealer = await AgeSealer.create(parts.recipient)
    const pieces = new PieceDigests(parts.pieceBytes)
    const path = join(parts.workDirectory, `sealing-${randomUUID()}.age`)
    const file = await open(path, "wx+", 0o600).catch((error: unknown) => refuseWrite(error, path))
    return new LayerSealer(path, file, sealer, pieces, parts.level ?? ZSTD_LEVELS.tree)
  }

  /** Takes content; the bytes are copied. After it, `pace` says whether to wait. */
  write(content: Uint8Array): void {
    let at = 0
    while (at < content.length) {
      const part = content.subarray(at, at + CONTENT_CHUNK_BYTES - this.#filled)
      this.#filling.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
      // In short steps: while this thread hashes, it can't give the compressor its next buffer.
      if (this.#filled - this.#hashed >= HASH_STEP_BYTES) this.#hashFilled()
      if (this.#filled === CONTENT_CHUNK_BYTES) this.#pass()
    }
  }

  /** A promise to wait for before the next `write` when the compressor or the disk is behind. */
  pace(): Promise<void> | undefined {
    return this.#failure === null && this.#waiting.length < WAITING_MAX ? undefined : this.#caughtUp()
  }

  /** @throws {GridError} DISK_FULL */
  async finish(): Promise<SealedLayer> {
    if (this.#filled > 0) this.#pass()
    while (this.#waiting.length > 0 && this.#failure === null) await this.#compressed
    this.#check()
    // Ending with writes queued would append an empty frame.
    this.#compressor.end()
    await this.#ended
    this.#store(this.#sealer.final())
    await this.#writing
    this.#check()
    try {
      const pieceDigests = await this.#pieces.finish((bytes) => this.#readAgain(bytes))
      await this.#file.sync()
      await this.#file.close()
      return {
        path: this.#path,
        torrent: makeTorrent({ name: TORRENT_NAME, contentBytes: this.sealedBytes, pieceBytes: this.#pieces.pieceBytes, pieceDigests }),
        sealedBytes: this.sealedBytes,
        sealedSha256: this.#sealedHash.digest("hex") as Sha256,
        contentBytes: this.contentBytes,
        contentSha256: this.#contentHash.digest("hex") as Sha256,
      }
    } catch (error) {
      return refuseWrite(error, this.#path)
    }
  }

  /** Stops and removes the file; may be called at any time, and after `finish`. */
  async abort(): Promise<void> {
    this.#failure ??= { error: new Error("aborted") }
    this.#compressor.destroy()
    await this.#writing
    await this.#file.close().catch(() => {})
    await rm(this.#path, { force: true })
  }

  async #caughtUp(): Promise<void> {
    while (this.#waiting.length >= WAITING_MAX && this.#failure === null) await this.#compressed
    // A disk slower than the compressor sets the pace from here on.
    await this.#writing
    this.#check()
  }

  #check(): void {
    if (this.#failure !== null) refuseWrite(this.#failure.error, this.#path)
  }

  /** Hands the filled buffer on. */
  #pass(): void {
    this.#hashFilled()
    const content = this.#filling.subarray(0, this.#filled)
    this.#filling = this.#spare.pop() ?? Buffer.allocUnsafeSlow(CONTENT_CHUNK_BYTES)
    this.#filled = 0
    this.#hashed = 0
    this.contentBytes += content.length
    this.#waiting.push(content)
    if (this.#waiting.length === 1) this.#compressNext(content)
  }

  #hashFilled(): void {
    this.#contentHash.update(this.#filling.subarray(this.#hashed, this.#filled))
    this.#hashed = this.#filled
  }

  #compressNext(content: Buffer): void {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#compressed = promise
    this.#compressor.write(content, () => {
      this.#waiting.shift()
      if (content.length === CONTENT_CHUNK_BYTES) this.#spare.push(content)
      const next = this.#waiting[0]
      if (next !== undefined && this.#failure === null) this.#compressNext(next)
      resolve()
    })
  }

  #store(sealed: Buffer[]): void {
    for (const bytes of sealed) {
      this.sealedBytes += bytes.length
      this.#writing = this.#writing.then(() => this.#writeAll(bytes))
      this.#sealedHash.update(bytes)
      this.#pieces.update(bytes)
    }
  }

  async #writeAll(bytes: Buffer): Promise<void> {
    try {
      for (let at = 0; at < bytes.length && this.#failure === null;)
        at += (await this.#file.write(bytes, at, bytes.length - at)).bytesWritten
    } catch (error) {
      this.#failure ??= { error }
    }
  }

  async *#readAgain(length: number): AsyncGenerator<Buffer> {
    const buffer = Buffer.allocUnsafeSlow(READ_AGAIN_BYTES)
    for (let at = 0; at < length;) {
      const { bytesRead } = await this.#file.read(buffer, 0, Math.min(buffer.length, length - at), at)
      if (bytesRead === 0) return
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }
}

function refuseWrite(error: unknown, path: string): never {
  const code = systemErrorCode(error)
  if (code === "ENOSPC" || code === "EDQUOT")
    throw new GridError("DISK_FULL", `no room to write ${path}: free some, or work in a directory that has it`, { cause: error })
  throw error
}
