/** Which site's catalog an image's name leads to: `SITE/NAME` to that of a federated site, anything else to the own one's. */
import { resolveImage, type Catalog, type ResolveOptions } from "#trust/catalog.ts"
import { refOf, type Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, imageName, type ImageName, type ImageQuery, type QueriedName } from "#core/identifiers.ts"
import type { FederatedCatalogs } from "./federated-catalogs.ts"

export type ImageSources = {
  /** The newest of the own site. */
  readonly own: Catalog
  readonly federated: Pick<FederatedCatalogs, "sites" | "catalogOf" | "mayHave" | "isMirrored" | "holdingSites">
}

/** A manifest and the catalog that it is signed in. */
export type FoundImage = { readonly catalog: Catalog; readonly manifest: Manifest }
export type NamedImage = FoundImage & {
  /** The tag by which it was asked for; null where a version was named, or the newest is meant. */
  readonly tag: string | null
}

/**
 * Behind the colon may stand a tag.
 * @throws {GridError} IMAGE_UNKNOWN, SITE_UNKNOWN; IMAGE_RETIRED, unless those are to be shown
 */
export function findImage(sources: ImageSources, query: ImageQuery, options: ResolveOptions = {}): NamedImage {
  const { catalog, name } = findCatalog(sources, query.name)
  const { version } = query
  const manifest = resolveImage(catalog, { name, version }, options)
  return { catalog, manifest, tag: version === null || version === manifest.version ? null : version }
}

/**
 * The catalog that a name leads to, and the name that the image has there. A name that begins with the own site's, or that of a site with which there is
 * an agreement, is of that site: no image of the own site is published under such a name (`requireOwnName`).
 * @throws {GridError} IMAGE_UNKNOWN for a name that is not shared, SITE_UNKNOWN
 */
export function findCatalog({ own, federated }: ImageSources, name: QueriedName): { readonly catalog: Catalog; readonly name: ImageName } {
  const slash = name.indexOf("/")
  const first = name.slice(0, Math.max(slash, 0))
  const isOther = federated.sites().some(({ agreement }) => agreement.site === first)
  const catalog = isOther ? federated.catalogOf(first) : own
  const inSite = isOther || first === own.site.site ? name.slice(slash + 1) : name
  if (isOther && !federated.mayHave(first, inSite, own.site.site))
    throw new GridError("IMAGE_UNKNOWN", `${name}; ${first} shares no image of this name with ${own.site.site} ('imagegrid federate list')`)
  return { catalog, name: imageName(inSite) }
}

/** `NAME:VERSION`, with the site before it where that is not the own one. */
export function formatImage(manifest: Pick<Manifest, "site" | "name" | "version">, ownSite: string): string {
  return `${manifest.site === ownSite ? "" : `${manifest.site}/`}${formatImageRef(refOf(manifest))}`
}

/** @throws {GridError} NAME_INVALID for a name that would be taken for another site's */
export function requireOwnName({ own, federated }: ImageSources, name: ImageName): void {
  const [first = ""] = name.split("/")
  const sites = [own.site.site, ...federated.sites().map(({ agreement }) => agreement.site)]
  if (name.includes("/") && sites.includes(first))
    throw new GridError("NAME_INVALID", `${name} begins with the name of a site, and means an image of that site; choose another name`)
}

/** @throws {GridError} CATALOG_EXPIRED */
export function requireFresh(catalog: Catalog, nowMs: number): Catalog {
  if (catalog.expiresAtMs > nowMs) return catalog
  throw new GridError(
    "CATALOG_EXPIRED",
    `the newest of site ${catalog.site.site} that could be had expired at ${new Date(catalog.expiresAtMs).toISOString()}, and the clock here says ` +
      `${new Date(nowMs).toISOString()}; check that a server of the site runs and can be reached, and this clock`,
  )
}
