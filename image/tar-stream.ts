/**
 * Reads the stream that GNU tar writes with the flags of gnu-tar.ts, as it passes.
 *
 * Invariant: what goes to `emit` is the archive in canonical form, and depends on the tree alone: extended attributes sorted by
 * name (tar gives them in the order of the file system), and nothing behind the end but zeros to a multiple of 10 KiB.
 * Whatever this reader does not know is refused, so no property of a file can be passed over in silence.
 *
 * Formats: ustar and pax (POSIX.1-2017, "pax", "ustar Interchange Format"), SCHILY.xattr records (star(5)), sparse
 * files of version 0.0 (GNU tar manual, D.2.1).
 */
import type { Sha256 } from "#core/identifiers.ts"
import { printable, type ByteString } from "./byte-string.ts"
import { ContentDigest, digestOfSmall, ZERO_BLOCK_BYTES } from "./content-digest.ts"
import { TreeOrder, type Entry, type EntryKind, type Xattr } from "./entry.ts"

const BLOCK_BYTES = 512
/** What GNU tar pads an archive to when it is not told otherwise. */
const RECORD_BYTES = 20 * BLOCK_BYTES
/** All extended attributes of one file stand in one pax header. */
const PAX_BYTES_MAX = 16 * 1024 * 1024
const XATTR = "SCHILY.xattr."
const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES)

/** Why an archive was refused; whoever drives the reader says in which words of its own. */
export class TarFault extends Error {
  override readonly name = "TarFault"
}

export type TarListener = {
  /** Called for each entry, after the last byte of its content. */
  readonly entry?: (entry: Entry) => void
  /** Called with the canonical archive. The bytes are only lent. */
  readonly emit?: (bytes: Uint8Array) => void
}

type PaxRecords = {
  path: ByteString | null
  linkPath: ByteString | null
  size: number | null
  uid: number | null
  gid: number | null
  mtimeNs: bigint | null
  xattrs: Xattr[]
  sparse: SparseMap | null
}
type SparseMap = { size: number; blocks: number; offsets: number[]; lengths: number[] }

export class TarReader {
  readonly #listener: TarListener
  /** `skip`: entries are checked and reported without digests, for a stream whose digest is known. */
  readonly #contents: "digest" | "skip"
  readonly #order = new TreeOrder()
  #state: "header" | "pax" | "content" | "end" = "header"

  /** The block or the pax records that a push ended in. */
  #partial: Buffer = Buffer.allocUnsafe(BLOCK_BYTES)
  #partialBytes = 0
  #pax: PaxRecords | null = null
  #paxBytes = 0

  #entry: Entry | null = null
  #content: ContentSink | null = null
  #contentLeft = 0
  #paddingLeft = 0
  #zeroBlocks = 0
  #emittedBytes = 0

  /** Bytes of file content in the entries so far, holes counted as the zeros that they read as. */
  fileBytes = 0
  entryCount = 0

  constructor(listener: TarListener, options: { readonly contents?: "digest" | "skip" } = {}) {
    this.#listener = listener
    this.#contents = options.contents ?? "digest"
  }

  /** @throws {TarFault} */
  push(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) {
      switch (this.#state) {
        case "header": {
          const block = this.#take(chunk, at, BLOCK_BYTES)
          at += block.taken
          if (block.whole !== null) this.#header(block.whole)
          break
        }
        case "pax": {
          const padded = padded512(this.#paxBytes)
          const body = this.#take(chunk, at, padded)
          at += body.taken
          if (body.whole !== null) this.#paxBody(body.whole)
          break
        }
        case "content":
          at += this.#contentBytes(chunk, at)
          break
        case "end":
          if (!isZero(chunk.subarray(at))) throw new TarFault("bytes follow the end of the archive")
          at = chunk.length
          break
      }
    }
  }

  /**
   * Call it after the last push.
   * @throws {TarFault} when the archive was cut short
   */
  end(): void {
    if (this.#state !== "end") throw new TarFault("the archive ends before its end mark")
    this.#emit(Buffer.alloc((RECORD_BYTES - (this.#emittedBytes % RECORD_BYTES)) % RECORD_BYTES))
  }

  /** The next `length` bytes when they are complete: lent from `chunk` if they lie in it, else gathered. */
  #take(chunk: Buffer, at: number, length: number): { taken: number; whole: Buffer | null } {
    if (this.#partialBytes === 0 && chunk.length - at >= length) return { taken: length, whole: chunk.subarray(at, at + length) }
    if (this.#partial.length < length) this.#partial = Buffer.allocUnsafe(length)
    const taken = Math.min(length - this.#partialBytes, chunk.length - at)
    chunk.copy(this.#partial, this.#partialBytes, at, at + taken)
    this.#partialBytes += taken
    if (this.#partialBytes < length) return { taken, whole: null }
    this.#partialBytes = 0
    return { taken, whole: this.#partial.subarray(0, length) }
  }

  #header(block: Buffer): void {
    if (block[0] === 0 && block.equals(ZERO_BLOCK)) {
      if (this.#pax !== null) throw new TarFault("the archive ends after a pax header")
      this.#zeroBlocks += 1
      if (this.#zeroBlocks === 2) this.#state = "end"
      this.#emit(block)
      return
    }
    if (this.#zeroBlocks > 0) throw new TarFault("a header follows a zero block")
    requireChecksum(block)
    const type = block[156]
    if (type === 0x78 /* x */) {
      if (this.#pax !== null) throw new TarFault("two pax headers for one entry")
      this.#paxBytes = octal(block, 124, 12, "size of a pax header")
      if (this.#paxBytes === 0 || this.#paxBytes > PAX_BYTES_MAX)
        throw new TarFault(`a pax header has ${this.#paxBytes} bytes, 1 to ${PAX_BYTES_MAX} are taken`)
      this.#emit(block)
      this.#state = "pax"
      return
    }
    const kind = kindOf(type)
    const pax = this.#pax ?? noRecords()
    this.#pax = null
    this.#begin(entryOf(block, kind, pax), block, pax)
    this.#emit(block)
  }

  #paxBody(padded: Buffer): void {
    const body = padded.subarray(0, this.#paxBytes)
    const { records, canonical } = parsePax(body)
    this.#pax = records
    this.#emit(canonical)
    this.#emit(padded.subarray(this.#paxBytes))
    this.#state = "header"
  }

  #begin(entry: Entry, block: Buffer, pax: PaxRecords): void {
    const fault = this.#order.fault(entry)
    if (fault !== null) throw new TarFault(`the name ${quoted(entry.path)} ${fault}`)
    const stored = pax.size ?? octal(block, 124, 12, "size")
    if (stored > 0 && entry.kind !== "file") throw new TarFault(`${quoted(entry.path)} is no file and has ${stored} bytes`)
    this.#entry = entry
    this.#contentLeft = stored
    this.#paddingLeft = padded512(stored) - stored
    if (entry.kind === "file" && this.#contents === "digest") this.#content = sinkFor(stored, pax.sparse, entry.path)
    if (entry.kind === "file" && this.#contents === "skip" && pax.sparse !== null) requireFits(pax.sparse, stored, entry.path)
    this.#state = "content"
    if (stored === 0) this.#finishEntry()
  }

  #contentBytes(chunk: Buffer, from: number): number {
    const content = Math.min(this.#contentLeft, chunk.length - from)
    if (content > 0) {
      const part = chunk.subarray(from, from + content)
      this.#content?.update(part)
      this.#contentLeft -= content
    }
    const padding = this.#contentLeft > 0 ? 0 : Math.min(this.#paddingLeft, chunk.length - from - content)
    if (padding > 0) {
      if (!isZero(chunk.subarray(from + content, from + content + padding))) throw new TarFault("padding is not zeros")
      this.#paddingLeft -= padding
    }
    this.#emit(chunk.subarray(from, from + content + padding))
    if (this.#contentLeft === 0 && this.#paddingLeft === 0) this.#finishEntry()
    return content + padding
  }

  #finishEntry(): void {
    let entry = this.#entry
    if (entry === null) throw new Error("unreachable: content without an entry")
    if (entry.kind === "file") {
      this.fileBytes += entry.size
      if (this.#content !== null) entry = { ...entry, ...this.#content.finish() }
    }
    this.#entry = null
    this.#content = null
    this.entryCount += 1
    this.#state = "header"
    this.#listener.entry?.(entry)
  }

  #emit(bytes: Uint8Array): void {
    this.#emittedBytes += bytes.length
    this.#listener.emit?.(bytes)
  }
}

/** Takes the stored bytes of one file; gives the digest of its content. */
type ContentSink = { update(stored: Buffer): void; finish(): { sha256: Sha256; zeroBlocks: number } }

function sinkFor(storedBytes: number, sparse: SparseMap | null, path: ByteString): ContentSink {
  if (sparse !== null) return sparseSink(sparse, storedBytes, path)
  return storedBytes < ZERO_BLOCK_BYTES ? smallSink(storedBytes) : new LargeSink()
}

/** Most files are whole in one push, and cheaper to hash at once. */
function smallSink(storedBytes: number): ContentSink {
  let sha256: Sha256 | null = storedBytes === 0 ? digestOfSmall(ZERO_BLOCK.subarray(0, 0)) : null
  let digest: ContentDigest | null = null
  return {
    update(stored) {
      if (stored.length === storedBytes) sha256 = digestOfSmall(stored)
      else {
        digest ??= new ContentDigest()
        digest.update(stored)
      }
    },
    finish: () => ({ sha256: sha256 ?? digest?.digest() ?? digestOfSmall(ZERO_BLOCK.subarray(0, 0)), zeroBlocks: 0 }),
  }
}

class LargeSink implements ContentSink {
  readonly #digest = new ContentDigest()
  update(stored: Buffer): void {
    this.#digest.update(stored)
  }
  finish(): { sha256: Sha256; zeroBlocks: number } {
    return { sha256: this.#digest.digest(), zeroBlocks: this.#digest.zeroBlocks }
  }
}

/** Refuses a map whose pieces overlap, leave the file, or are not the bytes that are stored. */
function requireFits(map: SparseMap, storedBytes: number, path: ByteString): void {
  let end = 0
  let total = 0
  const countsAgree = map.offsets.length === map.blocks && map.lengths.length === map.blocks
  for (const [at, offset] of map.offsets.entries()) {
    const length = map.lengths[at] ?? 0
    if (offset < end) throw new TarFault(`the sparse map of ${quoted(path)} is out of order`)
    end = offset + length
    total += length
  }
  if (!countsAgree || end > map.size || total !== storedBytes) throw new TarFault(`the sparse map of ${quoted(path)} does not fit the file`)
}

function sparseSink(map: SparseMap, storedBytes: number, path: ByteString): ContentSink {
  requireFits(map, storedBytes, path)
  const digest = new ContentDigest()
  let at = 0
  let position = 0
  let leftHere = map.lengths[0] ?? 0
  /** Zeros up to the next piece that has bytes. */
  const seek = (): void => {
    while (leftHere === 0 && at < map.lengths.length) {
      at += 1
      leftHere = map.lengths[at] ?? 0
    }
    const next = leftHere > 0 ? (map.offsets[at] ?? map.size) : map.size
    digest.updateZeros(next - position)
    position = next
  }
  let begun = false
  return {
    update(stored) {
      let from = 0
      while (from < stored.length) {
        if (!begun || leftHere === 0) {
          begun = true
          seek()
        }
        const part = stored.subarray(from, from + leftHere)
        digest.update(part)
        from += part.length
        position += part.length
        leftHere -= part.length
      }
    },
    finish() {
      digest.updateZeros(map.size - position)
      return { sha256: digest.digest(), zeroBlocks: digest.zeroBlocks }
    },
  }
}

function entryOf(block: Buffer, kind: EntryKind, pax: PaxRecords): Entry {
  const common = {
    path: canonicalPath(pax.path ?? headerPath(block), kind),
    mode: octal(block, 100, 8, "mode"),
    uid: pax.uid ?? octal(block, 108, 8, "uid"),
    gid: pax.gid ?? octal(block, 116, 8, "gid"),
    mtimeNs: pax.mtimeNs ?? BigInt(octal(block, 136, 12, "mtime")) * 1_000_000_000n,
    xattrs: pax.xattrs,
  }
  if (common.mode > 0o7777) throw new TarFault(`the mode of ${quoted(common.path)} is out of range`)
  if (pax.sparse !== null && kind !== "file") throw new TarFault(`${quoted(common.path)} is sparse and no file`)
  switch (kind) {
    case "file": {
      const size = pax.sparse?.size ?? pax.size ?? octal(block, 124, 12, "size")
      return { ...common, kind, size, sha256: "" as Sha256, zeroBlocks: 0 }
    }
    case "symlink":
      return { ...common, kind, target: pax.linkPath ?? text(block, 157, 100) }
    case "hardlink":
      return { ...common, kind, target: canonicalPath(pax.linkPath ?? text(block, 157, 100), kind) }
    case "char-device":
    case "block-device":
      return { ...common, kind, major: octal(block, 329, 8, "device"), minor: octal(block, 337, 8, "device") }
    default:
      return { ...common, kind }
  }
}

function kindOf(type: number | undefined): EntryKind {
  switch (type) {
    case 0x30:
      return "file"
    case 0x31:
      return "hardlink"
    case 0x32:
      return "symlink"
    case 0x33:
      return "char-device"
    case 0x34:
      return "block-device"
    case 0x35:
      return "directory"
    case 0x36:
      return "fifo"
    default:
      throw new TarFault(`an entry of type ${JSON.stringify(String.fromCharCode(type ?? 0))}, which images do not have`)
  }
}

/** `./a/b` and, for directories, `./a/b/` become `a/b`; `./` becomes `.`. */
function canonicalPath(path: ByteString, kind: EntryKind): ByteString {
  if (!path.startsWith("./")) throw new TarFault(`the name ${quoted(path)} does not begin with ./`)
  const end = kind === "directory" && path.endsWith("/") ? path.length - 1 : path.length
  return (end <= 2 ? "." : path.slice(2, end)) as ByteString
}

function headerPath(block: Buffer): ByteString {
  const prefix = text(block, 345, 155)
  const name = text(block, 0, 100)
  return prefix === "" ? name : (`${prefix}/${name}` as ByteString)
}

function text(block: Buffer, from: number, length: number): ByteString {
  let end = from
  while (end < from + length && block[end] !== 0) end += 1
  return block.toString("latin1", from, end) as ByteString
}

function octal(block: Buffer, from: number, length: number, what: string): number {
  let value = 0
  let at = from
  const end = from + length
  for (; at < end; at += 1) {
    const digit = (block[at] ?? 0) - 0x30
    if (digit < 0 || digit > 7) break
    value = value * 8 + digit
  }
  for (; at < end; at += 1) if (block[at] !== 0 && block[at] !== 0x20) throw new TarFault(`the ${what} of an entry is not an octal number`)
  return value
}

function requireChecksum(block: Buffer): void {
  let sum = 8 * 0x20
  for (let at = 0; at < 148; at += 1) sum += block[at] ?? 0
  for (let at = 156; at < BLOCK_BYTES; at += 1) sum += block[at] ?? 0
  if (sum !== octal(block, 148, 8, "checksum")) throw new TarFault("a header does not match its checksum")
}

function noRecords(): PaxRecords {
  return { path: null, linkPath: null, size: null, uid: null, gid: null, mtimeNs: null, xattrs: [], sparse: null }
}

/** Reads `LENGTH KEYWORD=VALUE\n` records; `canonical` is the same records with the xattrs last, sorted. */
function parsePax(body: Buffer): { records: PaxRecords; canonical: Buffer } {
  const all = body.toString("latin1") as ByteString
  const records = noRecords()
  const others: string[] = []
  const xattrs: { name: ByteString; value: ByteString; record: string }[] = []
  let sorted = true
  for (let at = 0; at < all.length;) {
    const space = all.indexOf(" ", at)
    const length = space - at > 0 && space - at < 12 ? wholeNumber(all.slice(at, space), "record length") : 0
    const end = at + length
    const equals = all.indexOf("=", space)
    if (length === 0 || end > all.length || equals < 0 || equals >= end || all.charCodeAt(end - 1) !== 0x0a)
      throw new TarFault("a pax record is out of form")
    const keyword = all.slice(space + 1, equals)
    const value = all.slice(equals + 1, end - 1) as ByteString
    if (keyword.startsWith(XATTR)) {
      const name = keyword.slice(XATTR.length).replace(/%(3D|25)/g, (code) => (code === "%25" ? "%" : "=")) as ByteString
      const before = xattrs[xattrs.length - 1]
      if (before !== undefined && before.name >= name) sorted = false
      xattrs.push({ name, value, record: all.slice(at, end) })
    } else {
      if (xattrs.length > 0) sorted = false
      others.push(all.slice(at, end))
      readRecord(records, keyword, value)
    }
    at = end
  }
  if (!sorted) xattrs.sort((a, b) => (a.name < b.name ? -1 : 1))
  for (const [at, { name }] of xattrs.entries())
    if (at > 0 && xattrs[at - 1]?.name === name) throw new TarFault(`the extended attribute ${quoted(name)} twice`)
  records.xattrs = xattrs.map(({ name, value }) => [name, value] as const)
  const canonical = sorted ? body : Buffer.from(others.join("") + xattrs.map(({ record }) => record).join(""), "latin1")
  return { records, canonical }
}

function readRecord(records: PaxRecords, keyword: string, value: ByteString): void {
  switch (keyword) {
    case "path":
      records.path = value
      return
    case "linkpath":
      records.linkPath = value
      return
    case "size":
      records.size = wholeNumber(value, keyword)
      return
    case "uid":
      records.uid = wholeNumber(value, keyword)
      return
    case "gid":
      records.gid = wholeNumber(value, keyword)
      return
    case "mtime":
      records.mtimeNs = nanoseconds(value)
      return
    case "GNU.sparse.size":
      sparseOf(records).size = wholeNumber(value, keyword)
      return
    case "GNU.sparse.numblocks":
      sparseOf(records).blocks = wholeNumber(value, keyword)
      return
    case "GNU.sparse.offset":
      sparseOf(records).offsets.push(wholeNumber(value, keyword))
      return
    case "GNU.sparse.numbytes":
      sparseOf(records).lengths.push(wholeNumber(value, keyword))
      return
    default:
      throw new TarFault(`a pax record ${JSON.stringify(keyword.slice(0, 100))}, which images do not have`)
  }
}

function sparseOf(records: PaxRecords): SparseMap {
  records.sparse ??= { size: 0, blocks: 0, offsets: [], lengths: [] }
  return records.sparse
}

function wholeNumber(digits: string, what: string): number {
  const value = Number(digits)
  if (!/^\d{1,16}$/.test(digits) || !Number.isSafeInteger(value)) throw new TarFault(`the ${what} of an entry is out of form`)
  return value
}

/** `-1.5` is one second and a half before the epoch. */
function nanoseconds(value: string): bigint {
  const parts = /^(-?)(\d{1,19})(?:\.(\d{1,9}))?$/.exec(value)
  if (parts === null) throw new TarFault("the mtime of an entry is out of form")
  const [, sign = "", seconds = "0", fraction = ""] = parts
  const total = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, "0"))
  return sign === "-" ? -total : total
}

function padded512(length: number): number {
  return Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES
}

function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const part = bytes.subarray(at, at + BLOCK_BYTES)
    if (!part.equals(part.length === BLOCK_BYTES ? ZERO_BLOCK : ZERO_BLOCK.subarray(0, part.length))) return false
  }
  return true
}

function quoted(path: ByteString): string {
  return JSON.stringify(printable(path).slice(0, 300))
}

/** For a chunk that is not a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
