/**
 * A layer's pieces in one directory: `layer.age` (the bytes, sparse until whole), `info` (the torrent's metadata) and `held` (which pieces are
 * durable). `held` only ever names pieces whose bytes were made durable before it was written, so it is trusted at the next start without
 * hashing; when it and the file disagree, the pieces in doubt are missing.
 */
import { constants, readSync, writeSync } from "node:fs"
import { lstat, mkdir, open, statfs, unlink, type FileHandle } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { GridError, systemErrorCode } from "#core/errors.ts"
import type { PieceStore } from "#core/piece-store.ts"
import { isPieceGood, pieceBytesAt, type Torrent } from "#core/torrent.ts"
import { deadTemporaries, readBounded, syncDirectory, writeFileDurably } from "./atomic-file.ts"
import { diskFull, isDiskFull } from "./disk-full.ts"
import { HandlePool, type Lease } from "./handle-pool.ts"
import { decodeHeld, encodeHeld, heldRecordBytes } from "./held-record.ts"
import { isInMemory } from "./in-memory.ts"
import { PieceSet, requireHeldRange, requirePiece } from "./piece-set.ts"

export const LAYER_FILE = "layer.age"
export const INFO_FILE = "info"
export const HELD_FILE = "held"

/** A crash loses at most what came in this time, or these bytes, and what was being flushed. */
const FLUSH_AFTER_MS = 500
const FLUSH_AT_BYTES = 32 * 1024 * 1024

/** On a tmpfs no more than this is copied at once: to hand it to another thread would cost several times as much. */
const AT_ONCE_BYTES_MAX = 256 * 1024

const { O_RDONLY, O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants

export type FilePieceStoreOptions = {
  /** Shared by stores that are many; without it this store keeps its own one file open. */
  readonly handles?: HandlePool
}

export class FilePieceStore implements PieceStore {
  readonly pieceCount: number
  readonly contentBytes: number
  readonly pieceBytes: number
  /** The layer's file. Its bytes are the sealed layer once `complete`. */
  readonly path: string
  readonly torrent: Torrent
  readonly #directory: string
  readonly #handles: HandlePool
  readonly #atOnceBytesMax: number
  /** Readable in this process. */
  readonly #held: PieceSet
  /** Durable, though perhaps not recorded yet. */
  readonly #durable: PieceSet
  #unsynced: number[] = []
  #unsyncedBytes = 0
  #unrecorded = false
  /** Held from the first write of a batch until it is durable: only this descriptor is sure to hear of a write that failed late. */
  #writingLease: Promise<Lease> | null = null
  readonly #writes = new Set<Promise<void>>()
  #timer: NodeJS.Timeout | null = null
  #lastFlush: Promise<void> = Promise.resolve()
  #nextFlush: Promise<void> | null = null
  #failure: GridError | null = null
  #closing: Promise<void> | null = null

  private constructor(directory: string, torrent: Torrent, held: PieceSet, handles: HandlePool, inMemory: boolean) {
    this.pieceCount = torrent.pieceCount
    this.contentBytes = torrent.contentBytes
    this.pieceBytes = torrent.pieceBytes
    this.path = join(directory, LAYER_FILE)
    this.#directory = directory
    this.torrent = torrent
    this.#handles = handles
    this.#atOnceBytesMax = inMemory ? AT_ONCE_BYTES_MAX : 0
    this.#held = held
    this.#durable = PieceSet.fromBytes(held.toBytes(), torrent.pieceCount) ?? new PieceSet(torrent.pieceCount)
  }

  /**
   * Opens the store in `directory`, making it if need be, with the pieces that an earlier process made durable.
   * @throws {GridError} DISK_FULL, STATE_DAMAGED when something that is no file stands in a file's place
   */
  static async open(directory: string, torrent: Torrent, options: FilePieceStoreOptions = {}): Promise<FilePieceStore> {
    await makeDirectoryDurably(directory)
    for (const leftover of await deadTemporaries(directory)) await unlink(leftover)
    const stored = await readStored(join(directory, INFO_FILE), torrent.infoBytes.length)
    if (stored === null || !stored.equals(torrent.infoBytes)) await writeFileDurably(join(directory, INFO_FILE), torrent.infoBytes)
    const { held, recorded } = await readHeld(directory, torrent)
    // A record that claims too much must go before the first write: a later piece would lengthen the file and hide the lie.
    if (recorded !== held.count) await writeFileDurably(join(directory, HELD_FILE), encodeHeld(torrent.infohash, held))
    return new FilePieceStore(
      directory,
      torrent,
      held,
      options.handles ?? new HandlePool({ idleMax: 1 }),
      isInMemory(await statfs(directory)),
    )
  }

  get heldCount(): number {
    return this.#held.count
  }

  get complete(): boolean {
    return this.#held.complete
  }

  /** True from the moment that `close` is called. */
  get closed(): boolean {
    return this.#closing !== null
  }

  has(piece: number): boolean {
    return this.#held.has(piece)
  }

  async write(piece: number, bytes: Uint8Array): Promise<void> {
    this.#requireOpen()
    requirePiece(this, piece, bytes)
    if (this.#failure !== null) throw this.#failure
    if (this.#held.has(piece)) return
    const write = this.#writePiece(piece, bytes)
    this.#writes.add(write)
    try {
      await write
    } finally {
      this.#writes.delete(write)
      this.#endBatchIfClean()
    }
  }

  async read(offset: number, length: number, into: Uint8Array): Promise<void> {
    this.#requireOpen()
    requireHeldRange(this, this.#held, offset, length, into)
    if (length === 0) return
    const lease = await this.#lease()
    try {
      if (length <= this.#atOnceBytesMax) readAtOnce(lease.file, into, length, offset)
      else await readFully(lease.file, into, length, offset)
    } catch (error) {
      throw this.#damaged("can't be read", error)
    } finally {
      lease.release()
    }
  }

  async sync(): Promise<void> {
    this.#requireOpen()
    await this.#flush()
  }

  /** Waits for writes under way, syncs and releases the file. Calling it again gives the same promise. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#writes)
    try {
      await this.#flush()
    } finally {
      if (this.#timer !== null) clearTimeout(this.#timer)
      this.#timer = null
      await this.#endBatch()
      await this.#handles.drop(this.path)
    }
  }

  async #writePiece(piece: number, bytes: Uint8Array): Promise<void> {
    try {
      this.#writingLease ??= this.#lease()
      const { file } = await this.#writingLease
      if (bytes.length <= this.#atOnceBytesMax) writeAtOnce(file, bytes, piece * this.pieceBytes)
      else await writeFully(file, bytes, piece * this.pieceBytes)
    } catch (error) {
      if (isDiskFull(error)) throw await diskFull(this.#directory, this.#missingBytes(), error)
      throw this.#damaged("can't be written", error)
    }
    if (!this.#held.add(piece)) return
    this.#unsynced.push(piece)
    this.#unsyncedBytes += bytes.length
    if (this.#unsyncedBytes >= FLUSH_AT_BYTES) this.#flushBehind()
    else this.#timer ??= setTimeout(() => this.#flushBehind(), FLUSH_AFTER_MS)
  }

  /** A failure shows at the next `sync`, `close` or `write`; a record that found no room is tried again. */
  #flushBehind(): void {
    this.#flush().catch(() => {
      if (this.#failure === null && this.#closing === null) this.#timer ??= setTimeout(() => this.#flushBehind(), FLUSH_AFTER_MS)
    })
  }

  /** Flushes run one at a time; all who ask while one runs share the next. */
  #flush(): Promise<void> {
    if (this.#nextFlush === null) {
      const flush = this.#lastFlush.then(() => {
        this.#nextFlush = null
        return this.#flushNow()
      })
      this.#nextFlush = flush
      this.#lastFlush = flush.catch(() => {})
    }
    return this.#nextFlush
  }

  async #flushNow(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    if (this.#failure !== null) throw this.#failure
    const batch = this.#unsynced
    this.#unsynced = []
    this.#unsyncedBytes = 0
    if (batch.length > 0) {
      await this.#makeDurable()
      for (const piece of batch) this.#durable.add(piece)
      this.#unrecorded = true
    }
    if (this.#unrecorded) {
      await writeFileDurably(join(this.#directory, HELD_FILE), encodeHeld(this.torrent.infohash, this.#durable))
      this.#unrecorded = false
    }
    this.#endBatchIfClean()
  }

  async #makeDurable(): Promise<void> {
    try {
      const lease = await this.#writingLease
      await lease?.file.datasync()
    } catch (error) {
      // The kernel may have dropped what it could not write, and will not say which: nothing of this batch is ever recorded.
      this.#failure = isDiskFull(error)
        ? await diskFull(this.#directory, this.#missingBytes(), error)
        : this.#damaged("did not take what was written", error)
      throw this.#failure
    }
  }

  #endBatchIfClean(): void {
    if (this.#unsynced.length === 0 && this.#writes.size === 0) void this.#endBatch()
  }

  async #endBatch(): Promise<void> {
    const leasing = this.#writingLease
    this.#writingLease = null
    if (leasing === null) return
    try {
      const lease = await leasing
      lease.release()
    } catch {
      // It never opened; whoever waited for it was told.
    }
  }

  #lease(): Promise<Lease> {
    const access = this.#durable.complete ? O_RDONLY : O_RDWR | O_CREAT
    return this.#handles.lease(this.path, access | O_NOFOLLOW | O_NONBLOCK, 0o600)
  }

  #missingBytes(): number {
    let missing = 0
    for (let piece = 0; piece < this.pieceCount; piece++) if (!this.#held.has(piece)) missing += pieceBytesAt(this, piece)
    return missing
  }

  #damaged(what: string, cause: unknown): GridError {
    const reason = systemErrorCode(cause) ?? (cause instanceof Error ? cause.message : "unknown")
    return new GridError("STATE_DAMAGED", `${this.path} ${what} (${reason}); check the disk, or remove the directory to fetch it again`, {
      cause,
    })
  }

  #requireOpen(): void {
    if (this.#closing !== null) throw new TypeError(`the piece store of ${this.path} is closed`)
  }
}

/**
 * Whether `directory` holds the whole layer by its own record; does not touch it.
 * Never throws for what it finds there.
 */
export async function isWholeOnDisk(directory: string, torrent: Torrent): Promise<boolean> {
  try {
    return (await durablePieces(directory, torrent)).complete
  } catch {
    return false
  }
}

/**
 * Reads each piece that the record in `directory` names and compares it with its digest; those that differ or can't be read are struck off the record, durably. Returns how
 * many. No piece store may be open there.
 */
export async function recheckPieces(directory: string, torrent: Torrent): Promise<number> {
  const { held, recorded } = await readHeld(directory, torrent)
  const good = new PieceSet(torrent.pieceCount)
  if (held.count > 0) {
    const file = await open(join(directory, LAYER_FILE), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    try {
      const buffer = Buffer.allocUnsafe(torrent.pieceBytes)
      for (let piece = 0; piece < torrent.pieceCount; piece += 1) {
        const bytes = buffer.subarray(0, pieceBytesAt(torrent, piece))
        if (held.has(piece) && (await isReadWhole(file, bytes, piece * torrent.pieceBytes)) && isPieceGood(torrent, piece, bytes))
          good.add(piece)
      }
    } finally {
      await file.close()
    }
  }
  if (good.count < recorded) await writeFileDurably(join(directory, HELD_FILE), encodeHeld(torrent.infohash, good))
  return recorded - good.count
}

/** False where the disk does not give them. */
async function isReadWhole(file: FileHandle, into: Uint8Array, offset: number): Promise<boolean> {
  try {
    await readFully(file, into, into.length, offset)
    return true
  } catch {
    return false
  }
}

/** The pieces that are durable in `directory`, as the next start will find them; does not touch it. @throws {GridError} STATE_DAMAGED */
export async function durablePieces(directory: string, torrent: Torrent): Promise<PieceSet> {
  return (await readHeld(directory, torrent)).held
}

/** Makes a directory and its name durable. */
export async function makeDirectoryDurably(directory: string): Promise<void> {
  const path = resolve(directory)
  const made = await mkdir(path, { recursive: true, mode: 0o700 })
  if (made === undefined) return
  // `made` is the first directory that was missing: each from there down has a new name in its parent.
  for (let named = path; named.length >= made.length; named = dirname(named)) await syncDirectory(dirname(named))
}

/** `recorded` is how many pieces the record claims; `held`, those of them that the file has room for. */
async function readHeld(directory: string, torrent: Torrent): Promise<{ readonly held: PieceSet; readonly recorded: number }> {
  const bytes = await readStored(join(directory, HELD_FILE), heldRecordBytes(torrent.pieceCount))
  const recorded = bytes === null ? null : decodeHeld(bytes, torrent.infohash, torrent.pieceCount)
  const fileBytes = await layerFileBytes(join(directory, LAYER_FILE))
  const held = new PieceSet(torrent.pieceCount)
  if (recorded !== null)
    for (let piece = 0; piece < torrent.pieceCount; piece++)
      if (recorded.has(piece) && piece * torrent.pieceBytes + pieceBytesAt(torrent, piece) <= fileBytes) held.add(piece)
  return { held, recorded: recorded?.count ?? 0 }
}

/** @throws {GridError} STATE_DAMAGED when it is no regular file */
async function layerFileBytes(path: string): Promise<number> {
  try {
    const status = await lstat(path)
    if (!status.isFile()) throw new GridError("STATE_DAMAGED", `${path} is not a regular file; remove it`)
    return status.size
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return 0
    throw error
  }
}

/** Null when it is absent or can't be what was written there. @throws {GridError} STATE_DAMAGED when it is no regular file */
async function readStored(path: string, expectedBytes: number): Promise<Buffer | null> {
  try {
    const status = await lstat(path)
    if (status.isFile() && status.size !== expectedBytes) return null
    return await readBounded(path, expectedBytes, { symlinks: "refuse" })
  } catch (error) {
    const code = systemErrorCode(error)
    if (code === "ENOENT") return null
    if (code === "ELOOP") throw new GridError("STATE_DAMAGED", `${path} is a symbolic link; remove it`, { cause: error })
    throw error
  }
}

async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}

function writeAtOnce({ fd }: FileHandle, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done, bytes.length - done, position + done)
}

async function readFully(file: FileHandle, into: Uint8Array, length: number, position: number): Promise<void> {
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(into, done, length - done, position + done)
    requireProgress(bytesRead, position + done)
    done += bytesRead
  }
}

function readAtOnce({ fd }: FileHandle, into: Uint8Array, length: number, position: number): void {
  for (let done = 0; done < length;) {
    const bytesRead = readSync(fd, into, done, length - done, position + done)
    requireProgress(bytesRead, position + done)
    done += bytesRead
  }
}

function requireProgress(bytesRead: number, at: number): void {
  if (bytesRead === 0) throw new Error(`it ends at ${at}, before what it held`)
}
