/**
 * Entries as GNU tar would archive them (POSIX.1-2017 pax; xattrs as star(5) has them; sparse files of version 0.0 in the GNU tar manual, D.2.1): what
 * tar-stream.ts reads and GNU tar unpacks. Everything that a plain header may not have room for stands in a pax header.
 */
import { bytesOf, type ByteString } from "./byte-string.ts"
import type { Entry, EntryKind } from "./entry.ts"
import { BLOCK_BYTES } from "./ustar-header.ts"

/** The parts of a file that are stored, in order; what lies between reads as zeros. */
export type StoredParts = readonly { readonly offset: number; readonly length: number }[]

const TYPES: Readonly<Record<EntryKind, string>> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  "char-device": "3",
  "block-device": "4",
  directory: "5",
  fifo: "6",
}
/** Eleven octal digits. */
const HEADER_NUMBER_MAX = 0o77777777777
const HEADER_ID_MAX = 0o7777777
const RECORD_BYTES = 20 * BLOCK_BYTES

/** What stands before an entry's content. `parts`: null where all of a file is stored. */
export function tarHeader(entry: Entry, parts: StoredParts | null): Buffer {
  const storedBytes = entry.kind !== "file" ? 0 : parts === null ? entry.size : parts.reduce((sum, { length }) => sum + length, 0)
  const records = Buffer.from(paxRecords(entry, parts, storedBytes), "latin1")
  const pax = header({
    path: "./PaxHeaders/entry",
    type: "x",
    size: records.length,
    mode: 0o644,
    uid: 0,
    gid: 0,
    seconds: 0,
    link: "",
    device: null,
  })
  const own = header({
    // The names stand in the pax header; these are for whoever reads none.
    path: `./${entry.path}`,
    type: TYPES[entry.kind],
    size: storedBytes,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    seconds: Number(entry.mtimeNs / 1_000_000_000n),
    link: "target" in entry ? linkText(entry) : "",
    device: "major" in entry ? entry : null,
  })
  return Buffer.concat([pax, padded(records), own])
}

/** The zeros after a content of so many bytes. */
export function tarPadding(storedBytes: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (storedBytes % BLOCK_BYTES)) % BLOCK_BYTES)
}

/** The end of an archive of so many bytes. */
export function tarEnd(archiveBytes: number): Buffer {
  const bytes = archiveBytes + 2 * BLOCK_BYTES
  return Buffer.alloc(2 * BLOCK_BYTES + ((RECORD_BYTES - (bytes % RECORD_BYTES)) % RECORD_BYTES))
}

function paxRecords(entry: Entry, parts: StoredParts | null, storedBytes: number): string {
  const records = [
    record("path", `./${entry.path === "." ? "" : entry.path}${entry.kind === "directory" && entry.path !== "." ? "/" : ""}`),
    record("mtime", seconds(entry.mtimeNs)),
    record("uid", String(entry.uid)),
    record("gid", String(entry.gid)),
  ]
  if ("target" in entry) records.push(record("linkpath", linkText(entry)))
  if (storedBytes > HEADER_NUMBER_MAX) records.push(record("size", String(storedBytes)))
  if (entry.kind === "file" && parts !== null) {
    records.push(record("GNU.sparse.size", String(entry.size)), record("GNU.sparse.numblocks", String(parts.length)))
    for (const { offset, length } of parts)
      records.push(record("GNU.sparse.offset", String(offset)), record("GNU.sparse.numbytes", String(length)))
  }
  for (const [name, value] of entry.xattrs)
    records.push(record(`SCHILY.xattr.${name.replaceAll("%", "%25").replaceAll("=", "%3D")}`, value))
  return records.join("")
}

function linkText(entry: Entry & { readonly target: ByteString }): string {
  return entry.kind === "hardlink" ? `./${entry.target}` : entry.target
}

/** `LENGTH KEYWORD=VALUE\n`, the length counting itself. */
function record(keyword: string, value: string): string {
  const rest = ` ${keyword}=${value}\n`
  let length = rest.length + String(rest.length).length
  if (String(length).length !== String(rest.length).length) length = rest.length + String(length).length
  return `${length}${rest}`
}

/** As pax headers have it: `-1.5` is one second and a half before the epoch. */
export function seconds(ns: bigint): string {
  const size = ns < 0n ? -ns : ns
  return `${ns < 0n ? "-" : ""}${size / 1_000_000_000n}.${String(size % 1_000_000_000n).padStart(9, "0")}`
}

type HeaderFields = {
  readonly path: string
  readonly type: string
  readonly size: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly seconds: number
  readonly link: string
  readonly device: { readonly major: number; readonly minor: number } | null
}

function header({ path, type, size, mode, uid, gid, seconds: mtime, link, device }: HeaderFields): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES)
  bytesOf(path as ByteString).copy(block, 0, 0, 100)
  octal(block, 100, 8, mode)
  octal(block, 108, 8, uid > HEADER_ID_MAX ? 0 : uid)
  octal(block, 116, 8, gid > HEADER_ID_MAX ? 0 : gid)
  octal(block, 124, 12, size > HEADER_NUMBER_MAX ? 0 : size)
  octal(block, 136, 12, mtime < 0 || mtime > HEADER_NUMBER_MAX ? 0 : mtime)
  block.write(type, 156, "latin1")
  bytesOf(link as ByteString).copy(block, 157, 0, 100)
  block.write("ustar\x0000", 257, "latin1")
  octal(block, 329, 8, device?.major ?? 0)
  octal(block, 337, 8, device?.minor ?? 0)
  block.write("        ", 148, "latin1")
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1")
  return block
}

function octal(block: Buffer, at: number, length: number, value: number): void {
  block.write(value.toString(8).padStart(length - 1, "0"), at, "latin1")
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, tarPadding(bytes.length)])
}
