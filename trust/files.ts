/** Looking into the files of a repository. Nothing is verified here. */
import { readSiteDocument, targetPath, type ImageDocument, type SiteDocument } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { parseJson } from "#core/schema.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "./catalog-file.ts"
import { METADATA_BYTES_MAX, readMetadata, type SignedBody } from "./metadata.ts"

/** A catalog with as many roots as this would be some rotation run wild. */
const ROOTS_MAX = 1_000

/** @throws {GridError} CATALOG_INVALID */
export function fileOf(files: CatalogFiles, path: string): Buffer {
  const bytes = files.get(path)
  if (bytes === undefined) throw new GridError("CATALOG_INVALID", `${path} is missing`)
  return bytes
}

/** The highest version of the root metadata; the roots stand one after another from 1. */
export function countRoots(files: CatalogFiles): number {
  let count = 0
  while (count < ROOTS_MAX && files.has(ROOT_PATH(count + 1))) count++
  return count
}

export function newestRoot(files: CatalogFiles): SignedBody<"root"> {
  return readMetadata("root", fileOf(files, ROOT_PATH(Math.max(1, countRoots(files)))))
}

export function targetsOf(files: CatalogFiles): SignedBody<"targets"> {
  return readMetadata("targets", fileOf(files, METADATA_PATH("targets")))
}

export function publisherFileOf(files: CatalogFiles, role: string): SignedBody<"publisher"> {
  return readMetadata("publisher", fileOf(files, METADATA_PATH(role)), role)
}

export function siteDocumentOf(files: CatalogFiles): SiteDocument {
  const bytes = fileOf(files, TARGET_PREFIX + targetPath.site)
  return readSiteDocument(parseJson(bytes, METADATA_BYTES_MAX, "CATALOG_INVALID", targetPath.site))
}

/** What of a repository says who speaks for the site: all but what publishers signed. */
export function siteScope(files: CatalogFiles): CatalogFiles {
  const roots = Array.from({ length: countRoots(files) }, (_, before) => ROOT_PATH(before + 1))
  const others = ["timestamp", "snapshot", "targets"].map(METADATA_PATH)
  return new Map([...roots, ...others, TARGET_PREFIX + targetPath.site].map((path) => [path, fileOf(files, path)]))
}

/** A document as it is signed and stored. */
export function documentBytes(document: SiteDocument | ImageDocument): Buffer {
  return Buffer.from(`${JSON.stringify(document)}\n`)
}
