/** A publication on its way from a publisher to a server: the newly signed files by path, and what a server asks of them. */
import { readManifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { parseJson } from "#core/schema.ts"
import type { Publication } from "#core/wire.ts"
import type { LayerStore } from "#store/layer-store.ts"
import type { CatalogFiles } from "#trust/catalog-file.ts"

const MANIFEST_BYTES_MAX = 1024 * 1024

export function publicationFiles(publication: Publication): CatalogFiles {
  return new Map(Object.entries(publication.files).map(([path, text]) => [path, Buffer.from(text, "base64")]))
}

export function encodePublication(files: CatalogFiles): Publication {
  return { files: Object.fromEntries([...files].map(([path, bytes]) => [path, bytes.toString("base64")])) }
}

/** A version is announced only when its bytes are here to be had. @throws {GridError} SEEDERS_MISSING, MANIFEST_INVALID */
export async function requireLayersHeld(layers: LayerStore, files: CatalogFiles): Promise<void> {
  for (const [path, bytes] of files) {
    if (!path.startsWith("targets/images/")) continue
    const manifest = readManifest(parseJson(bytes, MANIFEST_BYTES_MAX, "MANIFEST_INVALID", path))
    for (const layer of manifest.layers)
      if (!(await layers.isWhole(layer.infohash)))
        throw new GridError(
          "SEEDERS_MISSING",
          `layer ${layer.infohash} of ${manifest.name}:${manifest.version} is not in this server's store; publish in this server's home`,
        )
  }
}
