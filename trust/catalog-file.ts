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
/** POSIX ends an archive with two empty blocks. */
const END_BYTES = 2 * BLOCK_BYTES

/** The one form of these files as bytes: sorted by path, without owners, modes or times of their own. */
export async function packCatalog(files: CatalogFiles): Promise<Buffer> {
  const blocks: Buffer[] = []
  for (const [path, bytes] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const block = Buffer.alloc(BLOCK_BYTES)
    const header = new Header({ path, type: "File", size: bytes.length, mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) })
    if (!PATH_FORM.test(path) || header.encode(block)) throw new TypeError(`${JSON.stringify(path.slice(0, 300))} is no path of a catalog`)
    blocks.push(block, bytes, Buffer.alloc(paddingOf(bytes.length)))
  }
  return Buffer.concat([...blocks, Buffer.alloc(END_BYTES)])
}

/** Takes apart bytes of any origin. What the files say is not looked at. @throws {GridError} CATALOG_INVALID */
export async function unpackCatalog(bytes: Uint8Array): Promise<CatalogFiles> {
  if (bytes.length > CATALOG_BYTES_MAX) refuse(`${bytes.length} bytes, at most ${CATALOG_BYTES_MAX} are taken`)
  const archive = Buffer.from(bytes)
  const files = new Map<string, Buffer>()
  let at = 0
  while (at + BLOCK_BYTES <= archive.length - END_BYTES) {
    const header = readHeader(archive, at)
    const { path, size } = header
    if (!header.cksumValid || header.type !== "File" || path === undefined || !PATH_FORM.test(path) || size === undefined)
      refuse(`at byte ${at} stands no plain file of a catalog`)
    at += BLOCK_BYTES
    if (!Number.isInteger(size) || size < 0 || at + size > archive.length) refuse(`${path} is cut off`)
    files.set(path, archive.subarray(at, at + size))
    at += size + paddingOf(size)
  }
  // Names twice, long forms, modes, bytes in the padding: whatever else a tar may say, a catalog's does not.
  if (!(await packCatalog(files)).equals(archive)) refuse("not in the one form that a catalog has")
  return files
}

function readHeader(archive: Buffer, at: number): Header {
  try {
    return new Header(archive, at)
  } catch (cause) {
    throw new GridError("CATALOG_INVALID", "catalog file: not a tar archive", { cause })
  }
}

function paddingOf(size: number): number {
  return (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES
}

function refuse(detail: string): never {
  throw new GridError("CATALOG_INVALID", `catalog file: ${detail}`)
}
