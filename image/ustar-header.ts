/** The 512 bytes in front of each entry (POSIX.1-2017, "ustar Interchange Format"), with what a pax header adds to them. */
import type { Sha256 } from "#core/identifiers.ts"
import type { ByteString } from "./byte-string.ts"
import type { Entry, EntryKind } from "./entry.ts"
import type { PaxRecords } from "./pax-records.ts"
import { quoted, TarFault } from "./tar-fault.ts"

export const BLOCK_BYTES = 512

export function entryOf(block: Buffer, kind: EntryKind, pax: PaxRecords): Entry {
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

export function kindOf(type: number | undefined): EntryKind {
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

export function octal(block: Buffer, from: number, length: number, what: string): number {
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

export function requireChecksum(block: Buffer): void {
  let sum = 8 * 0x20
  for (let at = 0; at < 148; at += 1) sum += block[at] ?? 0
  for (let at = 156; at < BLOCK_BYTES; at += 1) sum += block[at] ?? 0
  if (sum !== octal(block, 148, 8, "checksum")) throw new TarFault("a header does not match its checksum")
}
