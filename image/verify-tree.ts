/**
 * Compares a tree with the index of an image, through the same capture that made the index: what differs is told, and
 * what can't be read fails.
 */
import { printable } from "./byte-string.ts"
import { captureTree } from "./capture.ts"
import { comparePaths, type Entry } from "./entry.ts"
import type { LeftOut } from "./left-out.ts"
import { scanTree, type Reading } from "./scan-tree.ts"
import { LOST_AND_FOUND } from "./target.ts"
import { compareEntries, type ChangeKind } from "./tree-diff.ts"
import type { TreeIndex } from "./tree-index.ts"

export type DifferenceKind = "missing" | "extra" | ChangeKind

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
  /** Not read. */
  readonly leftOut?: LeftOut
  /** What is no difference here. */
  readonly passOver?: (entry: Entry, what: DifferenceKind) => boolean
  /** What is as it was then is not read again. */
  readonly earlier?: Reading | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: VerifyProgress) => void) | undefined
}): Promise<Verification> {
  const differences: Difference[] = []
  let differenceCount = 0
  const differ = (entry: Entry, what: DifferenceKind, expected: string, found: string): void => {
    if (parts.leftOut?.has(entry.path) === true || parts.passOver?.(entry, what) === true) return
    differenceCount += 1
    if (differences.length >= DIFFERENCES_MAX) return
    differences.push({ path: printable(entry.path), what, expected: expected.slice(0, SHOWN_MAX), found: found.slice(0, SHOWN_MAX) })
  }
  const wanted = parts.index.entries()
  let next = wanted.next()
  const missing = (entry: Entry): void => differ(entry, "missing", entry.kind, "nothing")
  let progressAt = { bytes: 0, entries: 0 }
  let found = 0
  const look = (entry: Entry): void => {
    while (next.done !== true && comparePaths(next.value.path, entry.path) < 0) {
      missing(next.value)
      next = wanted.next()
    }
    if (next.done !== true && next.value.path === entry.path) {
      compareEntries(next.value, entry, (what, expected, is) => differ(entry, what, expected, is))
      next = wanted.next()
    } else if (entry.path === LOST_AND_FOUND || entry.path.startsWith(`${LOST_AND_FOUND}/`)) return
    else differ(entry, "extra", "nothing", entry.kind)
    found += 1
  }
  const { directory, leftOut, signal, earlier } = parts
  if (earlier !== undefined && (leftOut?.paths.length ?? 0) === 0) {
    const { entries } = await scanTree({ directory, earlier, signal })
    for (const entry of entries) look(entry)
    parts.onProgress?.({ bytes: parts.index.fileBytes, totalBytes: parts.index.fileBytes, entries: entries.length })
  } else {
    const summary = await captureTree({
      directory,
      leftOut: leftOut?.paths ?? [],
      signal,
      onEntry: look,
      onProgress({ fileBytes, entryCount }) {
        if (fileBytes < progressAt.bytes + PROGRESS_STEP_BYTES && entryCount < progressAt.entries + PROGRESS_STEP_ENTRIES) return
        progressAt = { bytes: fileBytes, entries: entryCount }
        parts.onProgress?.({ bytes: fileBytes, totalBytes: parts.index.fileBytes, entries: entryCount })
      },
    })
    parts.onProgress?.({ bytes: summary.fileBytes, totalBytes: parts.index.fileBytes, entries: summary.entryCount })
  }
  for (; next.done !== true; next = wanted.next()) missing(next.value)
  return { entries: found, differences, differenceCount }
}
