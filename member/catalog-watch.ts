/**
 * Hears of newer catalogs and has the keeper fetch them. Peers in the swarm tell when they have one; the DHT's pointer and the servers are asked
 * again and again, because a member with everything may have no peers. Whoever spoke, what is fetched is verified like any other; one lead is
 * followed at a time, a pointer's before a server's before a peer's, so that no lie delays a signed word.
 */
import type { Clock } from "#core/clock.ts"
import { formatAddress } from "#core/address.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import { keepNewest } from "#core/newest.ts"
import { readCatalogSeq, routes } from "#core/wire.ts"
import type { Dht, PointerItem } from "#swarm/dht.ts"
import type { HeardNews, Swarm } from "#swarm/swarm.ts"
import type { ApiClient } from "./api-client.ts"
import { FETCH_TIMEOUT_MS, POINTER_SALT, type CatalogKeeper } from "./catalog-keeper.ts"
import type { Informant } from "./freshness.ts"
import { Informants } from "./informants.ts"
import type { Log } from "./log.ts"
import type { ServerDirectory } from "./server-directory.ts"

/** How often the DHT is asked, give or take a fifth; every fifth time a server too. */
const POLL_INTERVAL_MS = 30_000
const POLL_SPREAD = 0.2
const POLLS_PER_SERVER = 5
/** How often it is looked whether another node has put a pointer here; no packet is sent for that. */
const LOOK_INTERVAL_MS = 500
/** A peer's word is worth this much time; with a slow link the next poll has more. */
const NEWS_FETCH_TIMEOUT_MS = 20_000
const SERVER_TIMEOUT_MS = 10_000
/** Informants whose last word waits to be followed. */
const LEADS_MAX = 256

const RANKS: Readonly<Record<Informant, number>> = { pointer: 2, server: 1, peer: 0 }

export type CatalogWatchParts = {
  readonly clock: Clock
  readonly log: Log
  readonly catalogs: CatalogKeeper
  readonly directory: ServerDirectory
  readonly api: ApiClient
  readonly swarm: Swarm
  readonly dht: Dht
}

/** Somebody's word that there is a newer catalog, and how to get it. */
type Lead = {
  readonly by: Informant
  readonly who: string
  readonly seq: number
  readonly timeoutMs: number
  /** Resolves with whether it was newer. */
  readonly fetch: (signal: AbortSignal) => Promise<boolean>
}

export class CatalogWatch {
  readonly #parts: CatalogWatchParts
  readonly #informants = new Informants()
  /** The last word of each informant that has yet to be followed, oldest first. */
  readonly #leads = new Map<string, Lead>()
  readonly #closing = new AbortController()
  readonly #stopListening: () => void
  readonly #look: NodeJS.Timeout
  #poll: NodeJS.Timeout
  #polls = 0
  #followed: { readonly lead: Lead; readonly giveUp: AbortController } | null = null
  #following: Promise<void> | null = null
  #lookedAtSeq = 0

  constructor(parts: CatalogWatchParts) {
    this.#parts = parts
    this.#stopListening = parts.swarm.onNews((news) => this.#takeNews(news))
    this.#look = setInterval(() => this.#lookHere(), LOOK_INTERVAL_MS).unref()
    this.#poll = this.#pollLater()
  }

  /** Asks the DHT, and every fifth time a server, whether there is a newer catalog. Never throws for their sake. */
  async poll(): Promise<void> {
    this.#polls += 1
    const asked = [this.#askPointer()]
    if (this.#polls % POLLS_PER_SERVER === 0) asked.push(this.#askServer())
    for (const result of await Promise.allSettled(asked))
      if (result.status === "rejected") this.#parts.log.info({ reason: reasonOf(result.reason) }, "catalog source failed")
  }

  /** Resolves when no lead is left to follow. */
  async idle(): Promise<void> {
    await this.#following
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#stopListening()
    clearInterval(this.#look)
    clearTimeout(this.#poll)
    this.#leads.clear()
    await this.#following
  }

  #pollLater(): NodeJS.Timeout {
    const waitMs = POLL_INTERVAL_MS * (1 - POLL_SPREAD + 2 * POLL_SPREAD * Math.random())
    return setTimeout(() => {
      this.#poll = this.#pollLater()
      void this.poll()
    }, waitMs).unref()
  }

  // Who speaks.

  #takeNews({ seq, infohash, memberId, address }: HeardNews): void {
    const { catalogs, directory } = this.#parts
    const fetch = (signal: AbortSignal) =>
      catalogs.fetch({ seq, infohash }, [...(address === null ? [] : [address]), ...directory.contacts("swarm")], signal)
    this.#take({ by: "peer", who: memberId, seq, timeoutMs: NEWS_FETCH_TIMEOUT_MS, fetch })
  }

  async #askPointer(): Promise<void> {
    const { catalogs, dht } = this.#parts
    const item = await dht.getPointer(catalogs.catalog.site.pointerKey, POINTER_SALT)
    if (item !== null) this.#takePointer(item)
  }

  #lookHere(): void {
    const { catalogs, dht } = this.#parts
    const item = dht.pointerHere(catalogs.catalog.site.pointerKey, POINTER_SALT)
    if (item === null || item.seq <= this.#lookedAtSeq) return
    this.#lookedAtSeq = item.seq
    this.#takePointer(item)
  }

  #takePointer(item: PointerItem): void {
    const { catalogs, directory, dht } = this.#parts
    catalogs.heardPointer(item)
    dht.hold(item)
    const fetch = (signal: AbortSignal) => catalogs.fetch(item, directory.contacts("swarm"), signal)
    this.#take({ by: "pointer", who: item.publicKey.toString("hex"), seq: item.seq, timeoutMs: FETCH_TIMEOUT_MS, fetch })
  }

  async #askServer(): Promise<void> {
    const { api, catalogs, directory } = this.#parts
    const servers = directory.contacts("api")
    const server = servers[Math.floor(Math.random() * servers.length)]
    if (server === undefined) return
    const request = { path: routes.catalogSeq, timeoutMs: SERVER_TIMEOUT_MS, signal: this.#closing.signal }
    const { catalogSeq } = await api.json(server, request, readCatalogSeq)
    const fetch = (signal: AbortSignal) => catalogs.takeFromServer(server, signal)
    this.#take({ by: "server", who: formatAddress(server), seq: catalogSeq, timeoutMs: FETCH_TIMEOUT_MS, fetch })
  }

  // What is done about it.

  #take(lead: Lead): void {
    const { catalogs, clock } = this.#parts
    if (this.#closing.signal.aborted || lead.seq <= catalogs.catalog.seq || !this.#informants.believes(lead.who, clock.nowMs())) return
    if (lead.by !== "pointer") catalogs.heard(lead)
    keepNewest(this.#leads, lead.who, lead, LEADS_MAX)
    if (this.#followed !== null && RANKS[this.#followed.lead.by] < RANKS[lead.by]) this.#followed.giveUp.abort()
    this.#following ??= this.#followAll()
  }

  async #followAll(): Promise<void> {
    for (let lead = this.#next(); lead !== null; lead = this.#next()) await this.#follow(lead)
    this.#following = null
  }

  /** The oldest of the most trustworthy kind. */
  #next(): Lead | null {
    const leads = [...this.#leads.values()]
    const [first] = leads.sort((a, b) => RANKS[b.by] - RANKS[a.by])
    if (first === undefined) return null
    this.#leads.delete(first.who)
    return first
  }

  async #follow(lead: Lead): Promise<void> {
    const { catalogs, clock, log } = this.#parts
    if (lead.seq <= catalogs.catalog.seq) return
    const giveUp = new AbortController()
    this.#followed = { lead, giveUp }
    let reason = "it is no newer one"
    try {
      const newer = await lead.fetch(AbortSignal.any([this.#closing.signal, giveUp.signal, AbortSignal.timeout(lead.timeoutMs)]))
      if (newer || lead.seq <= catalogs.catalog.seq) return this.#informants.wasTrue(lead.who)
    } catch (error) {
      if (this.#closing.signal.aborted || giveUp.signal.aborted) return
      reason = reasonOf(error)
      if (!isTheirFault(error)) return log.warn({ reason }, "a newer catalog could not be taken; it will be tried again")
    } finally {
      this.#followed = null
    }
    log.info({ by: lead.by, who: lead.who, seq: lead.seq, reason }, "news of a catalog was vain")
    // The pointer is signed: that nobody gives its catalog is worth another try at each poll.
    if (lead.by === "pointer") return
    this.#informants.wasVain(lead.who, clock.nowMs())
    this.#leads.delete(lead.who)
    catalogs.unheard(lead.by, lead.who)
  }
}

/** That this home could not write, or that this server lacks new keys, nobody else is to blame for. */
function isTheirFault(error: unknown): boolean {
  return !(error instanceof GridError && (error.code === "DISK_FULL" || error.code === "KEY_MISSING"))
}
