/** What a tree is once small trees are laid over it. Decides from lists of entries alone. */
import { GridError } from "#core/errors.ts"
import { printable, type ByteString } from "./byte-string.ts"
import { comparePaths, type Entry } from "./entry.ts"

/**
 * The entries of `base` with those of `over` in their places, in order. A directory that both have stays as it is in `base`, so that nobody needs to know
 * the owner of /etc; everything else is as `over` has it.
 * @throws {GridError} OVERRIDE_CONFLICT where one has a directory and the other has not
 */
export function overlay(base: Iterable<Entry>, over: Iterable<Entry>): Entry[] {
  const tree = new Map<ByteString, Entry>()
  for (const entry of base) tree.set(entry.path, entry)
  const laid = new Map<ByteString, Entry>()
  for (const entry of over) {
    const { path } = entry
    const there = tree.get(path)
    if (there !== undefined && (there.kind === "directory") !== (entry.kind === "directory"))
      throw new GridError(
        "OVERRIDE_CONFLICT",
        `${printable(path)} is a ${there.kind} in the image and a ${entry.kind} in the override; name it there as the image has it`,
      )
    if (there?.kind !== "directory") laid.set(path, entry)
  }
  if (laid.size === 0) return [...tree.values()]
  const kept = withoutLaid(tree, laid)
  return [...kept, ...laid.values()].sort((a, b) => comparePaths(a.path, b.path))
}

/** What a hard link leads to may have been laid over: the first of the names that are left becomes the file itself. */
function withoutLaid(tree: ReadonlyMap<ByteString, Entry>, laid: ReadonlyMap<ByteString, Entry>): Entry[] {
  const kept: Entry[] = []
  const firsts = new Map<ByteString, ByteString>()
  for (const [path, entry] of tree) {
    if (laid.has(path)) continue
    const file = entry.kind === "hardlink" && laid.has(entry.target) ? tree.get(entry.target) : undefined
    if (entry.kind !== "hardlink" || file === undefined) {
      kept.push(entry)
      continue
    }
    const first = firsts.get(entry.target)
    if (first === undefined) firsts.set(entry.target, path)
    kept.push(first === undefined ? { ...file, path } : { ...entry, target: first })
  }
  return kept
}
