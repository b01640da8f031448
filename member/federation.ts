/** Keeps this member in step with the other sites that its own has agreements with: fetches their catalogs, and admits their members. */
import type { Admission } from "#crypto/admission.ts"
import { address, type Address } from "#core/address.ts"
import type { Agreement } from "#core/documents.ts"
import { reasonOf } from "#core/errors.ts"
import { agreementWith } from "#core/federation.ts"
import { CATALOG_BYTES_MAX, federatedCatalogPath, readCatalogSeq, routes } from "#core/wire.ts"
import type { ApiClient } from "./api-client.ts"
import { authoritiesOf } from "./catalog-keeper.ts"
import { FederatedCatalogs, type FederatedCatalogsParts } from "./federated-catalogs.ts"
import { distinct, type ServerDirectory, type Service } from "./server-directory.ts"

export type FederationParts = FederatedCatalogsParts & {
  readonly admission: Admission
  readonly api: ApiClient
  readonly directory: ServerDirectory
}

export class Federation {
  readonly #parts: FederationParts
  readonly catalogs: FederatedCatalogs
  readonly #listeners = new Set<() => void>()
  /** Changes happen one after another. */
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(parts: FederationParts, catalogs: FederatedCatalogs) {
    this.#parts = parts
    this.catalogs = catalogs
  }

  static async open(parts: FederationParts): Promise<Federation> {
    const federation = new Federation(parts, await FederatedCatalogs.open(parts))
    federation.#admit()
    return federation
  }

  /** Calls `listener` after every change of another site's catalog or of an agreement. Returns how to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The own catalog has changed: agreements may have come or gone. */
  async follow(): Promise<void> {
    // First of all: who is named no more is admitted no more.
    this.#changed()
    await this.#inTurn(() => this.catalogs.forgetOthers())
  }

  /** As FederatedCatalogs.consider. @throws {GridError} CATALOG_*, SITE_UNKNOWN */
  async consider(site: string, bytes: Buffer): Promise<boolean> {
    const better = await this.#inTurn(() => this.catalogs.consider(site, bytes))
    if (!better) return false
    const catalog = this.catalogs.newest(site)
    this.#parts.log.info({ site, seq: catalog?.seq, images: catalog?.images.size }, "catalog of a federated site taken")
    this.#changed()
    return true
  }

  /**
   * Looks for newer catalogs of all sites: a server asks theirs; everyone else asks the own servers, and theirs only where none of those has one.
   * Never throws for a server's sake.
   */
  async refresh(signal?: AbortSignal): Promise<void> {
    const { federation } = this.#parts.own().site
    await Promise.allSettled(federation.map(({ site }) => this.refreshSite(site, signal)))
  }

  /** Where servers of another site may answer: those that are known, newest word first, then those that the agreement names. */
  contactsOf(agreement: Agreement, service: Service): Address[] {
    const known = this.#parts.directory.addresses(service, undefined, agreement.site)
    return distinct([...known, ...agreement.servers.map((server) => address(server[service]))])
  }

  async close(): Promise<void> {
    await this.#turn
  }

  /** The same for one site; nothing, where there is no agreement with it. */
  async refreshSite(site: string, signal?: AbortSignal): Promise<void> {
    const { home, log, directory, own } = this.#parts
    const agreement = agreementWith(own().site, site)
    if (agreement === null) return
    const failures: unknown[] = []
    const attempt = async (source: () => Promise<void>): Promise<boolean> => {
      try {
        await source()
        return true
      } catch (error) {
        failures.push(error)
        return false
      }
    }
    const ownServers = home.role === "server" ? [] : directory.contacts("api")
    const fromOwn = async (server: Address) => {
      await this.consider(site, await this.#ask(server, { path: federatedCatalogPath(site) }, signal))
    }
    const fromTheirs = async (server: Address) => {
      if (await this.#hasNewer(server, site, signal))
        await this.consider(site, await this.#ask(server, { path: routes.catalog, site }, signal))
    }
    for (const server of ownServers) if (await attempt(() => fromOwn(server))) return
    for (const server of this.contactsOf(agreement, "api")) if (await attempt(() => fromTheirs(server))) return
    for (const failure of failures) log.info({ site, reason: reasonOf(failure) }, "source of a federated site's catalog failed")
  }

  #ask(server: Address, request: { readonly path: string; readonly site?: string }, signal?: AbortSignal): Promise<Buffer> {
    return this.#parts.api.bytes(server, { ...request, maxBytes: CATALOG_BYTES_MAX, ...(signal && { signal }) })
  }

  async #hasNewer(server: Address, site: string, signal?: AbortSignal): Promise<boolean> {
    const kept = this.catalogs.newest(site)
    const request = { path: routes.catalogSeq, site, ...(signal && { signal }) }
    const { catalogSeq } = await this.#parts.api.json(server, request, readCatalogSeq)
    // One without images may have been given while the agreement was not in force.
    return kept === null || catalogSeq > kept.seq || kept.scope === "site"
  }

  #changed(): void {
    this.#admit()
    for (const listener of this.#listeners) listener()
  }

  /** Whoever the own document names may knock; what is for whom, `mayHave` and the API's routes say. */
  #admit(): void {
    const federated = this.catalogs
      .sites()
      .map(({ agreement: { site, authorities }, catalog }) =>
        catalog === null
          ? { site, authorities: authorities.map((der) => Buffer.from(der, "base64")), revoked: [] }
          : { site, authorities: authoritiesOf(catalog), revoked: catalog.site.revoked },
      )
    this.#parts.admission.update({ federated })
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {})
    return done
  }
}
