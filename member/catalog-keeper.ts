/**
 * Keeps the newest catalog that this member has verified, on disk and in the swarm. What is kept only ever moves forward:
 * each candidate is verified against what is trusted already, made durable, and only then used.
 */
import { hash } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { openCatalog, type Catalog } from "#trust/catalog.ts"
import { repackCatalog, unpackCatalog, type CatalogFiles } from "#trust/catalog-file.ts"
import { applyChange, type Change } from "#trust/change.ts"
import { newestRoot } from "#trust/files.ts"
import { mergeCatalogs } from "#trust/merge.ts"
import { defaultLifetimes } from "#trust/lifetimes.ts"
import { refreshTimestamp, seedsInForce, type OnlineSeeds } from "#trust/online-roles.ts"
import type { Admission } from "#crypto/admission.ts"
import { signingKeyFromSeed, sign } from "#crypto/identity.ts"
import type { Clock } from "#core/clock.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import { formatAddress, type Address } from "#core/address.ts"
import type { Infohash } from "#core/identifiers.ts"
import { CATALOG_BYTES_MAX, routes, type OnlineSecrets } from "#core/wire.ts"
import type { Dht, PointerItem } from "#swarm/dht.ts"
import type { Swarm } from "#swarm/swarm.ts"
import type { ApiClient } from "./api-client.ts"
import { CatalogSwarm } from "./catalog-swarm.ts"
import { Hearsay, type Freshness, type Informant, type SeqHeard } from "./freshness.ts"
import type { Home } from "./home.ts"
import { requireFresh } from "./image-sources.ts"
import type { Log } from "./log.ts"
import type { ServerDirectory } from "./server-directory.ts"

/** Salt of the BEP 46 pointer, so that one key may point to other things later. */
export const POINTER_SALT = "catalog"
export const FETCH_TIMEOUT_MS = 60_000

export type CatalogKeeperParts = {
  readonly home: Home
  readonly clock: Clock
  readonly log: Log
  readonly admission: Admission
  readonly api: ApiClient
  readonly directory: ServerDirectory
  /** Absent where a command only reads and asks over the API. */
  readonly network: { readonly swarm: Swarm; readonly dht: Dht } | null
  /** The online keys, in a server; asked for at each use, because they are replaced while it runs. */
  readonly online: () => OnlineSecrets | null
  /** Where each change is written down before it is in force; null where nobody keeps a record. */
  readonly recordChange: RecordChange | null
}

/** @param from where the newer files came from; null where that can't be told. A change that can't be recorded is not taken. */
export type RecordChange = (before: CatalogFiles, after: CatalogFiles, from: string | null) => Promise<void>

export class CatalogKeeper {
  readonly #parts: CatalogKeeperParts
  readonly #listeners = new Set<(catalog: Catalog) => void>()
  readonly #hearsay = new Hearsay()
  readonly #swarm: CatalogSwarm | null
  #confirmedAtMs: number | null = null
  #catalog: Catalog
  #bytes: Buffer
  #tagged: { readonly bytes: Buffer; readonly entityTag: string } | null = null
  /** Changes happen one after another, whoever asks for them. */
  #turn: Promise<unknown> = Promise.resolve()
  readonly #closing = new AbortController()
  /** So do fetches from the swarm. */
  #fetching: Promise<unknown> = Promise.resolve()

  private constructor(parts: CatalogKeeperParts, catalog: Catalog, bytes: Buffer) {
    this.#parts = parts
    this.#swarm = parts.network && new CatalogSwarm(parts.network.swarm)
    this.#catalog = catalog
    this.#bytes = bytes
  }

  static async open(parts: CatalogKeeperParts, stored: { readonly catalog: Catalog; readonly bytes: Buffer }): Promise<CatalogKeeper> {
    const keeper = new CatalogKeeper(parts, stored.catalog, stored.bytes)
    await keeper.#seed()
    return keeper
  }

  get catalog(): Catalog {
    return this.#catalog
  }

  /** The catalog as it is passed on. */
  get bytes(): Buffer {
    return this.#bytes
  }

  /** Of these bytes: who has them need not be sent them again. */
  get entityTag(): string {
    if (this.#tagged?.bytes !== this.#bytes) this.#tagged = { bytes: this.#bytes, entityTag: `"${hash("sha256", this.#bytes)}"` }
    return this.#tagged.entityTag
  }

  onChange(listener: (catalog: Catalog) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** @throws {GridError} CATALOG_EXPIRED */
  requireFresh(): Catalog {
    return requireFresh(this.#catalog, this.#parts.clock.nowMs())
  }

  /** How old the kept catalog is, and whether newer ones are spoken of. */
  freshness(): Freshness {
    const { seq, expiresAtMs, roles, site } = this.#catalog
    const timestampEndsAtMs = roles.find(({ name }) => name === "timestamp")?.expiresAtMs ?? expiresAtMs
    return {
      seq,
      signedAtMs: timestampEndsAtMs - defaultLifetimes.timestamp,
      expiresAtMs,
      newestSeqHeard: this.#hearsay.newest(),
      newerKnown: this.#hearsay.pointedPast(seq, site.pointerKey),
      confirmedAtMs: this.#confirmedAtMs,
    }
  }

  /** Notes that somebody spoke of a catalog. */
  heard(word: SeqHeard): void {
    this.#hearsay.heard(word)
  }

  /** Notes a pointer whose signature holds. */
  heardPointer(item: Pick<PointerItem, "publicKey" | "seq">): void {
    const publicKeyHex = item.publicKey.toString("hex")
    if (publicKeyHex === this.#catalog.site.pointerKey) this.#hearsay.pointed({ publicKeyHex, seq: item.seq })
  }

  /** Forgets what this informant claimed: it was not so. */
  unheard(by: Informant, who: string): void {
    this.#hearsay.unheard(by, who)
  }

  /**
   * Takes a catalog from elsewhere if it is newer than what is kept. Resolves with whether it was. One that has lapsed is taken only where it was
   * carried here by hand, and by a server: what is newer in it counts, under a timestamp of its own.
   * @throws {GridError} CATALOG_*
   */
  async consider(bytes: Buffer, from: string | null, options: { readonly expiry?: "enforce" | "ignore" } = {}): Promise<boolean> {
    if (bytes.length > CATALOG_BYTES_MAX)
      throw new GridError("CATALOG_INVALID", `${bytes.length} bytes, at most ${CATALOG_BYTES_MAX} are taken`)
    if (bytes.equals(this.#bytes)) return false
    const files = await unpackCatalog(bytes)
    return this.#change(from, (nowMs) => {
      const online = this.#parts.online()
      const mine = this.#catalog.files
      if (online !== null) {
        openCatalog(files, { rootDigest: this.#parts.home.rootDigest }, nowMs, { ...options, known: mine })
        return mergeCatalogs({ mine, theirs: files, online: seedsFrom(online), nowMs })
      }
      const theirs = openCatalog(files, { trusted: mine }, nowMs)
      return theirs.seq > this.#catalog.seq ? files : mine
    })
  }

  /** A server takes what people signed. @throws {GridError} CATALOG_INVALID, CATALOG_ROLLBACK, SIGNATURES_MISSING, IMAGE_EXISTS, TAG_EXISTS, KEY_MISSING */
  async apply(change: Change, from: string | null): Promise<void> {
    const online = this.#parts.online()
    if (online === null) throw new GridError("KEY_MISSING", "only a server with the site's online keys takes changes")
    await this.#change(from, (nowMs) => applyChange({ files: this.#catalog.files, change, online: seedsFrom(online), nowMs }))
  }

  /** A server signs a fresh timestamp when less than half of the old one's life is left. */
  async keepFresh(halfLifeMs: number): Promise<void> {
    const online = this.#parts.online()
    if (online === null) return
    await this.#change(null, (nowMs) => {
      const { files, roles } = this.#catalog
      const endsAtMs = roles.find(({ name }) => name === "timestamp")?.expiresAtMs ?? 0
      const seeds = seedsFrom(online)(newestRoot(files))
      return endsAtMs - nowMs > halfLifeMs || seeds === null ? files : refreshTimestamp({ files, online: seeds, nowMs })
    })
  }

  /**
   * Asks all known servers and the DHT; resolves when each has answered or failed, or `graceMs` after the first server answered: what comes later is taken when it
   * comes. Never throws for a server's sake.
   */
  async refresh(
    signal?: AbortSignal,
    { graceMs = Number.POSITIVE_INFINITY }: { readonly graceMs?: number } = {},
  ): Promise<{ readonly answers: number; readonly failures: readonly unknown[] }> {
    const { directory, log } = this.#parts
    const servers = directory.contacts("api").map((server) => this.takeFromServer(server, signal))
    const failures: unknown[] = []
    let answers = 0
    const asked = [...servers, this.#fromPointer(signal)].map((asking) =>
      asking.then(
        () => (answers += 1),
        (failure: unknown) => {
          failures.push(failure)
          log.info({ reason: reasonOf(failure) }, "catalog source failed")
        },
      ),
    )
    const all = Promise.all(asked)
    if (graceMs === Number.POSITIVE_INFINITY) await all
    else
      await Promise.race([
        all,
        Promise.any(servers).then(
          () => sleep(graceMs, null, { ref: false }),
          () => all,
        ),
      ])
    return { answers, failures: [...failures] }
  }

  /** Takes the catalog of a server if it is newer; resolves with whether it was. @throws {GridError} as ApiClient and `consider` */
  async takeFromServer(server: Address, signal?: AbortSignal): Promise<boolean> {
    const { api, clock, directory } = this.#parts
    const request = { path: routes.catalog, maxBytes: CATALOG_BYTES_MAX, ...(signal && { signal }) }
    const bytes = await api.bytesUnlessSame(server, request, this.entityTag)
    const newer = bytes !== null && (await this.consider(bytes, formatAddress(server)))
    // A mirror has what it was given last; who signs knows.
    if (directory.issuers().some((issuer) => formatAddress(issuer) === formatAddress(server))) this.#confirmedAtMs = clock.nowMs()
    return newer
  }

  /**
   * Fetches a catalog from the swarm and takes it if it is newer; resolves with whether it was. One at a time, and none when the kept one is as
   * new as `seq` once its turn has come.
   * @throws {GridError} CATALOG_*, SEEDERS_MISSING, TORRENT_INVALID
   * @throws the signal's reason
   */
  fetch(wanted: { readonly seq: number; readonly infohash: Infohash }, peers: readonly Address[], signal: AbortSignal): Promise<boolean> {
    const fetch = this.#fetching.then(async () => {
      const either = AbortSignal.any([signal, this.#closing.signal])
      either.throwIfAborted()
      if (wanted.seq <= this.#catalog.seq) return false
      const bytes = await this.#fetchNow(wanted.infohash, peers, either)
      return bytes !== null && this.consider(bytes, null)
    })
    this.#fetching = fetch.catch(() => {})
    return fetch
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#fetching
    await this.#turn
    await this.#swarm?.close()
  }

  /** @throws {GridError} SEEDERS_MISSING when the DHT knows nothing newer or nobody has it */
  async #fromPointer(signal?: AbortSignal): Promise<void> {
    const { network } = this.#parts
    if (network === null) throw new GridError("SEEDERS_MISSING", "the DHT was not asked")
    const item = await network.dht.getPointer(this.#catalog.site.pointerKey, POINTER_SALT)
    if (item === null) throw new GridError("SEEDERS_MISSING", "no node of the DHT knows the catalog's pointer")
    this.heardPointer(item)
    // Kept alive, and known at the next start, whether or not its catalog can be had now.
    network.dht.hold(item)
    const timeout = AbortSignal.timeout(FETCH_TIMEOUT_MS)
    await this.fetch(item, this.#parts.directory.contacts("swarm"), signal === undefined ? timeout : AbortSignal.any([signal, timeout]))
  }

  async #fetchNow(infohash: Infohash, peers: readonly Address[], signal: AbortSignal): Promise<Buffer | null> {
    if (this.#swarm === null) throw new GridError("SEEDERS_MISSING", "the swarm is not open")
    try {
      return await this.#swarm.fetch(infohash, peers, signal)
    } finally {
      // Where the same catalog was taken from a server meanwhile, the session that fetched stood in the way of the one that seeds it.
      this.#turn = this.#seedAfter(this.#turn).catch((error: unknown) =>
        this.#parts.log.warn({ reason: reasonOf(error) }, "the kept catalog is not seeded"),
      )
    }
  }

  async #change(from: string | null, decide: (nowMs: number) => CatalogFiles): Promise<boolean> {
    const change = this.#turn.then(async () => {
      const nowMs = this.#parts.clock.nowMs()
      const decided = decide(nowMs)
      if (decided === this.#catalog.files) return false
      const { bytes, files } = await repackCatalog(decided)
      // Whether it is current was judged where it came from; a server also keeps what has expired, until people sign it anew.
      const catalog = openCatalog(files, { trusted: this.#catalog.files }, nowMs, { expiry: "ignore" })
      await this.#parts.recordChange?.(this.#catalog.files, files, from)
      await this.#parts.home.saveCatalog(bytes)
      this.#catalog = catalog
      this.#bytes = bytes
      this.#parts.admission.update({ authorities: authoritiesOf(catalog), revoked: catalog.site.revoked })
      this.#parts.log.info({ timestampVersion: catalog.timestampVersion, images: catalog.images.size }, "catalog taken")
      await this.#seed()
      for (const listener of this.#listeners) listener(catalog)
      return true
    })
    this.#turn = change.catch(() => {})
    return change
  }

  /** Puts the kept catalog into the swarm and, in a server, points to it. */
  async #seed(): Promise<void> {
    const { network, log } = this.#parts
    if (network === null || this.#swarm === null) return
    const infohash = await this.#swarm.seed(this.#bytes)
    this.#swarm.tell(this.#catalog.seq, infohash)
    const keys = this.#parts.online()?.pointers.map((seed) => signingKeyFromSeed(fromHex(seed))) ?? []
    // A server that has not got the newest key yet leaves the pointing to those who have. Replaced keys go on pointing, for members who were away.
    if (!keys.some(({ publicKeyHex }) => publicKeyHex === this.#catalog.site.pointerKey)) return
    for (const key of keys)
      void network.dht
        .putPointer({
          signing: { publicKeyHex: key.publicKeyHex, sign: (message) => sign(key, message) },
          salt: POINTER_SALT,
          seq: this.#catalog.seq,
          infohash,
        })
        .catch((error: unknown) => log.warn({ reason: reasonOf(error) }, "pointer not put; it will be tried again"))
  }

  async #seedAfter(turn: Promise<unknown>): Promise<void> {
    await turn
    if (!this.#closing.signal.aborted) await this.#swarm?.seed(this.#bytes)
  }
}

/** The DER certificates of the authorities that a catalog names. */
export function authoritiesOf(catalog: Pick<Catalog, "site">): Buffer[] {
  return catalog.site.authorities.map((text) => Buffer.from(text, "base64"))
}

/** Chooses among the online keys at hand those that a root names. */
export function seedsFrom(online: OnlineSecrets): (root: Parameters<typeof seedsInForce>[0]) => OnlineSeeds | null {
  const held = { snapshot: online.snapshot.map(fromHex), timestamp: online.timestamp.map(fromHex) }
  return (root) => seedsInForce(root, held)
}

function fromHex(text: string): Buffer {
  return Buffer.from(text, "hex")
}
