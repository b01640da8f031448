/**
 * The list of all entries of an image, as bytes that are the same for the same tree.
 *
 * Form `imagegrid-index-1`, lines of JSON in ASCII, each ended by a newline: first `{"format":"imagegrid-index-1"}`, then one line per
 * entry in the order of `comparePaths`, last `{"entries":N,"fileBytes":N}`. Names, link targets and xattr names are bytes
 * written by `escapeBytes`, xattr values are base64, modes are octal, mtimes are nanoseconds.
 *
 * Invariant: what `decodeIndex` took, `encodeIndex` writes again to the byte; there is no second way to write the same tree.
 */
import { GridError } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { bytesOf, byteString, escapeBytes, printable, unescapeBytes, type ByteString } from "./byte-string.ts"
import { isDevice, TreeOrder, type Entry, type EntryKind, type Xattr } from "./entry.ts"

const FIRST_LINE = '{"format":"imagegrid-index-1"}\n'
/** A path of 4 KiB and all extended attributes that Linux lets one inode have on common file systems. */
const LINE_BYTES_MAX = 32 * 1024 * 1024
const NEWLINE = 0x0a

/** A checked index. It keeps the bytes, not a million objects: `entries` reads them each time. */
export type TreeIndex = {
  readonly entryCount: number
  /** Sum of the sizes of all files, holes included, hard links counted once. */
  readonly fileBytes: number
  /** Each owner, with a path that it owns. */
  readonly owners: readonly { readonly uid: number; readonly gid: number; readonly path: ByteString }[]
  /** One path that only root can make, with what it is. */
  readonly privileged: { readonly path: ByteString; readonly what: string } | null
  /** The first character or block device. */
  readonly device: ByteString | null
  entries(): IterableIterator<Entry>
}

export class IndexEncoder {
  #entryCount = 0
  #fileBytes = 0

  begin(): string {
    return FIRST_LINE
  }

  /** The line of one entry; the caller gives them in order. */
  line(entry: Entry): string {
    this.#entryCount += 1
    if (entry.kind === "file") this.#fileBytes += entry.size
    return indexLine(entry)
  }

  end(): string {
    return `{"entries":${this.#entryCount},"fileBytes":${this.#fileBytes}}\n`
  }
}

export function encodeIndex(entries: Iterable<Entry>): Buffer {
  const encoder = new IndexEncoder()
  const lines = [encoder.begin()]
  for (const entry of entries) lines.push(encoder.line(entry))
  lines.push(encoder.end())
  return Buffer.from(lines.join(""), "latin1")
}

/**
 * Checks every line; keeps `bytes`, which must not change after.
 * @throws {GridError} INDEX_INVALID
 */
export function decodeIndex(bytes: Uint8Array): TreeIndex {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const order = new TreeOrder()
  const owners = new Map<string, TreeIndex["owners"][number]>()
  let privileged: TreeIndex["privileged"] = null
  let device: TreeIndex["device"] = null
  let entryCount = 0
  let fileBytes = 0
  let lastLine = ""
  if (!text.subarray(0, FIRST_LINE.length).equals(Buffer.from(FIRST_LINE)))
    throw new GridError("INDEX_INVALID", `expected it to begin with ${FIRST_LINE.trim()}; it may be of a newer imagegrid`)
  const end = text.length === FIRST_LINE.length ? -1 : text.lastIndexOf(NEWLINE, text.length - 2) + 1
  for (const line of linesOf(text, FIRST_LINE.length)) {
    if (line.at === end) {
      lastLine = line.text
      break
    }
    entryCount += 1
    const entry = entryOfLine(line.text, entryCount)
    const fault = order.fault(entry)
    if (fault !== null) refuse(entryCount, `the name ${JSON.stringify(printable(entry.path).slice(0, 300))} ${fault}`)
    if (entry.kind === "file") fileBytes += entry.size
    const owner = `${entry.uid}:${entry.gid}`
    if (!owners.has(owner)) owners.set(owner, { uid: entry.uid, gid: entry.gid, path: entry.path })
    privileged ??= privilegeOf(entry)
    if (isDevice(entry)) device ??= entry.path
  }
  if (entryCount === 0 || lastLine !== `{"entries":${entryCount},"fileBytes":${fileBytes}}`)
    throw new GridError("INDEX_INVALID", `expected a last line that counts ${entryCount} entries and ${fileBytes} bytes`)
  return {
    entryCount,
    fileBytes,
    owners: [...owners.values()],
    privileged,
    device,
    *entries() {
      // Each line was checked above.
      let number = 0
      for (const line of linesOf(text.subarray(0, end), FIRST_LINE.length)) {
        number += 1
        yield entryOf(JSON.parse(line.text) as Record<string, unknown>) ?? refuse(number, "is out of form")
      }
    },
  }
}

/**
 * Whether unpacking needs root, when it is done by the user `as`: for other owners, devices and some extended attributes.
 * `why` names one path that does.
 */
export function ownershipNeeds(
  index: TreeIndex,
  as: { readonly uid: number; readonly gid: number } = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 },
): { readonly root: boolean; readonly why: string | null } {
  const { privileged } = index
  if (privileged !== null) return { root: true, why: `${printable(privileged.path)} is ${privileged.what}` }
  const other = index.owners.find(({ uid, gid }) => uid !== as.uid || gid !== as.gid)
  if (other === undefined) return { root: false, why: null }
  return { root: true, why: `${printable(other.path)} belongs to ${other.uid}:${other.gid}, not to ${as.uid}:${as.gid}` }
}

function privilegeOf(entry: Entry): TreeIndex["privileged"] {
  if (isDevice(entry)) return { path: entry.path, what: "a device" }
  const [name] = entry.xattrs.find(([xattr]) => /^(?:security|trusted)\./.test(xattr)) ?? []
  return name === undefined ? null : { path: entry.path, what: `with the extended attribute ${printable(name)}` }
}

function* linesOf(text: Buffer, from: number): Generator<{ at: number; text: string }> {
  for (let at = from; at < text.length;) {
    const end = text.indexOf(NEWLINE, at)
    if (end < 0) throw new GridError("INDEX_INVALID", "the last line is cut off")
    if (end - at > LINE_BYTES_MAX) throw new GridError("INDEX_INVALID", `a line of ${end - at} bytes, at most ${LINE_BYTES_MAX} are taken`)
    yield { at, text: text.toString("latin1", at, end) }
    at = end + 1
  }
}

/** The line of an entry, with its newline: equal for equal entries. */
export function indexLine(entry: Entry): string {
  const { kind, path, mode, uid, gid, mtimeNs, xattrs } = entry
  let line = `{"path":"${escapeBytes(path)}","kind":"${kind}","mode":"${octalMode(mode)}","uid":${uid},"gid":${gid},"mtimeNs":"${mtimeNs}"`
  if (entry.kind === "file") {
    line += `,"size":${entry.size},"sha256":"${entry.sha256}"`
    if (entry.zeroBlocks > 0) line += `,"zeroBlocks":${entry.zeroBlocks}`
  } else if (entry.kind === "symlink" || entry.kind === "hardlink") line += `,"target":"${escapeBytes(entry.target)}"`
  else if (isDevice(entry)) line += `,"major":${entry.major},"minor":${entry.minor}`
  if (xattrs.length > 0) {
    const pairs = xattrs.map(([name, value]) => `["${escapeBytes(name)}","${bytesOf(value).toString("base64")}"]`)
    line += `,"xattrs":[${pairs.join(",")}]`
  }
  return `${line}}\n`
}

export function octalMode(mode: number): string {
  return mode.toString(8).padStart(4, "0")
}

/** The inverse of `indexLine`, without the newline; `number` names it in a refusal. @throws {GridError} INDEX_INVALID */
export function entryOfLine(line: string, number: number): Entry {
  // Read leniently, then written again: only what comes out as it went in was in form.
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (cause) {
    refuse(number, "is not JSON", cause)
  }
  if (typeof value !== "object" || value === null) refuse(number, "is no object")
  const entry = entryOf(value as Record<string, unknown>)
  if (entry === null || indexLine(entry) !== `${line}\n`) refuse(number, "is out of form")
  return entry
}

function entryOf(fields: Record<string, unknown>): Entry | null {
  const path = bytesIn(fields["path"])
  const mode = typeof fields["mode"] === "string" && /^[0-7]{4}$/.test(fields["mode"]) ? Number.parseInt(fields["mode"], 8) : null
  const mtime = fields["mtimeNs"]
  const { uid, gid } = fields
  if (path === null || mode === null || !isCount(uid) || !isCount(gid)) return null
  if (typeof mtime !== "string" || !/^-?\d{1,29}$/.test(mtime)) return null
  const xattrs = xattrsIn(fields["xattrs"])
  if (xattrs === null) return null
  const common = { path, mode, uid, gid, mtimeNs: BigInt(mtime), xattrs }
  const kind = fields["kind"] as EntryKind
  switch (kind) {
    case "file": {
      const { size, sha256, zeroBlocks = 0 } = fields
      if (!isCount(size) || typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256) || !isCount(zeroBlocks)) return null
      return { ...common, kind, size, sha256: sha256 as Sha256, zeroBlocks }
    }
    case "symlink":
    case "hardlink": {
      const target = bytesIn(fields["target"])
      if (target === null || target === "") return null
      return { ...common, kind, target }
    }
    case "char-device":
    case "block-device": {
      const { major, minor } = fields
      return isCount(major) && isCount(minor) ? { ...common, kind, major, minor } : null
    }
    case "directory":
    case "fifo":
      return { ...common, kind }
    default:
      return null
  }
}

function xattrsIn(value: unknown): Xattr[] | null {
  if (value === undefined) return []
  if (!Array.isArray(value) || value.length === 0) return null
  const xattrs: Xattr[] = []
  for (const pair of value as unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2) return null
    const name = bytesIn(pair[0])
    const content: unknown = pair[1]
    const before = xattrs[xattrs.length - 1]
    if (name === null || name === "" || typeof content !== "string" || (before !== undefined && before[0] >= name)) return null
    xattrs.push([name, byteString(Buffer.from(content, "base64"))])
  }
  return xattrs
}

function bytesIn(value: unknown): ByteString | null {
  return typeof value === "string" ? unescapeBytes(value) : null
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0
}

function refuse(number: number, why: string, cause?: unknown): never {
  throw new GridError("INDEX_INVALID", `entry ${number} ${why}`, { cause })
}
