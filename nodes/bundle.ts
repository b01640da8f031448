/**
 * Images in one file, for sites that no network reaches: an uncompressed tar of plain files, `catalogs/SITE.tar` and `layers/INFOHASH/{info,layer.age}`.
 * Nothing in it is secret that was not before, and nothing is believed: the catalogs are verified from the roots that are trusted where it is
 * taken in, and the layers by the manifests in those.
 */
import { createReadStream, type Stats } from "node:fs"
import { Transform } from "node:stream"
import { pipeline } from "node:stream/promises"
import * as tar from "tar"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { diskFull, isDiskFull } from "#store/disk-full.ts"

/** Every path that a bundle may have. */
const ENTRY = /^(catalogs\/[a-z0-9][a-z0-9-]{0,62}\.tar|layers\/[0-9a-f]{40}\/(info|layer\.age))$/
/** More than any real bundle has. */
const ENTRIES_MAX = 100_000

export const CATALOGS = "catalogs"
export const LAYERS = "layers"

/** Of reading or writing one. */
export type BundleWork = {
  readonly signal: AbortSignal
  readonly onProgress: (progress: { readonly bytes: number; readonly totalBytes: number }) => void
}

/**
 * Unpacks a bundle of any origin into an empty directory. Nothing of it is verified but the form.
 * @throws {GridError} BUNDLE_INVALID, DISK_FULL
 */
export async function unpackBundle(file: string, directory: string, { signal, onProgress }: BundleWork, totalBytes: number): Promise<void> {
  const seen = new Set<string>()
  const strangers: string[] = []
  const wanted = (path: string, entry: tar.ReadEntry | Stats): boolean => {
    const plain = "type" in entry && entry.type === "File"
    if (!plain || !ENTRY.test(path) || seen.has(path) || seen.size >= ENTRIES_MAX) {
      strangers.push(path.slice(0, 200))
      return false
    }
    seen.add(path)
    return true
  }
  try {
    const unpack = tar.extract({ cwd: directory, strict: true, filter: wanted, preservePaths: false, noChmod: true, noMtime: true })
    await pipeline(
      createReadStream(file),
      meter((bytes) => onProgress({ bytes, totalBytes })),
      unpack,
      { signal },
    )
  } catch (error) {
    signal.throwIfAborted()
    if (isDiskFull(error)) throw await diskFull(directory, totalBytes, error)
    if (systemErrorCode(error) === "ENOENT" && !(error instanceof Error && "tarCode" in error))
      throw new GridError("SOURCE_MISSING", `${file}; name the file that 'imagegrid export' wrote`, { cause: error })
    throw new GridError("BUNDLE_INVALID", `${file} is not an export, or is damaged; copy it again`, { cause: error })
  }
  const [stranger] = strangers
  if (stranger !== undefined)
    throw new GridError("BUNDLE_INVALID", `${file} holds ${JSON.stringify(stranger)}, which no export does; nothing was taken`)
  if (![...seen].some((path) => path.startsWith(`${CATALOGS}/`)))
    throw new GridError("BUNDLE_INVALID", `${file} holds no catalog; nothing was taken`)
}

/** Passes bytes on and tells how many they are by now. */
export function meter(passed: (bytes: number) => void): Transform {
  let bytes = 0
  return new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      bytes += chunk.length
      passed(bytes)
      done(null, chunk)
    },
  })
}
