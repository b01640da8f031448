/**
 * From one index to the next, as lines: of each path that changed, in order, `{"gone":"PATH"}` or the line that the new index has for it. PATH is written
 * by `escapeBytes`.
 */
import { GridError } from "#core/errors.ts"
import { escapeBytes, unescapeBytes, type ByteString } from "./byte-string.ts"
import { comparePaths, type Entry } from "./entry.ts"
import { changesBetween } from "./tree-diff.ts"
import { encodeIndex, entryOfLine, indexLine, type TreeIndex } from "./tree-index.ts"

/** One edit; `entry` is null where the path is gone. */
export type IndexEdit = { readonly path: ByteString; readonly entry: Entry | null }

export function* editsBetween(before: Iterable<Entry>, after: Iterable<Entry>): Generator<IndexEdit> {
  for (const { path, after: entry } of changesBetween(before, after)) yield { path, entry }
}

/** With its newline. */
export function editLine({ path, entry }: IndexEdit): string {
  return entry === null ? `{"gone":"${escapeBytes(path)}"}\n` : indexLine(entry)
}

const GONE = /^\{"gone":"([^"\\]*)"\}$/

/** The inverse of `editLine`, without the newline. @throws {GridError} INDEX_INVALID */
export function editOfLine(line: string, number: number): IndexEdit {
  const gone = GONE.exec(line)?.[1]
  if (gone === undefined) {
    const entry = entryOfLine(line, number)
    return { path: entry.path, entry }
  }
  const path = unescapeBytes(gone)
  if (path === null) throw new GridError("INDEX_INVALID", `edit ${number} names a path out of form`)
  return { path, entry: null }
}

/** The bytes of the new index. Whether they are right, its digest says. @throws {GridError} INDEX_INVALID where the edits don't fit */
export function applyEdits(before: Pick<TreeIndex, "entries">, edits: readonly IndexEdit[]): Buffer {
  return encodeIndex(edited(before.entries(), edits))
}

function misfit(): never {
  throw new GridError("INDEX_INVALID", "the changes of a delta layer do not fit the index that they are said to change")
}

function* edited(entries: Iterable<Entry>, edits: readonly IndexEdit[]): Generator<Entry> {
  let at = 0
  for (const entry of entries) {
    for (let edit = edits[at]; edit !== undefined && comparePaths(edit.path, entry.path) < 0; edit = edits[(at += 1)])
      yield edit.entry ?? misfit()
    const edit = edits[at]
    if (edit?.path !== entry.path) yield entry
    else {
      at += 1
      if (edit.entry !== null) yield edit.entry
    }
  }
  for (const edit of edits.slice(at)) yield edit.entry ?? misfit()
}
