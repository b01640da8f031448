/**
 * A server's record of who did what: `audit.jsonl` in its home, append-only, and `audit-1.jsonl`, `audit-2.jsonl` ... that it was continued
 * from. The server and the commands that run beside it append in turns, under a lock of its own.
 *
 * Invariant: an append that resolved is durable, and the file holds whole lines or, after a crash, whole lines and a piece of one that nobody
 * was told of. The next who appends cuts that piece off and says so in the log. Nothing else is ever taken out of it.
 */
import { open, readdir, rename, type FileHandle } from "node:fs/promises"
import { setTimeout } from "node:timers/promises"
import type { Clock } from "#core/clock.ts"
import { GridError, reasonOf, systemErrorCode } from "#core/errors.ts"
import type { Home } from "#member/home.ts"
import { syncDirectory } from "#store/atomic-file.ts"
import { diskFull, isDiskFull } from "#store/disk-full.ts"
import { lockHome, type HomeLock } from "#store/home-lock.ts"
import {
  Chain,
  chainLines,
  entryOf,
  hashOf,
  LINE_BYTES_MAX,
  noLines,
  type AuditEntry,
  type AuditEvent,
  type ChainHead,
} from "./audit-entry.ts"

const CURRENT = "audit.jsonl"
const LOCK = "audit.lock"
const CONTINUED_FORM = /^audit-([1-9][0-9]{0,8})\.jsonl$/
const continuedName = (position: number): string => `audit-${position}.jsonl`

const CONTINUED_ABOVE_BYTES = 64 * 1024 * 1024
const READ_BYTES = 1024 * 1024
/** Another holder keeps the lock for the length of a write and a flush. */
const LOCK_PATIENCE_MS = 10_000
const LOCK_PAUSE_MS = 5
const LINE_FEED = 10

export type AuditLogParts = {
  readonly home: Pick<Home, "directory" | "memberId" | "path">
  readonly clock: Clock
  /** Told once, when the log is first found not to hold. */
  readonly onFault?: (fault: string) => void
}
export type AuditLogOptions = {
  /** A file that has grown so long is put aside, and the chain goes on in a new one. */
  readonly continueAboveBytes?: number
}

/** The first line of the log that does not hold. */
export type AuditFault = { readonly file: string; readonly line: number; readonly detail: string }

export type AuditCheck = {
  readonly entries: number
  readonly head: ChainHead
  /** Null when every line holds. */
  readonly fault: AuditFault | null
}

/** For a message: where it is and what is wrong. */
export function describeFault({ file, line, detail }: AuditFault): string {
  return `${file} line ${line}: ${detail}`
}

type Waiting = { readonly events: readonly AuditEvent[]; readonly resolve: () => void; readonly reject: (reason: unknown) => void }

/** Owns no file between two calls, so it need not be closed. */
export class AuditLog {
  readonly #parts: AuditLogParts
  readonly #continueAboveBytes: number
  #waiting: Waiting[] = []
  #writing = false
  #head: ChainHead | null = null
  /** Cut off from a broken end, and not recorded yet: the disk may have had no room for that. */
  #cutBytes = 0
  #fault: string | null = null

  constructor(parts: AuditLogParts, options: AuditLogOptions = {}) {
    this.#parts = parts
    this.#continueAboveBytes = options.continueAboveBytes ?? CONTINUED_ABOVE_BYTES
  }

  /** Number of the last entry, as it was when this process looked last. */
  get entries(): number {
    return this.#head?.seq ?? 0
  }

  /** What was found not to hold, by `start` or since; null while all does. */
  get fault(): string | null {
    return this.#fault
  }

  /** Mends the end of a log that a crash has cut, then checks all of it. Never throws: what is wrong is told by `fault`, and keeps no server from serving. */
  async start(): Promise<void> {
    try {
      await this.#append([])
      const { fault } = await this.check()
      if (fault !== null) this.#blame(describeFault(fault))
    } catch (error) {
      this.#blame(`it could not be checked at the start: ${reasonOf(error)}`)
    }
  }

  /**
   * Resolves when the events stand in the log and are durable: all of them, in this order, with nothing between. To be called before what they
   * tell of is answered.
   * @throws {GridError} DISK_FULL, STATE_DAMAGED, HOME_IN_USE; the log is as it was then
   */
  append(events: readonly AuditEvent[]): Promise<void> {
    if (events.length === 0) return Promise.resolve()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting.push({ events, resolve, reject })
    if (!this.#writing) void this.#appendWaiting()
    return promise
  }

  /** The last line, durable. @throws {GridError} HOME_IN_USE */
  async head(): Promise<ChainHead> {
    using _ = await this.#lock()
    const known = this.#head
    const { head, file } = await this.#look()
    // Another process may have written it and been killed before its flush.
    if (file !== null && head.hash !== known?.hash) await flush(file)
    return head
  }

  /** Follows the whole chain, as it is at this moment; whoever appends meanwhile is not held up. */
  async check(onEntry: (entry: AuditEntry, hash: string) => void = () => {}): Promise<AuditCheck> {
    const files: OpenedFile[] = []
    {
      using _ = await this.#lock()
      files.push(...(await this.#openAll()))
    }
    return follow(files, onEntry)
  }

  /** What came while a write was under way is written by one write after it. */
  async #appendWaiting(): Promise<void> {
    this.#writing = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0)
      try {
        await this.#append(batch.flatMap(({ events }) => events))
        for (const { resolve } of batch) resolve()
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    this.#writing = false
  }

  async #append(events: readonly AuditEvent[]): Promise<void> {
    const { home, clock } = this.#parts
    using _ = await this.#lock()
    const { head, wholeBytes, tornBytes } = await this.#look()
    this.#cutBytes = Math.max(this.#cutBytes, tornBytes)
    const repaired: AuditEvent = {
      event: "log-repaired",
      actor: { kind: "member", ids: [home.memberId] },
      from: null,
      what: { file: CURRENT, cutBytes: this.#cutBytes },
    }
    const written = chainLines(head, this.#cutBytes > 0 ? [repaired, ...events] : events, clock.nowMs())
    if (written.bytes.length === 0) return
    await this.#write(written.bytes, wholeBytes)
    this.#cutBytes = 0
    this.#head = written.head
  }

  /** Puts lines behind the first `wholeBytes` of the file, and cuts off whatever stood there. */
  async #write(lines: Buffer, wholeBytes: number): Promise<void> {
    const { home } = this.#parts
    const path = home.path(CURRENT)
    const full = wholeBytes >= this.#continueAboveBytes
    if (full) await rename(path, home.path(continuedName(Math.max(0, ...(await this.#continued())) + 1)))
    const startBytes = full ? 0 : wholeBytes
    const file = await open(path, "a", 0o600)
    try {
      await file.truncate(startBytes)
      await file.appendFile(lines)
      await file.datasync()
    } catch (error) {
      // Where this fails too, what is left is cut off by the next who appends.
      await file.truncate(startBytes).catch(() => {})
      if (isDiskFull(error)) throw await diskFull(home.directory, lines.length, error)
      throw new GridError("STATE_DAMAGED", `${path} can't be written (${reasonOf(error)}); check the disk`, { cause: error })
    } finally {
      await file.close()
    }
    if (startBytes === 0) await syncDirectory(home.directory)
  }

  /** How the log ends. The lock is held. */
  async #look(): Promise<LogEnd> {
    const { home } = this.#parts
    const current = await endOf(home.path(CURRENT))
    let [last, file] = [current?.last ?? null, home.path(CURRENT)]
    for (const position of (await this.#continued()).toReversed()) {
      if (last !== null) break
      file = home.path(continuedName(position))
      last = (await endOf(file))?.last ?? null
    }
    const end = { file: last === null ? null : file, wholeBytes: current?.wholeBytes ?? 0, tornBytes: current?.tornBytes ?? 0 }
    const entry = last === null ? null : entryOf(last)
    if (last !== null && entry === null) {
      // It still has its place in the chain, and the lines before it tell which.
      this.#blame(`the last line of ${file} is no entry`)
      this.#head = (await follow(await this.#openAll(), () => {})).head
    } else {
      const head = last === null || entry === null ? noLines : { seq: entry.seq, hash: hashOf(last) }
      const known = this.#head
      if (known !== null && (head.seq < known.seq || (head.seq === known.seq && head.hash !== known.hash)))
        this.#blame(
          `entry ${known.seq} was the last, and now another entry ${head.seq} is: the log was cut or replaced while it was in use`,
        )
      this.#head = head
    }
    return { head: this.#head, ...end }
  }

  #blame(fault: string): void {
    if (this.#fault !== null) return
    this.#fault = fault
    this.#parts.onFault?.(fault)
  }

  /** All files of the log, the oldest first; whoever asks closes them. The lock is held. */
  async #openAll(): Promise<OpenedFile[]> {
    const opened: OpenedFile[] = []
    for (const name of [...(await this.#continued()).map(continuedName), CURRENT])
      try {
        const file = await open(this.#parts.home.path(name), "r")
        opened.push({ name, file, bytes: (await file.stat()).size })
      } catch (error) {
        if (systemErrorCode(error) !== "ENOENT") throw error
      }
    return opened
  }

  /** Numbers of the files that were put aside, in order. */
  async #continued(): Promise<number[]> {
    const names = await readdir(this.#parts.home.directory)
    return names
      .map((name) => Number(CONTINUED_FORM.exec(name)?.[1] ?? 0))
      .filter((position) => position > 0)
      .sort((a, b) => a - b)
  }

  async #lock(): Promise<HomeLock> {
    const untilMs = performance.now() + LOCK_PATIENCE_MS
    for (;;)
      try {
        return lockHome(this.#parts.home.directory, LOCK)
      } catch (error) {
        if (!(error instanceof GridError) || error.code !== "HOME_IN_USE" || performance.now() >= untilMs) throw error
        await setTimeout(LOCK_PAUSE_MS * (1 + Math.random()))
      }
  }
}

type OpenedFile = { readonly name: string; readonly file: FileHandle; readonly bytes: number }

type LogEnd = {
  readonly head: ChainHead
  /** The file that the last line is in. */
  readonly file: string | null
  /** Of the current file: its whole lines, and what follows them. */
  readonly wholeBytes: number
  readonly tornBytes: number
}

/** Closes the files. */
async function follow(files: readonly OpenedFile[], onEntry: (entry: AuditEntry, hash: string) => void): Promise<AuditCheck> {
  await using closing = new AsyncDisposableStack()
  for (const { file } of files) closing.use(file)
  const chain = new Chain()
  let fault: AuditFault | null = null
  for (const { name, file, bytes } of files) {
    let line = 0
    for await (const { text, ended } of linesOf(file, bytes)) {
      line += 1
      if (!ended) {
        fault ??= { file: name, line, detail: "it has no end: a crash cut it off, and the next who appends removes it and records that" }
        break
      }
      const taken = chain.take(text)
      if (taken.fault !== null) fault ??= { file: name, line, detail: taken.fault }
      if (taken.entry !== null) onEntry(taken.entry, chain.head.hash)
    }
  }
  return { entries: chain.head.seq, head: chain.head, fault }
}

/** The lines of the first `bytes` of a file. Of one that is too long to be an entry, so much is given that it can be seen to be too long. */
async function* linesOf(file: FileHandle, bytes: number): AsyncGenerator<{ readonly text: Buffer; readonly ended: boolean }> {
  const chunk = Buffer.allocUnsafe(READ_BYTES)
  let begun: Buffer = Buffer.alloc(0)
  for (let at = 0; at < bytes;) {
    const { bytesRead } = await file.read(chunk, 0, Math.min(chunk.length, bytes - at), at)
    if (bytesRead === 0) break
    at += bytesRead
    let start = 0
    for (let end = chunk.indexOf(LINE_FEED); end >= 0 && end < bytesRead; end = chunk.indexOf(LINE_FEED, start)) {
      yield { text: withinBounds(begun, chunk.subarray(start, end)), ended: true }
      begun = Buffer.alloc(0)
      start = end + 1
    }
    begun = withinBounds(begun, chunk.subarray(start, bytesRead))
  }
  if (begun.length > 0) yield { text: begun, ended: false }
}

function withinBounds(begun: Buffer, more: Buffer): Buffer {
  return Buffer.concat([begun, more.subarray(0, LINE_BYTES_MAX + 1 - begun.length)])
}

type FileEnd = { readonly wholeBytes: number; readonly tornBytes: number; readonly last: Buffer | null }

/** The last whole line of a file, and how much of the file is whole lines; null where there is no file. */
async function endOf(path: string): Promise<FileEnd | null> {
  let file: FileHandle
  try {
    file = await open(path, "r")
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null
    throw error
  }
  try {
    const { size } = await file.stat()
    let wholeBytes = size
    const window = Buffer.allocUnsafe(LINE_BYTES_MAX + 2)
    const readBefore = async (end: number): Promise<Buffer> => {
      const length = Math.min(window.length, end)
      const { bytesRead } = await file.read(window, 0, length, end - length)
      if (bytesRead < length) throw new GridError("STATE_DAMAGED", `${path} gives ${bytesRead} of ${length} bytes; check the disk`)
      return window.subarray(0, length)
    }
    for (let before = await readBefore(wholeBytes); before.length > 0; before = await readBefore(wholeBytes)) {
      const lineEnd = before.lastIndexOf(LINE_FEED)
      wholeBytes -= before.length - (lineEnd + 1)
      if (lineEnd >= 0) break
    }
    if (wholeBytes === 0) return { wholeBytes, tornBytes: size, last: null }
    const lines = await readBefore(wholeBytes)
    const text = lines.subarray(0, -1)
    return { wholeBytes, tornBytes: size - wholeBytes, last: Buffer.from(text.subarray(text.lastIndexOf(LINE_FEED) + 1)) }
  } finally {
    await file.close()
  }
}

async function flush(path: string): Promise<void> {
  const file = await open(path, "r")
  try {
    await file.datasync()
  } finally {
    await file.close()
  }
}
