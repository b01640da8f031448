/** The catalog as this home last kept it: verified from the site's root, whatever its age. */
import { openCatalog, type Catalog } from "#trust/catalog.ts"
import { unpackCatalog } from "#trust/catalog-file.ts"
import { CATALOG_BYTES_MAX } from "#core/wire.ts"
import type { Home } from "./home.ts"

/** @throws {GridError} CATALOG_INVALID, HOME_INVALID */
export async function storedCatalog(home: Home, nowMs: number): Promise<{ readonly catalog: Catalog; readonly bytes: Buffer }> {
  const bytes = await home.catalogBytes(CATALOG_BYTES_MAX)
  const catalog = openCatalog(await unpackCatalog(bytes), { rootDigest: home.rootDigest }, nowMs, { expiry: "ignore" })
  return { catalog, bytes }
}
