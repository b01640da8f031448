/** Which versions of an image are in use, and which of them a site's rules retire. Pure. */
import { refOf, type Grants, type Manifest, type SiteDocument } from "#core/documents.ts"
import { formatImageRef } from "#core/identifiers.ts"
import { isOfPattern } from "#core/name-patterns.ts"
import type { Catalog } from "./catalog.ts"
import { tagsNaming } from "./tags.ts"

/** Unix ms when the version was taken out of use; null while it is in use. */
export function retiredAtMs(catalog: Pick<Catalog, "grants">, manifest: Pick<Manifest, "name" | "version">): number | null {
  return catalog.grants.get(formatImageRef(refOf(manifest)))?.retiredAtMs ?? null
}

/** Those that servers hold and clients deploy. */
export function imagesInUse(catalog: Pick<Catalog, "images" | "grants">): Manifest[] {
  return [...catalog.images.values()].filter((manifest) => retiredAtMs(catalog, manifest) === null)
}

/** How many versions of this image stay in use, pinned and tagged ones not counted; null where no rule says. */
export function keepLastOf({ retention }: Pick<SiteDocument, "retention">, imageName: string): number | null {
  return retention.find(({ names }) => names.some((pattern) => isOfPattern(imageName, pattern)))?.keepLast ?? null
}

/** The versions, as their documents of grants, that are to be retired once one more version of an image is published. Pinned ones and those that a tag names stay, and count for nothing. */
export function outlived(catalog: Pick<Catalog, "images" | "grants" | "tags" | "site">, imageName: string): Grants[] {
  const keepLast = keepLastOf(catalog.site, imageName)
  if (keepLast === null) return []
  const versions = imagesInUse(catalog)
    .filter(({ name }) => name === imageName)
    .sort((a, b) => b.publishedAtMs - a.publishedAtMs || (a.version < b.version ? 1 : -1))
    .flatMap((manifest) => catalog.grants.get(formatImageRef(refOf(manifest))) ?? [])
  return versions.filter((one) => !one.pinned && tagsNaming(catalog, one).length === 0).slice(keepLast - 1)
}
