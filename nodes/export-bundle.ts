/** Writes a bundle: images that a home holds, with the catalogs of their sites. */
import { createWriteStream } from "node:fs"
import { link, mkdir, mkdtemp, open, rename, rm, writeFile } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { pipeline } from "node:stream/promises"
import * as tar from "tar"
import { packCatalog } from "#trust/catalog-file.ts"
import { GridError } from "#core/errors.ts"
import type { ImageQuery } from "#core/identifiers.ts"
import { FederatedCatalogs } from "#member/federated-catalogs.ts"
import { findImage, formatImage } from "#member/image-sources.ts"
import { syncDirectory, temporaryName } from "#store/atomic-file.ts"
import { diskFull, isDiskFull } from "#store/disk-full.ts"
import { INFO_FILE, LAYER_FILE } from "#store/file-piece-store.ts"
import { LayerStore } from "#store/layer-store.ts"
import { CATALOGS, LAYERS, meter, type BundleWork } from "./bundle.ts"
import { currentCatalog, type OwnServerParts } from "./own-server.ts"

export type BundleParts = OwnServerParts & BundleWork
export type BundleContents = { readonly images: readonly string[]; readonly layers: number; readonly bytes: number }

/**
 * Writes images that this home holds whole, with the catalogs of their sites, into a new file: whole or not at all.
 * @throws {GridError} IMAGE_UNKNOWN, SITE_UNKNOWN, SEEDERS_MISSING for a layer that is not whole here, DISK_FULL
 */
export async function exportBundle(parts: BundleParts, queries: readonly ImageQuery[], file: string): Promise<BundleContents> {
  const { home } = parts
  const own = await currentCatalog(parts)
  const federated = await FederatedCatalogs.open({ ...parts, own: () => own })
  const found = queries.map((query) => findImage({ own, federated }, query))
  const layers = new Map(found.flatMap(({ manifest }) => manifest.layers.map((layer) => [layer.infohash, layer])))
  await mkdir(home.path("exporting"), { recursive: true, mode: 0o700 })
  const work = await mkdtemp(join(home.path("exporting"), "work-"))
  try {
    for (const directory of [CATALOGS, LAYERS]) await mkdir(join(work, directory))
    const paths: string[] = []
    let totalBytes = 0
    for (const site of new Set(found.map(({ manifest }) => manifest.site))) {
      const bytes = site === home.site ? await packCatalog(own.files) : federated.bytes(site)
      if (bytes === null) throw new GridError("SITE_UNKNOWN", `${site}; the agreement with it has ended meanwhile`)
      const path = `${CATALOGS}/${site}.tar`
      await writeFile(join(work, path), bytes)
      paths.push(path)
      totalBytes += bytes.length
    }
    await using store = await LayerStore.open(home.path("layers"))
    for (const { infohash, sealedBytes } of layers.values()) {
      if (!(await store.isWhole(infohash)))
        throw new GridError("SEEDERS_MISSING", `layer ${infohash} is not whole in ${home.directory}; export at a server that holds it`)
      await mkdir(join(work, LAYERS, infohash))
      // Links: a layer that is collected meanwhile stays for the export.
      for (const name of [INFO_FILE, LAYER_FILE]) {
        await link(join(store.directory, infohash, name), join(work, LAYERS, infohash, name))
        paths.push(`${LAYERS}/${infohash}/${name}`)
      }
      totalBytes += sealedBytes
    }
    await pack(parts, work, paths, resolve(file), totalBytes)
    return { images: found.map(({ manifest }) => formatImage(manifest, home.site)), layers: layers.size, bytes: totalBytes }
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

async function pack(
  { signal, onProgress }: BundleParts,
  work: string,
  paths: readonly string[],
  file: string,
  totalBytes: number,
): Promise<void> {
  const unfinished = temporaryName(file)
  try {
    const packed = tar.create({ cwd: work, portable: true, strict: true }, [...paths])
    await pipeline(
      packed,
      meter((bytes) => onProgress({ bytes: Math.min(bytes, totalBytes), totalBytes })),
      createWriteStream(unfinished, { flags: "wx" }),
      { signal },
    )
    const handle = await open(unfinished, "r")
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(unfinished, file)
    await syncDirectory(dirname(file))
  } catch (error) {
    await rm(unfinished, { force: true })
    if (isDiskFull(error)) throw await diskFull(dirname(file), totalBytes, error)
    throw error
  }
}
