/**
 * The layers that a member keeps, each in a directory named by its infohash. The LayerStore owns the piece stores that it gives out: one for
 * each infohash, shared by all who ask, closed with the LayerStore. A piece store that a user closed is opened anew for the next who asks.
 * Several processes may have one directory open, as long as no two of them write pieces of the same layer.
 */
import { constants } from "node:fs"
import { copyFile, lstat, open, readdir, rename, rm, unlink } from "node:fs/promises"
import { dirname, join } from "node:path"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { infohash as checkedInfohash, type Infohash } from "#core/identifiers.ts"
import type { PieceStore } from "#core/piece-store.ts"
import { INFO_BYTES_MAX, parseTorrent, type Torrent } from "#core/torrent.ts"
import { deadTemporaries, readBounded, syncDirectory, temporaryName, writeFileDurably } from "./atomic-file.ts"
import { diskFull, isDiskFull } from "./disk-full.ts"
import { FilePieceStore, HELD_FILE, INFO_FILE, LAYER_FILE, isWholeOnDisk, makeDirectoryDurably, recheckPieces } from "./file-piece-store.ts"
import { HandlePool } from "./handle-pool.ts"
import { encodeHeld } from "./held-record.ts"
import { PieceSet } from "./piece-set.ts"

/** Open files kept for the next read; those in use at one moment may be more. */
const IDLE_FILES_MAX = 128
const INFOHASH = /^[0-9a-f]{40}$/

/** What a download needs of where its layers go: to disk, or through a window in memory (window-layer-store.ts). */
export type LayerPlace = {
  torrent(infohash: Infohash): Promise<Torrent | null>
  pieces(torrent: Torrent): Promise<PieceStore>
  infohashes(): Promise<Infohash[]>
  remove(infohash: Infohash): Promise<void>
  close(): Promise<void>
}

export class LayerStore implements AsyncDisposable, LayerPlace {
  readonly directory: string
  readonly #handles = new HandlePool({ idleMax: IDLE_FILES_MAX })
  /** The last opening of each infohash's piece store; each begins when the one before has settled. */
  readonly #stores = new Map<Infohash, Promise<FilePieceStore>>()
  #closed = false

  private constructor(directory: string) {
    this.directory = directory
  }

  /** Makes the directory if need be, and clears away what dead processes left half done. */
  static async open(directory: string): Promise<LayerStore> {
    await makeDirectoryDurably(directory)
    for (const leftover of await deadTemporaries(directory)) await rm(leftover, { recursive: true, force: true })
    return new LayerStore(directory)
  }

  /** Infohashes that have a directory here, whole or not. Answers after `close` too; empty when the directory is gone. */
  async infohashes(): Promise<Infohash[]> {
    try {
      const entries = await readdir(this.directory, { withFileTypes: true })
      return entries
        .filter((entry) => entry.isDirectory() && INFOHASH.test(entry.name))
        .map((entry) => checkedInfohash(entry.name))
        .sort()
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return []
      throw error
    }
  }

  /** The metadata kept for a layer; null when there is none, or what stands there is not this torrent's. */
  async torrent(infohash: Infohash): Promise<Torrent | null> {
    const shared = await this.#stores.get(infohash)?.catch(() => null)
    if (shared !== undefined && shared !== null && !shared.closed) return shared.torrent
    try {
      const torrent = parseTorrent(await readBounded(this.#path(infohash, INFO_FILE), INFO_BYTES_MAX, { symlinks: "refuse" }))
      return torrent.infohash === infohash ? torrent : null
    } catch (error) {
      if (error instanceof GridError || ["ENOENT", "ENOTDIR", "ELOOP"].includes(systemErrorCode(error) ?? "")) return null
      throw error
    }
  }

  /**
   * The layer's piece store, opened with what an earlier process made durable. Do not close it but to let go of the layer for all.
   * @throws {GridError} STATE_DAMAGED, DISK_FULL
   */
  async pieces(torrent: Torrent): Promise<FilePieceStore> {
    this.#requireOpen()
    const next = this.#next(torrent)
    this.#stores.set(torrent.infohash, next)
    return next
  }

  /**
   * Takes over a file that is the whole layer: verified and durable already, which the caller vouches for. It is moved when it lies on the same
   * file system, else copied, and is gone from `sealedPath` after. Doing it again is harmless. After a crash the layer is either whole or missing.
   * @throws {GridError} DISK_FULL
   * @throws {RangeError} when the file is not as long as the torrent's content
   */
  async adopt(torrent: Torrent, sealedPath: string): Promise<void> {
    this.#requireOpen()
    await this.#letGo(torrent.infohash)
    if (await isWholeOnDisk(this.#path(torrent.infohash), torrent)) {
      await rm(sealedPath, { force: true })
      return
    }
    const { size } = await lstat(sealedPath)
    if (size !== torrent.contentBytes) throw new RangeError(`${sealedPath} has ${size} bytes, the torrent ${torrent.contentBytes}`)
    const directory = this.#path(torrent.infohash)
    await makeDirectoryDurably(directory)
    await writeFileDurably(join(directory, INFO_FILE), torrent.infoBytes)
    await moveDurably(sealedPath, join(directory, LAYER_FILE))
    await writeFileDurably(join(directory, HELD_FILE), encodeHeld(torrent.infohash, PieceSet.full(torrent.pieceCount)))
  }

  /** Whether all pieces are held. Looks at the disk where no piece store is open: another process may have adopted the layer. */
  async isWhole(infohash: Infohash): Promise<boolean> {
    const shared = await this.#stores.get(infohash)?.catch(() => null)
    if (shared !== undefined && shared !== null && !shared.closed) return shared.complete
    const torrent = await this.torrent(infohash)
    return torrent !== null && isWholeOnDisk(this.#path(infohash), torrent)
  }

  /** Compares every piece of a layer with its digest and forgets those that differ, so that they are fetched again. Returns how many. Its piece store is closed. */
  async recheck(infohash: Infohash): Promise<number> {
    this.#requireOpen()
    const torrent = await this.torrent(infohash)
    await this.#letGo(infohash)
    return torrent === null ? 0 : recheckPieces(this.#path(infohash), torrent)
  }

  /** Forgets a layer and its bytes; its piece store is closed. The layer vanishes at once, its files after. */
  async remove(infohash: Infohash): Promise<void> {
    this.#requireOpen()
    await this.#letGo(infohash)
    const doomed = temporaryName(this.#path(infohash))
    try {
      await rename(this.#path(infohash), doomed)
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return
      throw error
    }
    await syncDirectory(this.directory)
    await rm(doomed, { recursive: true, force: true })
  }

  /** Closes every piece store. The first failure to make pieces durable is thrown after all are closed. */
  async close(): Promise<void> {
    this.#closed = true
    const stores = [...this.#stores.values()]
    this.#stores.clear()
    const closings = await Promise.allSettled(
      stores.map(async (opening) => {
        const store = await opening.catch(() => null)
        await store?.close()
      }),
    )
    for (const closing of closings) if (closing.status === "rejected") throw closing.reason
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #next(torrent: Torrent): Promise<FilePieceStore> {
    const shared = await this.#stores.get(torrent.infohash)?.catch(() => null)
    if (shared !== undefined && shared !== null) {
      if (!shared.closed) return shared
      // Whoever closed it hears of its failure; what it made durable is on the disk.
      await shared.close().catch(() => {})
    }
    return FilePieceStore.open(this.#path(torrent.infohash), torrent, { handles: this.#handles })
  }

  async #letGo(infohash: Infohash): Promise<void> {
    const opening = this.#stores.get(infohash)
    this.#stores.delete(infohash)
    const shared = await opening?.catch(() => null)
    await shared?.close().catch(() => {})
  }

  #path(infohash: Infohash, ...parts: readonly string[]): string {
    return join(this.directory, infohash, ...parts)
  }

  #requireOpen(): void {
    if (this.#closed) throw new TypeError(`the layer store of ${this.directory} is closed`)
  }
}

/** Renames a durable file, or copies it where it lies on another file system; `from` is gone when `to` is durable. */
async function moveDurably(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
    await syncDirectory(dirname(to))
    return
  } catch (error) {
    if (systemErrorCode(error) !== "EXDEV") throw error
  }
  const copy = temporaryName(to)
  try {
    await copyFile(from, copy, constants.COPYFILE_EXCL)
    const file = await open(copy, "r+")
    try {
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(copy, to)
  } catch (error) {
    await rm(copy, { force: true })
    throw isDiskFull(error) ? await diskFull(dirname(to), (await lstat(from)).size, error) : error
  }
  await syncDirectory(dirname(to))
  await unlink(from)
}
