/**
 * Reads a tree as `captureTree` does, but of what did not change since an earlier reading only its state is looked at: the device, the inode and the time
 * of its last change (ctime), which no program can set, tell a name and everything about it that an image has.
 */
import { lstatSync, readdirSync, type BigIntStats } from "node:fs"
import { setImmediate as nextTurn } from "node:timers/promises"
import { bytesOf, byteString, type ByteString } from "./byte-string.ts"
import { captureTree } from "./capture.ts"
import { comparePaths, type Entry } from "./entry.ts"
import { WORK_DIRECTORY } from "./target.ts"
import { parentOf } from "./update-plan.ts"

const SLICE_MS = 10
/** What changed so shortly before a reading could change again within the same tick of the clock: it is read the next time. */
const RACY_NS = 2_000_000_000n

/** How an entry was found; all zeros where that says nothing. */
export type EntryState = { readonly device: bigint; readonly inode: bigint; readonly changedNs: bigint }
const UNKNOWN: EntryState = { device: 0n, inode: 0n, changedNs: 0n }

/** An earlier reading: its entries in order, and the state of each. */
export type Reading = { readonly entries: Iterable<Entry>; readonly states: readonly EntryState[] }

export type TreeScan = {
  /** In order. */
  readonly entries: readonly Entry[]
  readonly states: readonly EntryState[]
  readonly socketCount: number
  /** Files that were read, and their bytes. */
  readonly readFiles: number
  readonly readBytes: number
}

type Found = { readonly path: ByteString; readonly status: BigIntStats; readonly firstLink: ByteString | null }

/**
 * Without an earlier reading everything is read.
 * @throws {GridError} SOURCE_MISSING, TOOL_MISSING, CAPTURE_FAILED
 * @throws what `signal` gives as its reason
 */
export async function scanTree(parts: {
  readonly directory: string
  readonly earlier: Reading | null
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: { readonly fileBytes: number }) => void) | undefined
}): Promise<TreeScan> {
  const { directory, signal } = parts
  const { found, socketCount } = await walk(directory, signal)
  const entries = new Map<ByteString, Entry>()
  for (const [entry, state] of pairs(parts.earlier)) {
    const now = found.get(entry.path)
    if (now !== undefined && isSame(state, now.status)) entries.set(entry.path, entry)
  }
  const changed = [...found.values()].filter(({ path }) => !entries.has(path))
  // A further name of a file is told by the first: tar knows them only where it reads both.
  const read = new Set(changed.map(({ path, firstLink }) => firstLink ?? path))
  const listed = new Set(read)
  for (const path of read) for (let above = parentOf(path); above !== null; above = parentOf(above)) listed.add(above)
  let [readFiles, readBytes] = [0, 0]
  if (read.size > 0)
    await captureTree({
      directory,
      paths: [...listed].sort(comparePaths),
      onEntry(entry) {
        if (!read.has(entry.path)) return
        entries.set(entry.path, entry)
        if (entry.kind === "file") [readFiles, readBytes] = [readFiles + 1, readBytes + entry.size]
      },
      signal,
      ...(parts.onProgress && { onProgress: parts.onProgress }),
    })
  for (const { path, firstLink } of changed) {
    const first = firstLink === null ? undefined : entries.get(firstLink)
    if (first === undefined || firstLink === null) continue
    const { mode, uid, gid, mtimeNs } = first
    entries.set(path, { path, kind: "hardlink", mode, uid, gid, mtimeNs, xattrs: [], target: firstLink })
  }
  const sorted = [...found.keys()].flatMap((path) => entries.get(path) ?? [])
  return { entries: sorted, states: sorted.map(({ path }) => found.get(path)).map(stateOf), socketCount, readFiles, readBytes }
}

/** The state of each of these entries, as it was when `walkStates` was called. */
export async function walkStates(directory: string, signal?: AbortSignal): Promise<(entry: Entry) => EntryState> {
  const { found } = await walk(directory, signal)
  return ({ path }) => stateOf(found.get(path))
}

function* pairs(earlier: Reading | null): Generator<[Entry, EntryState]> {
  if (earlier === null) return
  let number = 0
  for (const entry of earlier.entries) yield [entry, earlier.states[number++] ?? UNKNOWN]
}

function isSame({ device, inode, changedNs }: EntryState, status: BigIntStats): boolean {
  return inode !== 0n && status.ino === inode && status.dev === device && status.ctimeNs === changedNs
}

function stateOf(found: (Found & { readonly settled?: boolean }) | undefined): EntryState {
  if (found?.settled !== true) return UNKNOWN
  const { dev, ino, ctimeNs } = found.status
  return { device: dev, inode: ino, changedNs: ctimeNs }
}

/** All names but sockets, in order. */
async function walk(directory: string, signal?: AbortSignal) {
  const found = new Map<ByteString, Found & { readonly settled: boolean }>()
  const firsts = new Map<string, ByteString>()
  const racyFromNs = BigInt(Date.now()) * 1_000_000n - RACY_NS
  let socketCount = 0
  let untilMs = performance.now() + SLICE_MS
  const add = (path: ByteString, status: BigIntStats) => {
    const key = `${status.dev}:${status.ino}`
    // Of pipes and devices tar tells each name as one of its own.
    const linked = status.nlink > 1n && (status.isFile() || status.isSymbolicLink())
    const firstLink = linked ? (firsts.get(key) ?? null) : null
    if (linked && firstLink === null) firsts.set(key, path)
    found.set(path, { path, status, firstLink, settled: status.ctimeNs < racyFromNs })
  }
  const visit = async (path: ByteString): Promise<void> => {
    const at = Buffer.concat([Buffer.from(`${directory}/`), bytesOf(path)])
    for (const name of readdirSync(at, { encoding: "buffer" }).sort((a, b) => a.compare(b))) {
      if (performance.now() > untilMs) {
        await nextTurn()
        signal?.throwIfAborted()
        untilMs = performance.now() + SLICE_MS
      }
      if (path === "." && name.toString("latin1") === WORK_DIRECTORY) continue
      const inner = (path === "." ? byteString(name) : `${path}/${byteString(name)}`) as ByteString
      const status = lstatSync(Buffer.concat([at, Buffer.from("/"), name]), { bigint: true })
      if (status.isSocket()) socketCount += 1
      else {
        add(inner, status)
        if (status.isDirectory()) await visit(inner)
      }
    }
  }
  const top = "." as ByteString
  add(top, lstatSync(directory, { bigint: true }))
  await visit(top)
  return { found, socketCount }
}
