/** A change's file as the commands meet it: read from where the person names it, and held against the site that they know. */
import { access } from "node:fs/promises"
import { GridError, systemErrorCode } from "#core/errors.ts"
import type { Home } from "#member/home.ts"
import { readBounded } from "#store/atomic-file.ts"
import { rootDigest } from "#trust/catalog.ts"
import { CHANGE_FILE_BYTES_MAX, decodeChange, type CarriedChange } from "#trust/change-file.ts"

/**
 * @param home whose site it must be of; null where only a person can tell, by the root digest
 * @throws {GridError} CHANGE_MISSING, CATALOG_INVALID
 */
export async function readChange(file: string, home: Pick<Home, "directory" | "rootDigest"> | null): Promise<CarriedChange> {
  const carried = decodeChange(await bytesOf(file))
  const digest = rootDigest(carried.files)
  if (home !== null && digest !== home.rootDigest)
    throw new GridError(
      "CATALOG_INVALID",
      `${file} follows root ${digest}, and the site of ${home.directory} begins at ${home.rootDigest}: it is another site's, or a forgery; don't sign it`,
    )
  return carried
}

/** So that a change on which signatures were gathered is not written over. @throws {GridError} OUTPUT_EXISTS */
export async function requireNoFile(file: string): Promise<void> {
  const exists = await access(file).then(
    () => true,
    () => false,
  )
  if (exists) throw new GridError("OUTPUT_EXISTS", `${file}; name another file, or remove it`)
}

async function bytesOf(file: string): Promise<Buffer> {
  try {
    return await readBounded(file, CHANGE_FILE_BYTES_MAX)
  } catch (cause) {
    if (systemErrorCode(cause) !== "ENOENT") throw cause
    throw new GridError("CHANGE_MISSING", `${file}; name the file that 'imagegrid trust propose' or another command wrote`, { cause })
  }
}
