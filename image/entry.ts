/** What the index says of each name in a tree, and the one order in which names stand there. */
import type { Sha256 } from "#core/identifiers.ts"
import type { ByteString } from "./byte-string.ts"

export type Xattr = readonly [name: ByteString, value: ByteString]

type Common = {
  /** `.` for the top directory, otherwise relative to it, without `./` before or `/` after it. */
  readonly path: ByteString
  /** The permission bits with set-uid, set-gid and sticky: 0 to 0o7777. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Nanoseconds since the Unix epoch; may be negative. */
  readonly mtimeNs: bigint
  /** Sorted by name. A hard link has none of its own: they stand at its target. */
  readonly xattrs: readonly Xattr[]
}

export type FileEntry = Common & {
  readonly kind: "file"
  readonly size: number
  /** Of the content with holes filled, see image/content-digest.ts. */
  readonly sha256: Sha256
  /** How many whole zero blocks the digest counts and does not hash. */
  readonly zeroBlocks: number
}
/** `target` of a symlink is its text; of a hard link the path, in this tree, of an earlier entry. */
export type LinkEntry = Common & { readonly kind: "symlink" | "hardlink"; readonly target: ByteString }
export type DeviceEntry = Common & { readonly kind: "char-device" | "block-device"; readonly major: number; readonly minor: number }
export type PlainEntry = Common & { readonly kind: "directory" | "fifo" }
export type Entry = FileEntry | LinkEntry | DeviceEntry | PlainEntry
export type EntryKind = Entry["kind"]

export function isDevice(entry: Entry): entry is DeviceEntry {
  return entry.kind === "char-device" || entry.kind === "block-device"
}

const SLASH = 0x2f

/**
 * Compares two paths in the order of `tar --sort=name`: a directory, then all that is in it, each directory's names by
 * their bytes. Negative when `a` comes first.
 */
export function comparePaths(a: ByteString, b: ByteString): number {
  if (a === b) return 0
  if (a === ".") return -1
  if (b === ".") return 1
  const shared = Math.min(a.length, b.length)
  let at = 0
  while (at < shared && a.charCodeAt(at) === b.charCodeAt(at)) at += 1
  if (at === shared) return a.length - b.length
  const left = a.charCodeAt(at)
  const right = b.charCodeAt(at)
  return (left === SLASH ? 0 : left) - (right === SLASH ? 0 : right)
}

/** Why these bytes can't be the path of an entry, or null. */
export function pathFault(path: ByteString): string | null {
  if (path === ".") return null
  if (path.includes("\0")) return "holds a zero byte"
  for (const name of path.split("/")) {
    if (name === "") return "is absolute, empty or has an empty name in it"
    if (name === "." || name === "..") return `has the name ${name} in it`
    if (name.length > 255) return "has a name of more than 255 bytes in it"
  }
  return null
}

/**
 * Follows a listing and refuses what no tree gives: names out of order, twice, or in what is not a directory listed
 * before. So nothing in a listing that passes can be reached through a symlink of the same listing.
 */
export class TreeOrder {
  #last: ByteString | null = null
  /** The directories that the last path was in, and itself if it is one. */
  readonly #open: ByteString[] = []

  /** Null when the entry may stand here, otherwise why not. */
  fault(entry: Entry): string | null {
    const { path, kind } = entry
    const fault = pathFault(path)
    if (fault !== null) return fault
    if (kind === "hardlink" && (pathFault(entry.target) !== null || comparePaths(entry.target, path) >= 0))
      return "is a hard link to what does not stand before it"
    const last = this.#last
    if (last === null) {
      if (path !== "." || kind !== "directory") return "stands where the top directory must be"
    } else {
      if (comparePaths(last, path) >= 0) return "is out of order or listed twice"
      const slash = path.lastIndexOf("/")
      const parent = slash < 0 ? "." : path.slice(0, slash)
      while (this.#open.length > 0 && this.#open[this.#open.length - 1] !== parent) this.#open.pop()
      if (this.#open.length === 0) return "is in what is not a directory listed before"
    }
    this.#last = path
    if (kind === "directory") this.#open.push(path)
    return null
  }
}
