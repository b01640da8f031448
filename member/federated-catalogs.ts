/**
 * Catalogs of the other sites that this one has agreements with, verified from the roots that the own site's document names, on disk; and what they
 * say of who may have which image. As with the own catalog, what is kept only ever moves forward.
 */
import { openCatalog, type Anchor, type Catalog } from "#trust/catalog.ts"
import { METADATA_PATH, unpackCatalog } from "#trust/catalog-file.ts"
import { targetsOf } from "#trust/files.ts"
import type { Clock } from "#core/clock.ts"
import type { Agreement } from "#core/documents.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import { agreementWith, isInForce, isMirrored, mayHave, type Side } from "#core/federation.ts"
import { CATALOG_BYTES_MAX } from "#core/wire.ts"
import type { Home } from "./home.ts"
import type { Log } from "./log.ts"

export type FederatedCatalogsParts = {
  readonly home: Home
  readonly clock: Clock
  readonly log: Log
  /** The own site's newest catalog. */
  readonly own: () => Catalog
}

/** One agreement, as it looks from here. */
export type FederatedSite = {
  readonly agreement: Agreement
  /** The newest that is known of the other site; null before it has been reached for the first time. */
  readonly catalog: Catalog | null
  /** Whether both sites' documents say so. */
  readonly inForce: boolean
}

type Kept = { readonly catalog: Catalog; readonly bytes: Buffer }

export class FederatedCatalogs {
  readonly #parts: FederatedCatalogsParts
  readonly #kept: Map<string, Kept>

  private constructor(parts: FederatedCatalogsParts, kept: Map<string, Kept>) {
    this.#parts = parts
    this.#kept = kept
  }

  /** With what was kept of the sites that the own document names. A damaged file counts as none: it is fetched again. */
  static async open(parts: FederatedCatalogsParts): Promise<FederatedCatalogs> {
    const { home, clock, log } = parts
    const kept = new Map<string, Kept>()
    for (const { site, rootDigest } of parts.own().site.federation)
      try {
        const bytes = await home.federatedCatalog(site, CATALOG_BYTES_MAX)
        if (bytes !== null) kept.set(site, { bytes, catalog: await readFederated(bytes, { rootDigest }, clock.nowMs()) })
      } catch (error) {
        log.warn({ site, reason: reasonOf(error) }, "what was kept of a federated site can't be read; it is fetched again")
      }
    return new FederatedCatalogs(parts, kept)
  }

  /** All agreements of the own document, ended ones too. */
  sites(): FederatedSite[] {
    return this.#parts.own().site.federation.map((agreement) => ({
      agreement,
      catalog: this.newest(agreement.site),
      inForce: this.#inForce(agreement.site),
    }))
  }

  /** Of another site, whether or not the agreement with it is in force; null where none is here. It may have lapsed. */
  newest(site: string): Catalog | null {
    return this.#kept.get(site)?.catalog ?? null
  }

  /** The newest as it is passed on, while the agreement is in force. */
  bytes(site: string): Buffer | null {
    return this.#inForce(site) ? (this.#kept.get(site)?.bytes ?? null) : null
  }

  /** Of a site with which the agreement is in force. It may have lapsed. @throws {GridError} SITE_UNKNOWN, saying why */
  catalogOf(site: string): Catalog {
    const catalog = this.#inForce(site) ? this.newest(site) : null
    if (catalog === null) throw new GridError("SITE_UNKNOWN", this.#whyUnknown(site))
    return catalog
  }

  /** Whether members of `site` may have an image that `owner`, which may be the same, published under this name. */
  mayHave(owner: string, imageName: string, site: string): boolean {
    const [ownerSide, side] = [this.#sideOf(owner), this.#sideOf(site)]
    if (ownerSide === null || side === null) return false
    return owner === site || (isInForce(ownerSide, side) && mayHave(ownerSide.document, site, imageName))
  }

  /** Whether an agreement between two sites, of which one may be the own, is in force as far as is known here. */
  areFederated(site: string, other: string): boolean {
    const [a, b] = [this.#sideOf(site), this.#sideOf(other)]
    return a !== null && b !== null && isInForce(a, b)
  }

  /** Whether servers of the own site keep copies of another one's image. */
  isMirrored(site: string, imageName: string): boolean {
    const theirs = this.#sideOf(site)
    return theirs !== null && isMirrored(this.#ownSide(), theirs, imageName)
  }

  /** The sites whose servers take part in holding an image of `owner`: itself, and those of which it is known that they mirror it. */
  holdingSites(owner: string, imageName: string): string[] {
    const ownerSide = this.#sideOf(owner)
    if (ownerSide === null) return []
    const known = [this.#parts.home.site as string, ...this.#kept.keys()]
    const mirroring = known.filter((site) => {
      const side = site === owner ? null : this.#sideOf(site)
      return side !== null && isMirrored(side, ownerSide, imageName)
    })
    return [owner, ...mirroring]
  }

  /** Drops what is kept of sites that the own document names no more. */
  async forgetOthers(): Promise<void> {
    const { federation } = this.#parts.own().site
    for (const site of this.#kept.keys()) {
      if (federation.some((agreement) => agreement.site === site)) continue
      this.#kept.delete(site)
      await this.#parts.home.removeFederatedCatalog(site)
    }
  }

  /**
   * Takes a catalog of another site if it is better than what is kept; resolves with whether it was, once that is durable. One call at a time.
   * @throws {GridError} CATALOG_*, SITE_UNKNOWN
   */
  async consider(site: string, bytes: Buffer): Promise<boolean> {
    const agreement = agreementWith(this.#parts.own().site, site)
    if (agreement === null) throw new GridError("SITE_UNKNOWN", this.#whyUnknown(site))
    const kept = this.#kept.get(site)
    if (kept?.bytes.equals(bytes) === true) return false
    const anchor = kept === undefined ? { rootDigest: agreement.rootDigest } : { trusted: kept.catalog.files }
    const catalog = await readFederated(bytes, anchor, this.#parts.clock.nowMs())
    if (catalog.site.site !== site) throw new GridError("CATALOG_INVALID", `it is of site ${catalog.site.site}, not ${site}`)
    if (kept !== undefined && !isBetter(catalog, kept.catalog)) return false
    await this.#parts.home.saveFederatedCatalog(site, bytes)
    this.#kept.set(site, { catalog, bytes })
    return true
  }

  #inForce(site: string): boolean {
    const side = this.#sideOf(site)
    return side !== null && isInForce(this.#ownSide(), side)
  }

  #ownSide(): Side {
    return { document: this.#parts.own().site, rootDigest: this.#parts.home.rootDigest }
  }

  #sideOf(site: string): Side | null {
    if (site === this.#parts.home.site) return this.#ownSide()
    const agreement = agreementWith(this.#parts.own().site, site)
    const kept = this.#kept.get(site)
    return agreement === null || kept === undefined ? null : { document: kept.catalog.site, rootDigest: agreement.rootDigest }
  }

  #whyUnknown(site: string): string {
    const agreement = agreementWith(this.#parts.own().site, site)
    if (agreement === null) return `${site}; this site has no agreement with it ('imagegrid federate list')`
    if (agreement.endedAtMs !== null) return `${site}; this site ended the agreement with it`
    if (!this.#kept.has(site)) return `${site}; none of its servers could be reached since the agreement was made`
    return `${site}; its document does not name this site: it has not accepted the agreement, or has ended it`
  }
}

/** Newer, or as new and with images where there were none. */
function isBetter(catalog: Catalog, kept: Catalog): boolean {
  return catalog.seq > kept.seq || (catalog.seq === kept.seq && catalog.scope === "whole" && kept.scope === "site")
}

/** Whole, or without what publishers signed: a site shows the latter to whom it has no agreement in force with. @throws {GridError} CATALOG_* */
async function readFederated(bytes: Buffer, anchor: Anchor, nowMs: number): Promise<Catalog> {
  const files = await unpackCatalog(bytes)
  const whole = targetsOf(files).delegations.roles.every(({ name }) => files.has(METADATA_PATH(name)))
  // What was kept, or came by way of a server of the own site, may have lapsed; whoever uses it looks (`requireFresh`).
  return openCatalog(files, anchor, nowMs, { expiry: "ignore", scope: whole ? "whole" : "site" })
}
