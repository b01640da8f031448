/** The images of which not every server has a copy: those that a placement rule of their site names. Pure. */
import type { MemberId } from "#core/identifiers.ts"
import { formatImageRef } from "#core/identifiers.ts"
import { refOf, type Manifest, type SiteDocument } from "#core/documents.ts"
import { isOfPattern } from "#core/name-patterns.ts"
import type { RosterServer } from "#grid/core/placement.ts"
import type { ImageId, ImageUnit } from "#grid/core/repair-events.ts"
import type { ImageSources } from "#member/image-sources.ts"
import { imagesInUse } from "#trust/retention.ts"

export type PlacedImage = { readonly manifest: Manifest; readonly unit: ImageUnit }

/** `SITE/NAME:VERSION`, whichever site is the own one. */
export function imageIdOf(manifest: Pick<Manifest, "site" | "name" | "version">): ImageId {
  return `${manifest.site}/${formatImageRef(refOf(manifest))}`
}

/** Null where every server that may hold the image does. */
export function ruleOf(document: Pick<SiteDocument, "placement">, imageName: string): SiteDocument["placement"][number] | null {
  return document.placement.find(({ names }) => names.some((pattern) => isOfPattern(imageName, pattern))) ?? null
}

/**
 * Of the own site, and of others where this one mirrors them. Servers of sites that don't take part hold none: to the goal they are refused. All
 * servers that know the same documents find the same goals.
 */
export function placedImages({ own, federated }: ImageSources, roster: readonly RosterServer[]): Map<ImageId, PlacedImage> {
  const catalogs = [own, ...federated.sites().flatMap(({ catalog, inForce }) => (inForce && catalog !== null ? [catalog] : []))]
  const placed = new Map<ImageId, PlacedImage>()
  for (const catalog of catalogs)
    for (const manifest of imagesInUse(catalog)) {
      const rule = ruleOf(catalog.site, manifest.name)
      const sites = rule === null ? [] : federated.holdingSites(manifest.site, manifest.name)
      if (rule === null || !sites.includes(own.site.site)) continue
      const outside = roster.filter(({ site }) => !sites.includes(site)).map(({ memberId }) => memberId)
      const sealedBytes = manifest.layers.reduce((sum, layer) => sum + layer.sealedBytes, 0)
      const { copies, sites: siteCount, pins, refuse } = rule
      const goal = { copies, sites: siteCount, pins: pins as MemberId[], refuse: [...(refuse as MemberId[]), ...outside] }
      const image = imageIdOf(manifest)
      placed.set(image, { manifest, unit: { image, sealedBytes, goal } })
    }
  return placed
}
