/**
 * A catalog as one file: an uncompressed tar of plain files, in memory on both ends. Equal catalogs have equal bytes, so that
 * servers that never spoke seed the same torrent; what is not exactly those bytes is refused.
 */
import { Header } from "tar"
import { GridError } from "#core/errors.ts"
import { CATALOG_BYTES_MAX } from "#core/wire.ts"

/** A site's signed metadata and documents, by path. */
export type CatalogFiles = ReadonlyMap<string, Buffer>

export const ROOT_PATH = (version: number): string => `metadata/${version}.root.json`
/** Of every role but root, whose versions are all kept. */
export const METADATA_PATH = (role: string): string => `metadata/${role}.json`
/** Documents stand below it, at their core/documents.ts `targetPath`. */
export const TARGET_PREFIX = "targets/"

const PATH_FORM =
  /^(metadata\/([1-9][0-9]{0,3}\.root|[a-z0-9][a-z0-9-]{0,62})\.json|targets\/(site|(images|grants)(\/[a-z0-9][a-z0-9._-]*){2,5}|tags(\/[a-z0-9][a-z0-9._-]*){1,4})\.json)$/
const BLOCK_BYTES = 512
/** Of a header's fields (ustar). */
const [NAME_BYTES, SIZE_AT, SIZE_BYTES, PREFIX_AT, PREFIX_BYTES] = [100, 124, 12, 345, 155]
/** POSIX ends an archive with two empty blocks. */
const END_BYTES = 2 * BLOCK_BYTES
const ZEROS = Buffer.alloc(END_BYTES)

/** The one form of these files as bytes: sorted by path, without owners, modes or times of their own. */
export async function packCatalog(files: CatalogFiles): Promise<Buffer> {
  return (await repackCatalog(files)).bytes
}

/** The same, and the files as parts of those bytes: whoever keeps both keeps the content once. */
export async function repackCatalog(files: CatalogFiles): Promise<{ readonly bytes: Buffer; readonly files: CatalogFiles }> {
  const sorted = [...files].sort(([a], [b]) => (a < b ? -1 : 1))
  const lengths = sorted.map(([, content]) => BLOCK_BYTES + content.length + paddingOf(content.length))
  const bytes = Buffer.alloc(lengths.reduce((sum, length) => sum + length, END_BYTES))
  const parts = new Map<string, Buffer>()
  let at = 0
  for (const [path, content] of sorted) {
    if (!writeHeader(bytes.subarray(at, at + BLOCK_BYTES), path, content.length))
      throw new TypeError(`${JSON.stringify(path.slice(0, 300))} is no path of a catalog`)
    at += BLOCK_BYTES
    content.copy(bytes, at)
    parts.set(path, bytes.subarray(at, at + content.length))
    at += content.length + paddingOf(content.length)
  }
  return { bytes, files: parts }
}

/**
 * Takes apart bytes of any origin. What the files say is not looked at. They are parts of the bytes given, which are not to be changed any more.
 * @throws {GridError} CATALOG_INVALID
 */
export async function unpackCatalog(bytes: Uint8Array): Promise<CatalogFiles> {
  if (bytes.length > CATALOG_BYTES_MAX) refuse(`${bytes.length} bytes, at most ${CATALOG_BYTES_MAX} are taken`)
  const archive = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const files = new Map<string, Buffer>()
  const expected = Buffer.alloc(BLOCK_BYTES)
  let [at, last] = [0, ""]
  while (at + BLOCK_BYTES <= archive.length - END_BYTES) {
    const header = archive.subarray(at, at + BLOCK_BYTES)
    const { path, size } = readHeader(header)
    // Names twice, long forms, owners, modes, bytes in the padding: whatever else a tar may say, a catalog's does not.
    if (!writeHeader(expected.fill(0), path, size) || !expected.equals(header)) refuse(`at byte ${at} stands no plain file of a catalog`)
    if (path <= last) refuse(`${path} is out of order`)
    last = path
    at += BLOCK_BYTES
    const end = at + size
    if (end > archive.length - END_BYTES) refuse(`${path} is cut off`)
    files.set(path, archive.subarray(at, end))
    at = end + paddingOf(size)
    if (!isZero(archive.subarray(end, at))) refuse(`bytes follow ${path}`)
  }
  if (at !== archive.length - END_BYTES || !isZero(archive.subarray(at))) refuse("not in the one form that a catalog has")
  return files
}

/** What a header says; only one that is just as it would be written is to be believed. */
function readHeader(header: Buffer): { readonly path: string; readonly size: number } {
  const text = (from: number, bytes: number) => header.toString("latin1", from, from + bytes).replace(/\0.*$/s, "")
  const prefix = text(PREFIX_AT, PREFIX_BYTES)
  const name = text(0, NAME_BYTES)
  return { path: prefix === "" ? name : `${prefix}/${name}`, size: Number.parseInt(text(SIZE_AT, SIZE_BYTES), 8) || 0 }
}

/** Writes the header of a plain file into a block of zeros; false where it can't be one of a catalog. */
function writeHeader(block: Buffer, path: string, size: number): boolean {
  if (!PATH_FORM.test(path)) return false
  const header = new Header({ path, type: "File", size, mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) })
  return !header.encode(block)
}

/** Of at most as many bytes as end an archive. */
function isZero(bytes: Buffer): boolean {
  return bytes.equals(ZEROS.subarray(0, bytes.length))
}

function paddingOf(size: number): number {
  return (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES
}

function refuse(detail: string): never {
  throw new GridError("CATALOG_INVALID", `catalog file: ${detail}`)
}
