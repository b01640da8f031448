/** Agreements with other sites: each is half of what two sites sign, and counts once the other half is there (core/federation.ts). */
import type { SiteDocument } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { agreementWith } from "#core/federation.ts"
import type { SiteName } from "#core/identifiers.ts"
import { namePattern } from "#core/name-patterns.ts"
import { makeChange, type MadeChange, type MakeChangeParts } from "./make-change.ts"
import type { Offer } from "./offer.ts"
import { currentCatalog } from "./own-server.ts"

export type AgreementTerms = {
  /** Patterns of own images that the other site's members may have. */
  readonly shares: readonly string[]
  /** Patterns of the other site's images that servers of this one keep copies of. */
  readonly mirrors: readonly string[]
}

/**
 * Agrees to what a site offered, or changes the terms of an agreement with it. The same root again: another one under the same name is another site.
 * @throws {GridError} USAGE, NAME_INVALID; as makeChange
 */
export async function acceptOffer(parts: MakeChangeParts, offer: Offer, terms: AgreementTerms): Promise<MadeChange> {
  const { site: own, images } = await currentCatalog(parts)
  const { site, authorities } = offer.catalog.site
  for (const pattern of [...terms.shares, ...terms.mirrors]) namePattern(pattern)
  if (site === own.site)
    throw new GridError("USAGE", `the offer is of a site called ${site}, as this one is; two sites of one name can't federate`)
  const before = agreementWith(own, site)
  if (before !== null && before.rootDigest !== offer.rootDigest)
    throw new GridError(
      "USAGE",
      `this site has an agreement with another ${site}, whose root digest is ${before.rootDigest}; end that first: 'imagegrid federate remove ${site} --forget'`,
    )
  const taken = [...images.values()].find(({ name }) => name.startsWith(`${site}/`))
  if (taken !== undefined)
    throw new GridError("NAME_INVALID", `this site has an image ${taken.name}, which would mean an image of site ${site} from then on`)
  const agreement = {
    site,
    rootDigest: offer.rootDigest,
    authorities,
    servers: offer.servers,
    shares: [...terms.shares],
    mirrors: [...terms.mirrors],
    endedAtMs: null,
  }
  return makeChange(parts, () => ({
    site: (document) => ({ ...document, federation: [...others(document, site), agreement] }),
  }))
}

/**
 * Ends an agreement. It stays in the document as ended, so that the other site's servers may come to read that; `forget` takes it out, and they are
 * not admitted at all from then on.
 * @throws {GridError} SITE_UNKNOWN; as makeChange
 */
export async function endAgreement(parts: MakeChangeParts, site: SiteName, options: { readonly forget: boolean }): Promise<MadeChange> {
  const { site: own } = await currentCatalog(parts)
  const agreement = agreementWith(own, site)
  if (agreement === null || (agreement.endedAtMs !== null && !options.forget))
    throw new GridError(
      "SITE_UNKNOWN",
      agreement === null ? `${site}; there is no agreement with it` : `${site}; the agreement was ended before, and --forget takes it out`,
    )
  const kept = options.forget ? [] : [{ ...agreement, shares: [], mirrors: [], endedAtMs: parts.clock.nowMs() }]
  return makeChange(parts, () => ({
    site: (document) => ({ ...document, federation: [...others(document, site), ...kept] }),
  }))
}

function others(document: SiteDocument, site: string): SiteDocument["federation"] {
  return document.federation.filter((agreement) => agreement.site !== site)
}
