/**
 * Compares a tree with the index of an image, through the same capture that made the index: what differs is told, and
 * what can't be read fails.
 */
import { bytesOf, printable, type ByteString } from "./byte-string.ts"
import { captureTree } from "./capture.ts"
import { comparePaths, type Entry } from "./entry.ts"
import { LOST_AND_FOUND } from "./target.ts"
import { octalMode, type TreeIndex } from "./tree-index.ts"

export type DifferenceKind =
  | "missing"
  | "extra"
  | "kind"
  | "content"
  | "mode"
  | "owner"
  | "mtime"
  | "xattr"
  /** The text of a symlink, or what a hard link is a name of. */
  | "link"
  | "device"

export type Difference = {
  /** For people: control characters and bytes that are no UTF-8 as `\xNN`. */
  readonly path: string
  readonly what: DifferenceKind
  readonly expected: string
  readonly found: string
}

export type Verification = {
  /** Entries found in the tree. */
  readonly entries: number
  /** The first 1,000. */
  readonly differences: readonly Difference[]
  readonly differenceCount: number
}

export type VerifyProgress = { readonly bytes: number; readonly totalBytes: number; readonly entries: number }

const DIFFERENCES_MAX = 1_000
/** File bytes, or entries, between two calls of `onProgress`. */
const PROGRESS_STEP_BYTES = 8 * 1024 * 1024
const PROGRESS_STEP_ENTRIES = 1_000
const SHOWN_MAX = 200

/**
 * `lost+found` at the top, with what fsck put there, is passed over unless the image has one.
 * @throws {GridError} SOURCE_MISSING, CAPTURE_FAILED, TOOL_MISSING
 * @throws what `signal` gives as its reason
 */
export async function verifyTree(parts: {
  readonly directory: string
  readonly index: TreeIndex
  /** What is no difference here. */
  readonly passOver?: (entry: Entry, what: DifferenceKind) => boolean
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: VerifyProgress) => void) | undefined
}): Promise<Verification> {
  const differences: Difference[] = []
  let differenceCount = 0
  const differ: Differ = (entry, what, expected, found) => {
    if (parts.passOver?.(entry, what) === true) return
    differenceCount += 1
    if (differences.length >= DIFFERENCES_MAX) return
    differences.push({ path: printable(entry.path), what, expected: expected.slice(0, SHOWN_MAX), found: found.slice(0, SHOWN_MAX) })
  }
  const wanted = parts.index.entries()
  let next = wanted.next()
  const missing = (entry: Entry): void => differ(entry, "missing", entry.kind, "nothing")
  let progressAt = { bytes: 0, entries: 0 }
  let found = 0
  const summary = await captureTree({
    directory: parts.directory,
    signal: parts.signal,
    onEntry(entry) {
      while (next.done !== true && comparePaths(next.value.path, entry.path) < 0) {
        missing(next.value)
        next = wanted.next()
      }
      if (next.done !== true && next.value.path === entry.path) {
        compareEntries(next.value, entry, differ)
        next = wanted.next()
      } else if (entry.path === LOST_AND_FOUND || entry.path.startsWith(`${LOST_AND_FOUND}/`)) return
      else differ(entry, "extra", "nothing", entry.kind)
      found += 1
    },
    onProgress({ fileBytes, entryCount }) {
      if (fileBytes < progressAt.bytes + PROGRESS_STEP_BYTES && entryCount < progressAt.entries + PROGRESS_STEP_ENTRIES) return
      progressAt = { bytes: fileBytes, entries: entryCount }
      parts.onProgress?.({ bytes: fileBytes, totalBytes: parts.index.fileBytes, entries: entryCount })
    },
  })
  for (; next.done !== true; next = wanted.next()) missing(next.value)
  parts.onProgress?.({ bytes: summary.fileBytes, totalBytes: parts.index.fileBytes, entries: summary.entryCount })
  return { entries: found, differences, differenceCount }
}

type Differ = (entry: Entry, what: DifferenceKind, expected: string, found: string) => void

function compareEntries(expected: Entry, found: Entry, differ: Differ): void {
  if (expected.kind !== found.kind) {
    differ(expected, "kind", expected.kind, found.kind)
    return
  }
  if (expected.kind === "file" && found.kind === "file") {
    if (expected.size !== found.size) differ(expected, "content", `${expected.size} bytes`, `${found.size} bytes`)
    else if (expected.sha256 !== found.sha256 || expected.zeroBlocks !== found.zeroBlocks)
      differ(expected, "content", `SHA-256 ${expected.sha256}`, `SHA-256 ${found.sha256}`)
  }
  if ("target" in expected && "target" in found && expected.target !== found.target)
    differ(expected, "link", printable(expected.target), printable(found.target))
  if ("major" in expected && "major" in found && (expected.major !== found.major || expected.minor !== found.minor))
    differ(expected, "device", `${expected.major}:${expected.minor}`, `${found.major}:${found.minor}`)
  if (expected.mode !== found.mode) differ(expected, "mode", octalMode(expected.mode), octalMode(found.mode))
  if (expected.uid !== found.uid || expected.gid !== found.gid)
    differ(expected, "owner", `${expected.uid}:${expected.gid}`, `${found.uid}:${found.gid}`)
  if (expected.mtimeNs !== found.mtimeNs) differ(expected, "mtime", shownTime(expected.mtimeNs), shownTime(found.mtimeNs))
  compareXattrs(expected, found, differ)
}

function compareXattrs(expected: Entry, found: Entry, differ: Differ): void {
  if (expected.xattrs.length === 0 && found.xattrs.length === 0) return
  const left = new Map(expected.xattrs)
  const right = new Map(found.xattrs)
  for (const name of new Set([...left.keys(), ...right.keys()])) {
    if (left.get(name) === right.get(name)) continue
    differ(expected, "xattr", shownXattr(name, left.get(name)), shownXattr(name, right.get(name)))
  }
}

function shownXattr(name: ByteString, value: ByteString | undefined): string {
  return value === undefined ? `no ${printable(name)}` : `${printable(name)}=0x${bytesOf(value).subarray(0, 64).toString("hex")}`
}

/** Seconds since the epoch with nine decimals. */
function shownTime(mtimeNs: bigint): string {
  const sign = mtimeNs < 0n ? "-" : ""
  const size = mtimeNs < 0n ? -mtimeNs : mtimeNs
  return `${sign}${size / 1_000_000_000n}.${String(size % 1_000_000_000n).padStart(9, "0")}`
}
