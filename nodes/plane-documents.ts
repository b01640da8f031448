/**
 * The control plane as the keeper knows it: opened when there is another server to speak to, because a site of one needs none and libp2p is large. What
 * is published before that waits.
 */
import type { Address } from "#core/address.ts"
import { reasonOf } from "#core/errors.ts"
import type { Infohash, MemberId, SiteName } from "#core/identifiers.ts"
import { readPlaneKeys, routes } from "#core/wire.ts"
import { planeKeyOf } from "#crypto/plane-key.ts"
import { DocumentSet } from "#grid/core/document-set.ts"
import { readHoldings, readState, writeHoldings, writeState, type DocumentKind, type ServerDocument } from "#grid/core/documents.ts"
import { Plane } from "#grid/plane.ts"
import type { Member } from "#member/member.ts"
import { networkKeysInForce } from "#member/network-keys.ts"
import type { FellowDocuments, FellowWatcher, SaidState } from "./keeper.ts"
import { rosterOf, type GridServer } from "./roster.ts"

const KEYS_INTERVAL_MS = 60_000

export class PlaneDocuments implements FellowDocuments, AsyncDisposable {
  readonly #member: Member
  readonly #listen: Address
  readonly #opened: (address: Address) => void
  readonly #stack = new AsyncDisposableStack()
  readonly #documents = new DocumentSet()
  /** What this server says of itself, as it was published last. */
  readonly #own = new Map<DocumentKind, Buffer>()
  readonly #watchers = new Set<FellowWatcher>()
  readonly #rosterListeners = new Set<() => void>()
  /** Plane keys of other sites, as their servers gave them. */
  readonly #keys = new Map<string, readonly Buffer[]>()
  #plane: Plane | null = null
  #opening: Promise<void> | null = null
  #closed = false

  private constructor(member: Member, listen: Address, opened: (address: Address) => void) {
    this.#member = member
    this.#listen = listen
    this.#opened = opened
  }

  /** @param opened is told where the plane listens, once it does */
  static async start(member: Member, listen: Address, opened: (address: Address) => void): Promise<PlaneDocuments> {
    const documents = new PlaneDocuments(member, listen, opened)
    const follow = () => documents.#follow()
    for (const source of [member.catalogs, member.federation, member.directory]) documents.#stack.defer(source.onChange(follow))
    const timer = setInterval(() => void documents.#fetchKeys(), KEYS_INTERVAL_MS)
    documents.#stack.defer(() => clearInterval(timer))
    documents.#follow()
    await documents.#opening
    return documents
  }

  publishHoldings(held: ReadonlySet<Infohash>): void {
    for (const [kind, data] of writeHoldings(held)) this.#publish(kind, data)
  }

  publishState({ phase, isFull, doubts, heldBytes, freeBytes, repairing }: SaidState): void {
    this.#publish(
      "state",
      writeState({ phase, isFull, doubts: [...doubts], heldBytes, freeBytes, repairing: repairing.slice(0, REPAIRING_SAID_MAX) }),
    )
  }

  watch(watcher: FellowWatcher): () => void {
    this.#watchers.add(watcher)
    for (const { memberId, isConnected, lastHeardMs } of this.#plane?.peers() ?? []) {
      if (isConnected || lastHeardMs !== null) watcher.presence(memberId, isConnected ? null : lastHeardMs)
      this.#tellAll(memberId, watcher)
    }
    return () => void this.#watchers.delete(watcher)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    await this.#opening
    await this.#stack.disposeAsync()
    await this.#plane?.close()
  }

  #publish(kind: DocumentKind, data: Buffer): void {
    this.#own.set(kind, data)
    this.#plane?.publish(kind, data)
  }

  /** Servers, agreements or keys have changed. */
  #follow(): void {
    const others = this.#roster().filter(({ memberId }) => memberId !== this.#member.home.memberId)
    if (others.length > 0 && !this.#closed)
      this.#opening ??= this.#open().catch((error: unknown) => {
        this.#opening = null
        this.#member.log.warn({ reason: reasonOf(error) }, "the control plane could not be opened; it will be tried again")
      })
    void this.#fetchKeys()
    for (const listener of this.#rosterListeners) listener()
  }

  async #open(): Promise<void> {
    const { home, clock, log, federation } = this.#member
    const plane = await Plane.open(
      {
        memberId: home.memberId,
        site: home.site,
        signing: home.identity.signing,
        roster: () =>
          this.#roster().map(({ memberId, site, signingKeyHex, grid }) => {
            return { memberId, site: site as SiteName, signingKeyHex, addresses: grid === null ? [] : [grid] }
          }),
        onRosterChange: (listener) => {
          this.#rosterListeners.add(listener)
          return () => void this.#rosterListeners.delete(listener)
        },
        planeKeysOf: (site) => this.#planeKeysOf(site),
        mayHear: (site, of) => site === of || federation.catalogs.areFederated(site, of),
        documents: this.#documents,
        clock,
        log: { debug: () => {}, info: (fields, event) => log.info(fields, event), warn: (fields, event) => log.warn(fields, event) },
      },
      { listen: this.#listen },
    )
    if (this.#closed) return plane.close()
    this.#plane = plane
    for (const [kind, data] of this.#own) plane.publish(kind, data)
    this.#stack.defer(plane.onDocument((document) => this.#told(document)))
    this.#stack.defer(
      plane.onPeer((event) => {
        for (const watcher of this.#watchers) watcher.presence(event.memberId, event.is === "up" ? null : event.lastHeardMs)
      }),
    )
    log.info({ address: `${plane.address.host}:${plane.address.port}` }, "the control plane is open")
    this.#opened(plane.address)
  }

  #told(document: ServerDocument): void {
    for (const watcher of this.#watchers)
      if (document.kind === "state") this.#tellState(document.memberId, watcher)
      else this.#tellHoldings(document.memberId, watcher)
  }

  #tellAll(server: MemberId, watcher: FellowWatcher): void {
    this.#tellHoldings(server, watcher)
    this.#tellState(server, watcher)
  }

  /** All of them together: a layer of an image may stand in one document and another in the next. */
  #tellHoldings(server: MemberId, watcher: FellowWatcher): void {
    const documents = this.#documents.documentsOf(server).filter(({ kind }) => kind !== "state")
    // Before the sixteenth has come, what is not named may only not have come yet.
    if (documents.length < HOLDINGS_DOCUMENTS) return
    watcher.holdings(server, new Set(documents.flatMap(({ kind, data }) => readHoldings(kind, data))))
  }

  #tellState(server: MemberId, watcher: FellowWatcher): void {
    const document = this.#documents.get(server, "state")
    if (document === null) return
    const { doubts, ...state } = readState(document.data)
    watcher.state(server, { ...state, doubts: doubts as MemberId[] })
  }

  #roster(): GridServer[] {
    const { catalogs, federation, directory, clock } = this.#member
    const sites = [
      catalogs.catalog.site,
      ...federation.catalogs.sites().flatMap(({ catalog, inForce }) => (inForce ? (catalog?.site ?? []) : [])),
    ]
    const names = new Set(sites.map(({ site }) => site))
    return rosterOf(directory.recordsOfAllSites(), sites, clock.nowMs()).filter(({ site }) => names.has(site))
  }

  #planeKeysOf(site: string): readonly Buffer[] {
    if (site !== this.#member.home.site) return this.#keys.get(site) ?? []
    return networkKeysInForce(this.#member.secrets, this.#member.catalogs.catalog.site).map(planeKeyOf)
  }

  /** Of other sites, from any server of theirs that answers. */
  async #fetchKeys(): Promise<void> {
    const { api, federation } = this.#member
    await Promise.allSettled(
      federation.catalogs
        .sites()
        .filter(({ inForce }) => inForce)
        .map(async ({ agreement }) => {
          const { site } = agreement
          for (const server of federation.contactsOf(agreement, "api")) {
            try {
              const { keys } = await api.json(server, { path: routes.planeKeys, site }, readPlaneKeys)
              const before = this.#keys.get(site)?.map((key) => key.toString("hex"))
              if (before?.join() === keys.join()) return
              this.#keys.set(
                site,
                keys.map((key) => Buffer.from(key, "hex")),
              )
              for (const listener of this.#rosterListeners) listener()
              return
            } catch {
              // Another server of that site may answer; if none does, the next round asks again.
            }
          }
        }),
    )
  }
}

/** As many documents tell of a server's layers, one for each first hex digit. */
const HOLDINGS_DOCUMENTS = 16
const REPAIRING_SAID_MAX = 256
