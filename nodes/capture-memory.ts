/**
 * What a home remembers of the tree that it published last under a name: how each entry was found, so that the next version reads only what changed, and the
 * files, so that what changed is published as patches. It may be lost or damaged at any time: then more is read, and deltas are larger.
 */
import { constants } from "node:fs"
import { copyFile, mkdir, open, readdir, rename, rm, type FileHandle } from "node:fs/promises"
import { createHash } from "node:crypto"
import { join } from "node:path"
import { Type } from "typebox"
import { Digest, WholeNumber } from "#core/documents.ts"
import { GridError, systemErrorCode } from "#core/errors.ts"
import type { ImageName, Sha256 } from "#core/identifiers.ts"
import { parseJson, reader } from "#core/schema.ts"
import { ContentDigest } from "#image/content-digest.ts"
import type { Entry } from "#image/entry.ts"
import type { EntryState } from "#image/scan-tree.ts"
import { pathIn } from "#image/staged-tree.ts"
import type { Home } from "#member/home.ts"
import { readBounded, temporaryName, writeFileDurably } from "#store/atomic-file.ts"

const readHeader = reader(
  Type.Object(
    {
      format: Type.Literal("imagegrid-reading-1"),
      directory: Type.String({ maxLength: 4096 }),
      indexSha256: Digest,
      entries: WholeNumber,
    },
    { additionalProperties: false },
  ),
  "STATE_DAMAGED",
  "reading of a tree",
)
const STATE_BYTES = 24
const READING_BYTES_MAX = 2 ** 30
/** Smaller files are published whole. */
const CONTENT_BYTES_MIN = 512
const COPIES_AT_ONCE = 4
const READ_BYTES = 1024 * 1024

export class CaptureMemory {
  readonly #directory: string

  private constructor(directory: string) {
    this.#directory = directory
  }

  static of(home: Home, name: ImageName): CaptureMemory {
    return new CaptureMemory(home.path("captures", createHash("sha256").update(name).digest("hex").slice(0, 32)))
  }

  /** Of the entries of that index, in order, as they were found in that directory; null where nothing is known of them. */
  async states(directory: string, indexSha256: Sha256): Promise<EntryState[] | null> {
    try {
      const bytes = await readBounded(this.#readingPath, READING_BYTES_MAX)
      const end = bytes.indexOf(0x0a)
      const header = readHeader(parseJson(bytes.subarray(0, end), 16 * 1024, "STATE_DAMAGED", this.#readingPath))
      const table = bytes.subarray(end + 1)
      if (header.directory !== directory || header.indexSha256 !== indexSha256 || table.length !== header.entries * STATE_BYTES) return null
      return Array.from({ length: header.entries }, (_, number) => {
        const at = number * STATE_BYTES
        return { device: table.readBigUInt64LE(at), inode: table.readBigUInt64LE(at + 8), changedNs: table.readBigInt64LE(at + 16) }
      })
    } catch (error) {
      if (error instanceof GridError || systemErrorCode(error) === "ENOENT") return null
      throw error
    }
  }

  async saveStates(directory: string, indexSha256: Sha256, states: readonly EntryState[]): Promise<void> {
    const header = Buffer.from(`${JSON.stringify({ format: "imagegrid-reading-1", directory, indexSha256, entries: states.length })}\n`)
    const table = Buffer.alloc(states.length * STATE_BYTES)
    for (const [number, { device, inode, changedNs }] of states.entries()) {
      const at = number * STATE_BYTES
      table.writeBigUInt64LE(device, at)
      table.writeBigUInt64LE(inode, at + 8)
      table.writeBigInt64LE(changedNs, at + 16)
    }
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    await writeFileDurably(this.#readingPath, Buffer.concat([header, table]), { mode: 0o600 })
  }

  /** A content that was in the tree then; null where it is not remembered, or as it was. */
  async content(digest: Sha256): Promise<FileHandle | null> {
    let file: FileHandle
    try {
      file = await open(this.#contentPath(digest))
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return null
      throw error
    }
    const found = new ContentDigest()
    const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, (await file.stat()).size + 1))
    for (let at = 0; ;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at)
      if (bytesRead === 0) break
      found.update(buffer.subarray(0, bytesRead))
      at += bytesRead
    }
    if (found.digest() === digest) return file
    await file.close()
    return null
  }

  /** Copies what it lacks of these files, sharing blocks where the file system can, and forgets all others. */
  async rememberContents(directory: string, entries: Iterable<Entry>, signal: AbortSignal): Promise<void> {
    await mkdir(join(this.#directory, "contents"), { recursive: true, mode: 0o700 })
    const held = new Set(await readdir(join(this.#directory, "contents")))
    const wanted = new Map<string, Buffer>()
    for (const entry of entries)
      if (entry.kind === "file" && entry.size >= CONTENT_BYTES_MIN && entry.zeroBlocks === 0)
        wanted.set(entry.sha256, pathIn(directory, entry.path))
    for (const name of held) if (!wanted.has(name)) await rm(join(this.#directory, "contents", name), { force: true })
    const lacked = [...wanted].filter(([digest]) => !held.has(digest))[Symbol.iterator]()
    const copy = async () => {
      for (const [digest, path] of lacked) {
        if (signal.aborted) return
        const to = this.#contentPath(digest)
        const temporary = temporaryName(to)
        try {
          await copyFile(path, temporary, constants.COPYFILE_FICLONE)
          await rename(temporary, to)
        } catch (error) {
          await rm(temporary, { force: true })
          // Without it a delta is larger; without room for it nothing else is to suffer.
          if (systemErrorCode(error) === null) throw error
        }
      }
    }
    await Promise.all(Array.from({ length: COPIES_AT_ONCE }, copy))
  }

  get #readingPath(): string {
    return join(this.#directory, "reading")
  }

  #contentPath(digest: string): string {
    return join(this.#directory, "contents", digest)
  }
}
