/**
 * A member that runs: its certificate, its place in the DHT and in the swarm, the newest catalog and the servers it knows.
 * What servers and clients have in common. Owns all of it: `close()` leaves no socket, timer or unsaved state behind.
 */
import { Admission } from "#crypto/admission.ts"
import type { MemberCertificate } from "#crypto/certificate.ts"
import { address, type Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import type { MemberSecrets } from "#core/wire.ts"
import { LayerStore } from "#store/layer-store.ts"
import { Dht, pointerIn, readDhtState, type PointerItem } from "#swarm/dht.ts"
import { Swarm } from "#swarm/swarm.ts"
import { ApiClient } from "./api-client.ts"
import { authoritiesOf, CatalogKeeper, POINTER_SALT, type RecordChange } from "./catalog-keeper.ts"
import { CatalogWatch } from "./catalog-watch.ts"
import { Federation } from "./federation.ts"
import type { Home } from "./home.ts"
import type { ImageSources } from "./image-sources.ts"
import type { Log } from "./log.ts"
import { networkKeysInForce } from "./network-keys.ts"
import { outdatedOf, renewalDue, renewMembership } from "./renewal.ts"
import { distinct, ServerDirectory } from "./server-directory.ts"
import { storedCatalog } from "./stored-catalog.ts"
import { unitedSecrets } from "./united-secrets.ts"

const DHT_STATE_FILE = "dht.json"
const DHT_STATE_BYTES_MAX = 1024 * 1024
/** How often state is saved and a renewal is considered. */
const UPKEEP_INTERVAL_MS = 60_000
const RENEWALS_SPREAD_MS = 5_000
/** How often a client that runs for long asks for a newer catalog; servers and mirrors exchange theirs more often (nodes/server.ts). */
const NEWS_INTERVAL_MS = 10 * 60_000

export type MemberParts = {
  readonly home: Home
  readonly clock: Clock
  readonly log: Log
  /** Where a server writes down each change of the catalog. */
  readonly recordChange?: RecordChange
}
export type MemberOptions = {
  readonly swarm?: Address
  readonly dht?: Address
  /** For all layers together; null, or left out: as fast as it goes. */
  readonly uploadBytesPerSecondLimit?: number | null
  /** For all members of the site together, to other sites; the same. */
  readonly wanBytesPerSecondLimit?: number | null
  /** `api-only`: neither DHT, swarm nor layers are opened, and the home need not be locked; enough for commands that ask and show. */
  readonly network?: "full" | "api-only"
}

type Network = { readonly swarm: Swarm; readonly dht: Dht; readonly layers: LayerStore; readonly watch: CatalogWatch }

export class Member {
  readonly home: Home
  readonly clock: Clock
  readonly log: Log
  readonly admission: Admission
  readonly api: ApiClient
  readonly directory: ServerDirectory
  readonly catalogs: CatalogKeeper
  /** The sites that the own one has agreements with. */
  readonly federation: Federation
  readonly #network: Network | null
  #certificate: MemberCertificate
  #secrets: MemberSecrets
  /** Those that the DHT goes by. */
  #networkKeys: readonly Buffer[]
  #upkeep: NodeJS.Timeout | null = null
  #renewing: Promise<void> | null = null

  private constructor(
    parts: MemberParts,
    opened: Pick<Member, "admission" | "api" | "directory" | "catalogs" | "federation">,
    network: Network | null,
    certificate: MemberCertificate,
    secrets: MemberSecrets,
  ) {
    this.home = parts.home
    this.clock = parts.clock
    this.log = parts.log
    this.admission = opened.admission
    this.api = opened.api
    this.directory = opened.directory
    this.catalogs = opened.catalogs
    this.federation = opened.federation
    this.#network = network
    this.#certificate = certificate
    this.#secrets = secrets
    this.#networkKeys = networkKeysInForce(secrets, opened.catalogs.catalog.site)
    opened.catalogs.onChange(() => {
      this.#useNetworkKeys()
      opened.federation
        .follow()
        .catch((error: unknown) => this.log.warn({ reason: reasonOf(error) }, "agreements with other sites were not followed"))
    })
    opened.federation.onChange(() => this.#network?.swarm.recheck())
  }

  /** @throws {GridError} ADDRESS_IN_USE, CERTIFICATE_EXPIRED, CERTIFICATE_NOT_YET_VALID, HOME_INVALID */
  static async start(parts: MemberParts, options: MemberOptions = {}): Promise<Member> {
    const { home, clock, log } = parts
    const { catalog, bytes } = await storedCatalog(home, clock.nowMs())
    const certificate = await home.certificate()
    requireCurrent(certificate, clock.nowMs())
    const secrets = await home.secrets()
    const admission = new Admission({
      clock,
      site: home.site,
      authorities: authoritiesOf(catalog),
      revoked: catalog.site.revoked,
      certificateDer: certificate.der,
      signing: home.identity.signing,
    })
    const api = new ApiClient(admission)
    const directory = await ServerDirectory.open(home, admission)
    await using opening = new AsyncDisposableStack()
    const { uploadBytesPerSecondLimit, wanBytesPerSecondLimit } = options
    let opened: Omit<Network, "watch"> | null = null
    if (options.network !== "api-only") {
      const state = await home.readState(DHT_STATE_FILE, DHT_STATE_BYTES_MAX)
      const bootstrap = directory.contacts("dht")
      const dht = opening.adopt(
        await Dht.open(
          { networkKeys: networkKeysInForce(secrets, catalog.site), clock, log },
          { listen: options.dht ?? home.listen.dht, bootstrap, ...(state === null ? {} : { state: readDhtState(state) }) },
        ),
        (open) => open.close(),
      )
      const swarm = opening.adopt(
        await Swarm.listen(
          {
            admission: admission.forSwarm(),
            memberId: home.memberId,
            clock,
            discovery: dht,
            log: { debug: () => undefined, warn: (fields, event) => log.warn(fields, event) },
          },
          {
            listen: options.swarm ?? home.listen.swarm,
            ...(typeof uploadBytesPerSecondLimit === "number" ? { uploadBytesPerSecondLimit } : {}),
            ...(typeof wanBytesPerSecondLimit === "number" ? { wanBytesPerSecondLimit } : {}),
          },
        ),
        (open) => open.close(),
      )
      const layers = opening.adopt(await LayerStore.open(home.path("layers")), (store) => store.close())
      opened = { swarm, dht, layers }
    }
    let member: Member | null = null
    const catalogs = await CatalogKeeper.open(
      {
        home,
        clock,
        log,
        admission,
        api,
        directory,
        network: opened,
        online: () => member?.secrets.online ?? secrets.online ?? null,
        recordChange: parts.recordChange ?? null,
      },
      { catalog, bytes },
    )
    const federation = await Federation.open({ home, clock, log, admission, api, directory, own: () => catalogs.catalog })
    const pointer = await rememberedPointer(home, catalog.site.pointerKey)
    if (pointer !== null) catalogs.heardPointer(pointer)
    const network = opened && { ...opened, watch: new CatalogWatch({ clock, log, catalogs, directory, api, ...opened }) }
    member = new Member(parts, { admission, api, directory, catalogs, federation }, network, certificate, secrets)
    if (network !== null) member.#startUpkeep()
    opening.move()
    return member
  }

  get swarm(): Swarm {
    return this.#open.swarm
  }

  get dht(): Dht {
    return this.#open.dht
  }

  /** Hears of newer catalogs while this member runs. */
  get watch(): CatalogWatch {
    return this.#open.watch
  }

  /** The layers kept in the home; a target's own layers are staged elsewhere. */
  get layers(): LayerStore {
    return this.#open.layers
  }

  get #open(): Network {
    if (this.#network === null) throw new TypeError("this member was started without its network")
    return this.#network
  }

  get certificate(): MemberCertificate {
    return this.#certificate
  }

  /** Keys of the groups that this member is in, and a server's online keys. */
  get secrets(): MemberSecrets {
    return this.#secrets
  }

  /** Where images are looked up. */
  get images(): ImageSources {
    return { own: this.catalogs.catalog, federated: this.federation.catalogs }
  }

  /** All API addresses that may answer, own ones left out. */
  apiAddresses(): Address[] {
    return this.directory.contacts("api")
  }

  /** Swarm addresses of all known servers of the own site, own ones left out, and then of those sites. */
  swarmAddresses(others: readonly string[] = []): Address[] {
    const states = this.federation.catalogs.sites().filter(({ agreement }) => others.includes(agreement.site))
    return distinct([
      ...this.directory.contacts("swarm"),
      ...states.flatMap(({ agreement }) => this.federation.contactsOf(agreement, "swarm")),
    ])
  }

  /** Takes in keys that a command of this home has made meanwhile. */
  async reloadSecrets(): Promise<void> {
    this.#secrets = await this.home.secrets()
    this.#useNetworkKeys()
  }

  /** Renews certificate and secrets at a server of the site; calls while one is under way wait for that. @throws {GridError} as renewMembership */
  renew(): Promise<void> {
    this.#renewing ??= renewMembership(this).finally(() => (this.#renewing = null))
    return this.#renewing
  }

  /** Takes a new certificate and, from a renewal, new secrets; durable before use. */
  async takeMembership(certificate: MemberCertificate, secrets: MemberSecrets | null): Promise<void> {
    if (secrets !== null)
      this.#secrets = await this.home.updateSecrets((held) => (held.online === undefined ? secrets : unitedSecrets(held, secrets)))
    this.#useNetworkKeys()
    await this.home.saveCertificate(certificate.der)
    this.#certificate = certificate
    this.admission.update({ certificateDer: certificate.der })
    this.log.info({ expiresAtMs: certificate.notAfterMs }, "certificate renewed")
  }

  async close(): Promise<void> {
    if (this.#upkeep !== null) clearInterval(this.#upkeep)
    await this.#network?.watch.close()
    await this.catalogs.close()
    await this.federation.close()
    if (this.#network !== null) {
      await this.#saveDhtState()
      await this.#network.swarm.close()
      await this.#network.dht.close()
      await this.#network.layers.close()
    }
  }

  #startUpkeep(): void {
    let newsDueAtMs = this.clock.nowMs() + NEWS_INTERVAL_MS * (0.5 + Math.random())
    const upkeep = async () => {
      await this.#saveDhtState()
      if (this.home.role === "client" && this.clock.nowMs() >= newsDueAtMs) {
        newsDueAtMs = this.clock.nowMs() + NEWS_INTERVAL_MS
        await this.catalogs.refresh()
        await this.federation.refresh()
      }
      this.dht.addNodes(this.directory.records().map((record) => address(record.dht)))
      // Servers renew their own certificates and share their keys (nodes/server.ts).
      if (this.home.role !== "server") await this.#renewWhereNeeded()
    }
    const warn = (error: unknown): void => this.log.warn({ reason: reasonOf(error) }, "upkeep failed; it will be tried again")
    this.#upkeep = setInterval(() => void upkeep().catch(warn), UPKEEP_INTERVAL_MS)
    this.#upkeep.unref()
    if (this.home.role !== "server")
      this.catalogs.onChange(() => {
        // All members hear of a change at once; their renewals are spread, so that servers are not met with all in one moment.
        const spread = setTimeout(() => void this.#renewWhereNeeded().catch(warn), Math.random() * RENEWALS_SPREAD_MS)
        spread.unref()
      })
  }

  /** The catalog says which keys count, and the secrets which are here. */
  #useNetworkKeys(): void {
    const keys = networkKeysInForce(this.#secrets, this.catalogs.catalog.site)
    if (this.#network === null || Buffer.concat(keys).equals(Buffer.concat(this.#networkKeys))) return
    this.#networkKeys = keys
    this.#network.dht.setNetworkKeys(keys)
    this.log.info({ networkKeys: keys.length }, "the site's network keys have changed")
  }

  async #renewWhereNeeded(): Promise<void> {
    const reasons = outdatedOf(this)
    if (reasons.length > 0) this.log.info({ reasons }, "the site has changed what this member should have")
    if (reasons.length > 0 || renewalDue(this.#certificate, this.clock.nowMs())) await this.renew()
  }

  async #saveDhtState(): Promise<void> {
    await this.home.saveState(DHT_STATE_FILE, this.dht.state())
  }
}

/** The pointer that an earlier run heard of, so that a copy that is known to be old is not shown as new. */
async function rememberedPointer(home: Home, pointerKey: string): Promise<PointerItem | null> {
  try {
    const state = await home.readState(DHT_STATE_FILE, DHT_STATE_BYTES_MAX)
    return state === null ? null : pointerIn(readDhtState(state), pointerKey, POINTER_SALT)
  } catch (error) {
    // Who needs the DHT is told of a damaged state when it is opened.
    if (error instanceof GridError) return null
    throw error
  }
}

/** @throws {GridError} CERTIFICATE_EXPIRED, CERTIFICATE_NOT_YET_VALID */
function requireCurrent(certificate: MemberCertificate, nowMs: number): void {
  const clock = `the clock here says ${new Date(nowMs).toISOString()}`
  if (nowMs >= certificate.notAfterMs)
    throw new GridError(
      "CERTIFICATE_EXPIRED",
      `it ended at ${new Date(certificate.notAfterMs).toISOString()}, and ${clock}; set the clock if it is wrong, else join again with a new invite`,
    )
  if (nowMs < certificate.notBeforeMs)
    throw new GridError(
      "CERTIFICATE_NOT_YET_VALID",
      `it begins at ${new Date(certificate.notBeforeMs).toISOString()}, and ${clock}; set the clock`,
    )
}
