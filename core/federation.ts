/** What sites let each other have: read from their signed documents, and from nothing else. Pure. */
import type { Agreement, SiteDocument } from "./documents.ts"
import { isOfPattern } from "./name-patterns.ts"

/** What a site's document says of another one; null where it says nothing. */
export function agreementWith(document: Pick<SiteDocument, "federation">, site: string): Agreement | null {
  return document.federation.find((agreement) => agreement.site === site) ?? null
}

/** One side of an agreement: a site as its document says that it is, and the digest of its first root. */
export type Side = { readonly document: Pick<SiteDocument, "site" | "federation">; readonly rootDigest: string }

/** An agreement counts while both documents name the other site, by its root, and neither says that it has ended. */
export function isInForce(a: Side, b: Side): boolean {
  return names(a, b) && names(b, a)
}

function names({ document }: Side, other: Side): boolean {
  const agreement = agreementWith(document, other.document.site)
  return agreement !== null && agreement.rootDigest === other.rootDigest && agreement.endedAtMs === null
}

/**
 * Whether members of `site` may have an image of the site whose document this is: its own may have all, another's what the agreement shares. That
 * the agreement is in force is for the caller to know.
 */
export function mayHave(document: Pick<SiteDocument, "site" | "federation">, site: string, imageName: string): boolean {
  if (site === document.site) return true
  const agreement = agreementWith(document, site)
  return agreement !== null && agreement.endedAtMs === null && agreement.shares.some((pattern) => isOfPattern(imageName, pattern))
}

/** Whether servers of a site keep copies of another one's image of this name: they want it, and may have it. */
export function isMirrored(own: Side, theirs: Side, imageName: string): boolean {
  const agreement = agreementWith(own.document, theirs.document.site)
  if (agreement === null || !isInForce(own, theirs) || !mayHave(theirs.document, own.document.site, imageName)) return false
  return agreement.mirrors.some((pattern) => isOfPattern(imageName, pattern))
}
