/** What differs between two trees, from the entries alone that their indexes have. */
import { bytesOf, printable, type ByteString } from "./byte-string.ts"
import { comparePaths, type Entry, type Xattr } from "./entry.ts"
import { octalMode } from "./tree-index.ts"

/** In what two entries of one path may differ. Of another kind, nothing else is said. */
export type ChangeKind =
  | "kind"
  | "content"
  | "mode"
  | "owner"
  | "mtime"
  | "xattr"
  /** The text of a symlink, or what a hard link is a name of. */
  | "link"
  | "device"

/** One path of which two trees say different things; null where a tree has nothing there. */
export type Change = {
  readonly path: ByteString
  readonly before: Entry | null
  readonly after: Entry | null
  /** Each once. Empty where one of the two is null, and only there. */
  readonly what: readonly ChangeKind[]
}

/** In the order of paths, in which both must be: as the entries of an index are. Holds one entry of each at a time. */
export function* changesBetween(before: Iterable<Entry>, after: Iterable<Entry>): Generator<Change> {
  const [olds, news] = [before[Symbol.iterator](), after[Symbol.iterator]()]
  let [old, next] = [valueOf(olds.next()), valueOf(news.next())]
  while (old !== null || next !== null) {
    const order = old === null ? 1 : next === null ? -1 : comparePaths(old.path, next.path)
    const left = order <= 0 ? old : null
    const right = order >= 0 ? next : null
    if (left !== null && right !== null) {
      const what = new Set<ChangeKind>()
      compareEntries(left, right, (kind) => what.add(kind))
      if (what.size > 0) yield { path: left.path, before: left, after: right, what: [...what] }
    } else if (left !== null) yield { path: left.path, before: left, after: null, what: [] }
    else if (right !== null) yield { path: right.path, before: null, after: right, what: [] }
    if (left !== null) old = valueOf(olds.next())
    if (right !== null) next = valueOf(news.next())
  }
}

/** Calls `differ` for each thing in which two entries of one path differ, with both as text for people: an extended attribute is one thing. */
export function compareEntries(before: Entry, after: Entry, differ: (what: ChangeKind, before: string, after: string) => void): void {
  if (before.kind !== after.kind) {
    differ("kind", before.kind, after.kind)
    return
  }
  if (before.kind === "file" && after.kind === "file") {
    if (before.size !== after.size) differ("content", `${before.size} bytes`, `${after.size} bytes`)
    else if (before.sha256 !== after.sha256 || before.zeroBlocks !== after.zeroBlocks)
      differ("content", `SHA-256 ${before.sha256}`, `SHA-256 ${after.sha256}`)
  }
  if ("target" in before && "target" in after && before.target !== after.target)
    differ("link", printable(before.target), printable(after.target))
  if ("major" in before && "major" in after && (before.major !== after.major || before.minor !== after.minor))
    differ("device", `${before.major}:${before.minor}`, `${after.major}:${after.minor}`)
  if (before.mode !== after.mode) differ("mode", octalMode(before.mode), octalMode(after.mode))
  if (before.uid !== after.uid || before.gid !== after.gid) differ("owner", `${before.uid}:${before.gid}`, `${after.uid}:${after.gid}`)
  if (before.mtimeNs !== after.mtimeNs) differ("mtime", shownTime(before.mtimeNs), shownTime(after.mtimeNs))
  compareXattrs(before.xattrs, after.xattrs, (left, right) => differ("xattr", left, right))
}

function valueOf(result: IteratorResult<Entry, unknown>): Entry | null {
  return result.done === true ? null : result.value
}

function compareXattrs(before: readonly Xattr[], after: readonly Xattr[], differ: (before: string, after: string) => void): void {
  if (before.length === 0 && after.length === 0) return
  const left = new Map(before)
  const right = new Map(after)
  for (const name of new Set([...left.keys(), ...right.keys()])) {
    if (left.get(name) === right.get(name)) continue
    differ(shownXattr(name, left.get(name)), shownXattr(name, right.get(name)))
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
