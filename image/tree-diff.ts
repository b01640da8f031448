/** What differs between two trees, from their indexes alone. */
import { comparePaths, type Entry } from "./entry.ts"
import type { ByteString } from "./byte-string.ts"
import { indexLine } from "./tree-index.ts"

/** One path of which the two say different things; null where a tree has nothing there. */
export type Change = { readonly path: ByteString; readonly before: Entry | null; readonly after: Entry | null }

/** In the order of paths; both must be in that order, as the entries of an index are. */
export function* changesBetween(before: Iterable<Entry>, after: Iterable<Entry>): Generator<Change> {
  const [olds, news] = [before[Symbol.iterator](), after[Symbol.iterator]()]
  let [old, next] = [olds.next(), news.next()]
  while (old.done !== true || next.done !== true) {
    const order = old.done === true ? 1 : next.done === true ? -1 : comparePaths(old.value.path, next.value.path)
    const left = old.done !== true && order <= 0 ? old.value : null
    const right = next.done !== true && order >= 0 ? next.value : null
    if (left === null || right === null || indexLine(left) !== indexLine(right))
      yield { path: (left ?? right)?.path ?? ("." as ByteString), before: left, after: right }
    if (left !== null) old = olds.next()
    if (right !== null) next = news.next()
  }
}
