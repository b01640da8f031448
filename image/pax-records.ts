/**
 * What a pax header says of the entry that follows it (POSIX.1-2017, "pax Header Block"; SCHILY.xattr in star(5); sparse files of version
 * 0.0 in the GNU tar manual, D.2.1). A record that is not known here is refused.
 */
import type { ByteString } from "./byte-string.ts"
import type { Xattr } from "./entry.ts"
import { quoted, TarFault } from "./tar-fault.ts"

const XATTR = "SCHILY.xattr."

export type PaxRecords = {
  path: ByteString | null
  linkPath: ByteString | null
  size: number | null
  uid: number | null
  gid: number | null
  mtimeNs: bigint | null
  xattrs: Xattr[]
  sparse: SparseMap | null
}
export type SparseMap = { size: number; blocks: number; offsets: number[]; lengths: number[] }

export function noRecords(): PaxRecords {
  return { path: null, linkPath: null, size: null, uid: null, gid: null, mtimeNs: null, xattrs: [], sparse: null }
}

/** Reads `LENGTH KEYWORD=VALUE\n` records; `canonical` is the same records with the xattrs last, sorted. */
export function parsePax(body: Buffer): { records: PaxRecords; canonical: Buffer } {
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
