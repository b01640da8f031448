/** Catalogs as a thief of the online keys signs them. */
import { METADATA_PATH, packCatalog, type CatalogFiles } from "../../trust/catalog-file.ts"
import { listedFile, signMetadata, type SignedBody } from "../../trust/metadata.ts"
import { onlineBodies, type OnlineSeeds } from "../../trust/online-roles.ts"

const HIGHEST = 2 ** 31 - 1

/** The catalog under the highest version that there is. */
export async function forgedByThief(files: CatalogFiles, seeds: OnlineSeeds): Promise<Buffer> {
  const { snapshot, timestamp } = onlineBodies(files)
  const snapshotBytes = signMetadata<"snapshot">({ ...snapshot, version: HIGHEST }, [seeds.snapshotSeed])
  const body: SignedBody<"timestamp"> = { ...timestamp, version: HIGHEST, meta: { "snapshot.json": listedFile(HIGHEST, snapshotBytes) } }
  const forged = new Map([...files, [METADATA_PATH("snapshot"), snapshotBytes] as const])
  return packCatalog(forged.set(METADATA_PATH("timestamp"), signMetadata<"timestamp">(body, [seeds.timestampSeed])))
}
