/** The catalog as this home last kept it: verified from the site's root, whatever its age. */
import { openCatalog, type Catalog } from "#trust/catalog.ts"
import { unpackCatalog } from "#trust/catalog-file.ts"
import { CATALOG_BYTES_MAX } from "#core/wire.ts"
import type { Home } from "./home.ts"

export type StoredCatalog = { readonly catalog: Catalog; readonly bytes: Buffer }

/** As it was read last of each home: a command looks more than once, and mostly it is the same one. */
const lastRead = new WeakMap<Home, StoredCatalog>()

/** @throws {GridError} CATALOG_INVALID, HOME_INVALID */
export async function storedCatalog(home: Home, nowMs: number): Promise<StoredCatalog> {
  const bytes = await home.catalogBytes(CATALOG_BYTES_MAX)
  const last = lastRead.get(home)
  if (last?.bytes.equals(bytes) === true) return last
  const options = { expiry: "ignore", ...(last && { known: last.catalog.files }) } as const
  const stored = { catalog: openCatalog(await unpackCatalog(bytes), { rootDigest: home.rootDigest }, nowMs, options), bytes }
  lastRead.set(home, stored)
  return stored
}
