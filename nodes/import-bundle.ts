/** Brings a bundle from wherever it lies into the server of a home. */
import { mkdir, mkdtemp, rm, stat } from "node:fs/promises"
import { basename, join } from "node:path"
import { GridError, systemErrorCode } from "#core/errors.ts"
import type { BundleTaken } from "#core/wire.ts"
import { unpackBundle } from "./bundle.ts"
import type { BundleParts } from "./export-bundle.ts"
import { submitBundle } from "./own-server.ts"
import { IMPORTING } from "./take-bundle.ts"

/** @throws {GridError} ROLE_WRONG, SOURCE_MISSING, BUNDLE_INVALID, DISK_FULL; as takeBundle */
export async function importBundle(parts: BundleParts, file: string): Promise<BundleTaken> {
  const { home } = parts
  if (home.role === "client")
    throw new GridError("ROLE_WRONG", `${home.directory} is a client's home; import at a server or mirror, and deploy from it`)
  const totalBytes = await sizeOf(file)
  await mkdir(home.path(IMPORTING), { recursive: true, mode: 0o700 })
  const work = await mkdtemp(join(home.path(IMPORTING), "work-"))
  try {
    await unpackBundle(file, work, parts, totalBytes)
    return await submitBundle(parts, basename(work))
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size
  } catch (cause) {
    throw new GridError("SOURCE_MISSING", `${file} (${systemErrorCode(cause)}); name the file that 'imagegrid export' wrote`, { cause })
  }
}
