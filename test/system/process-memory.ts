/** Looks for byte strings in all that another process has in memory, and in all files below a directory. Linux alone. */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs"
import { join } from "node:path"
import { systemErrorCode } from "../../core/errors.ts"

/** What is looked for, by what a person calls it. */
export type Needles = ReadonlyMap<string, Buffer>

const CHUNK_BYTES = 16 * 1024 * 1024
const PAGE_BYTES = 4096

/** Why the memory of this process can't be read here; null when it can. */
export function memoryUnreadable(pid: number): string | null {
  try {
    const [first] = readableRanges(pid)
    if (first === undefined) return `/proc/${pid}/maps shows no readable memory`
    const memory = openSync(`/proc/${pid}/mem`, "r")
    try {
      readSync(memory, Buffer.alloc(16), 0, 16, first.start)
    } finally {
      closeSync(memory)
    }
    return null
  } catch (error) {
    return `/proc/${pid}/mem can't be read here (${systemErrorCode(error) ?? String(error)})`
  }
}

/** Those of the needles that are somewhere in the memory of a process, and how much of it was looked at. */
export function foundInMemory(pid: number, needles: Needles): { readonly found: string[]; readonly searchedBytes: number } {
  const search = new Search(needles)
  const memory = openSync(`/proc/${pid}/mem`, "r")
  try {
    for (const { start, end } of readableRanges(pid)) {
      search.begin()
      for (let at = start; at < end;) {
        const bytes = search.room(Math.min(CHUNK_BYTES, end - at))
        const length = readOrSkip(memory, bytes, at)
        if (length > 0) search.look(length)
        else search.begin()
        at += length > 0 ? length : PAGE_BYTES
      }
    }
  } finally {
    closeSync(memory)
  }
  return search.result()
}

/** Those of the needles that are in a file below the directory, in its name or a link's, and how much was looked at. */
export function foundOnDisk(directory: string, needles: Needles): { readonly found: string[]; readonly searchedBytes: number } {
  const search = new Search(needles)
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    search.lookAt(Buffer.from(entry.name))
    if (entry.isFile()) search.lookAt(readFileSync(join(entry.parentPath, entry.name)))
  }
  return search.result()
}

/** A needle may lie across two readings: the end of the one before is kept in front of each. */
class Search {
  readonly #needles: Needles
  readonly #overlapBytes: number
  readonly #buffer: Buffer
  readonly #found = new Set<string>()
  #keptBytes = 0
  #searchedBytes = 0

  constructor(needles: Needles) {
    this.#needles = needles
    this.#overlapBytes = Math.max(...[...needles.values()].map((needle) => needle.length)) - 1
    this.#buffer = Buffer.alloc(this.#overlapBytes + CHUNK_BYTES)
  }

  /** What follows does not belong to what came before. */
  begin(): void {
    this.#keptBytes = 0
  }

  /** Where the next bytes are to be put before `look`. */
  room(byteCount: number): Buffer {
    return this.#buffer.subarray(this.#keptBytes, this.#keptBytes + byteCount)
  }

  look(byteCount: number): void {
    const bytes = this.#buffer.subarray(0, this.#keptBytes + byteCount)
    this.#searchedBytes += byteCount
    this.#search(bytes)
    this.#keptBytes = Math.min(this.#overlapBytes, bytes.length)
    bytes.copyWithin(0, bytes.length - this.#keptBytes)
  }

  lookAt(bytes: Buffer): void {
    this.#searchedBytes += bytes.length
    this.#search(bytes)
  }

  result(): { readonly found: string[]; readonly searchedBytes: number } {
    return { found: [...this.#found].sort(), searchedBytes: this.#searchedBytes }
  }

  #search(bytes: Buffer): void {
    for (const [name, needle] of this.#needles) if (!this.#found.has(name) && bytes.includes(needle)) this.#found.add(name)
  }
}

type Range = { readonly start: number; readonly end: number }

/** All mappings that may be read, but those that the kernel makes up. */
function readableRanges(pid: number): Range[] {
  return readFileSync(`/proc/${pid}/maps`, "latin1")
    .split("\n")
    .flatMap((line) => {
      const mapping = /^([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+ *(.*)$/.exec(line)
      if (mapping === null || /^\[(?:vvar|vvar_vclock|vdso|vsyscall)\]$/.test(mapping[3] ?? "")) return []
      return [{ start: Number.parseInt(mapping[1] ?? "", 16), end: Number.parseInt(mapping[2] ?? "", 16) }]
    })
}

/** 0 where nothing can be read: the mapping is gone, or it is of a device or past the end of its file. */
function readOrSkip(memory: number, into: Buffer, at: number): number {
  try {
    return readSync(memory, into, 0, into.length, at)
  } catch (error) {
    if (systemErrorCode(error) === "EIO" || systemErrorCode(error) === "EFAULT") return 0
    throw error
  }
}
