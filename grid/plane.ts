/**
 * The control plane: every server tells all others of itself in signed documents, and has theirs. Gossip says that there is something new; what counts is
 * fetched in exchanges, on connecting, on a hint and every so often. No server is special, and what one says of itself needs no other one's word.
 */
import type { SigningKey } from "#crypto/identity.ts"
import type { Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import type { MemberId, SiteName } from "#core/identifiers.ts"
import { Allowance } from "./core/allowance.ts"
import type { End } from "./core/connection-choice.ts"
import { SERVERS_MAX, type DocumentSet, type Visible } from "./core/document-set.ts"
import { nextSeq, signDocument, type DocumentKind, type ServerDocument } from "./core/documents.ts"
import { readHint, writeHint } from "./core/messages.ts"
import { answerExchange, EXCHANGE_TIMEOUT_MS, openExchange, type Channel } from "./exchange.ts"
import type { PlaneNode } from "./libp2p/plane-node.ts"

/** Between two exchanges that nothing asked for. */
const ROUND_MIN_MS = 15_000
const ROUND_MAX_MS = 60_000
/** Of one's own hints: several changes become one. */
const HINT_PAUSE_MS = 1_000
const HINT_DELAY_MS = 50
/** Those who heard one hint do not all ask in the same moment. */
const LOOK_SPREAD_MS = 100
/** Between two exchanges with one server, where the first left something to ask for, and where it broke off. */
const EXCHANGE_PAUSE_MS = 500
const BROKEN_EXCHANGE_PAUSE_MS = 2_000
/** What is taken of one server: its hints, exchanges that it opens, and messages of gossip that it brings of whatever author. */
const HINTS_OF_AUTHOR = { atOnce: 20, perSecond: 3 }
const EXCHANGES_OF_PEER = { atOnce: 20, perSecond: 4 }
const GOSSIP_OF_PEER = { atOnce: 4_000, perSecond: 400 }

/** A server of the own site or of one that it federates with, as signed documents say. */
export type PlaneServer = {
  readonly memberId: MemberId
  readonly site: SiteName
  /** Ed25519, raw, hex. */
  readonly signingKeyHex: string
  /** Where its plane listens, as far as is known. */
  readonly addresses: readonly Address[]
}

export interface PlaneLog {
  debug(fields: object, event: string): void
  info(fields: object, event: string): void
  warn(fields: object, event: string): void
}

export type PlaneParts = {
  readonly memberId: MemberId
  readonly site: SiteName
  readonly signing: SigningKey
  /** Servers that are not revoked. The own one may be among them. */
  readonly roster: () => readonly PlaneServer[]
  /** Calls `listener` after every change of the roster. Returns how to stop. */
  readonly onRosterChange: (listener: () => void) => () => void
  /**
   * Plane keys (crypto/plane-key.ts) of the network keys that this site has in force, the first before those that it replaces. None where no key is known:
   * servers of that site may dial, and are not dialled.
   */
  readonly planeKeysOf: (site: string) => readonly Uint8Array[]
  /** Whether servers of `site` may be told of documents of servers of site `of`. */
  readonly mayHear: (site: string, of: string) => boolean
  /** The plane takes it over: its roster, and what is put in. */
  readonly documents: DocumentSet
  readonly clock: Clock
  readonly log: PlaneLog
  /** In [0, 1). */
  readonly random?: () => number
}
export type PlaneOptions = {
  /** IPv4; port 0 takes any free one. */
  readonly listen: Address
}

/** How it stands with another server. */
export type PlanePeer = {
  readonly memberId: MemberId
  readonly site: SiteName
  readonly isConnected: boolean
  /** When the last bytes of it came, Unix ms; null where none did since this plane opened. */
  readonly lastHeardMs: number | null
}

/** `down`: `lastHeardMs` is when the last bytes came, which may be some seconds ago. */
export type PeerEvent = { readonly memberId: MemberId } & ({ readonly is: "up" } | { readonly is: "down"; readonly lastHeardMs: number })

type Exchange = { again: boolean }

export class Plane implements AsyncDisposable {
  readonly #parts: PlaneParts
  readonly #random: () => number
  /** Never leaps, as the clock may. */
  readonly #nowMs = () => performance.now()
  readonly #closing = new AbortController()
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #documentListeners = new Set<(document: ServerDocument) => void>()
  readonly #peerListeners = new Set<(event: PeerEvent) => void>()
  /** What this server says of itself. */
  readonly #own = new Map<DocumentKind, Uint8Array>()
  /** Exchanges that this end has open. */
  readonly #exchanges = new Map<MemberId, Exchange>()
  readonly #allowances = new Map<string, Allowance>()
  #hintIsDue = false
  #hintedAtMs = -Infinity
  #servers: ReadonlyMap<MemberId, PlaneServer> = new Map()
  #node: PlaneNode | null = null
  #unsubscribe: (() => void) | null = null

  private constructor(parts: PlaneParts) {
    this.#parts = parts
    this.#random = parts.random ?? Math.random
  }

  /** @throws {GridError} ADDRESS_IN_USE */
  static async open(parts: PlaneParts, options: PlaneOptions): Promise<Plane> {
    // libp2p costs a quarter of a second and tens of megabytes: only who opens a plane loads it.
    const { PlaneNode: Node } = await import("./libp2p/plane-node.ts")
    const plane = new Plane(parts)
    plane.#node = await Node.open(
      { ...parts, random: plane.#random, nowMs: plane.#nowMs },
      {
        up: (memberId, dialledBy) => plane.#up(memberId, dialledBy),
        down: (memberId, lastHeardMs) => plane.#tell({ memberId, is: "down", lastHeardMs }),
        exchange: (memberId, channel) => plane.#answer(memberId, channel),
        hinted: (author, via, hint) => plane.#hinted(author, via, hint),
      },
      options.listen,
    )
    try {
      plane.#unsubscribe = parts.onRosterChange(() => plane.#rosterChanged())
      plane.#rosterChanged()
    } catch (error) {
      await plane.close()
      throw error
    }
    plane.#scheduleRound()
    return plane
  }

  /** Where it listens. */
  get address(): Address {
    return this.#open.address
  }

  /** Everything that is known of all servers; the plane changes it. */
  get documents(): DocumentSet {
    return this.#parts.documents
  }

  /** The other servers of the roster. */
  peers(): PlanePeer[] {
    return [...this.#servers.values()].map(({ memberId, site }) => ({
      memberId,
      site,
      isConnected: this.#open.isConnected(memberId),
      lastHeardMs: this.#open.lastHeardMs(memberId),
    }))
  }

  /** From now on this is what the server says of itself; nothing happens where it says so already. @throws {TypeError} where data is out of form */
  publish(kind: DocumentKind, data: Uint8Array): void {
    this.#own.set(kind, data)
    this.#signOwn(kind)
  }

  /** Calls `listener` with each newer document of another server, once it is in `documents`. Returns how to stop. */
  onDocument(listener: (document: ServerDocument) => void): () => void {
    this.#documentListeners.add(listener)
    return () => this.#documentListeners.delete(listener)
  }

  onPeer(listener: (event: PeerEvent) => void): () => void {
    this.#peerListeners.add(listener)
    return () => this.#peerListeners.delete(listener)
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#unsubscribe?.()
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
    await this.#node?.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  get #open(): PlaneNode {
    if (this.#node === null) throw new TypeError("the plane is not open")
    return this.#node
  }

  #rosterChanged(): void {
    this.#takeRoster()
    this.#allowances.clear()
    this.#open.setRoster([...this.#servers.values()])
    for (const kind of this.#own.keys()) this.#signOwn(kind)
  }

  #takeRoster(): void {
    const { memberId, signing, documents, log } = this.#parts
    const others = new Map(
      this.#parts
        .roster()
        .filter((server) => server.memberId !== memberId)
        .map((server) => [server.memberId, server]),
    )
    const kept = [...others.keys()].sort().slice(0, SERVERS_MAX - 1)
    if (kept.length < others.size)
      log.warn({ serverCount: others.size, keptCount: kept.length }, "the grid has more servers than the plane takes")
    this.#servers = new Map([...others].filter(([id]) => kept.includes(id)))
    documents.setRoster([{ memberId, signingKeyHex: signing.publicKeyHex }, ...this.#servers.values()])
  }

  #signOwn(kind: DocumentKind): void {
    const { memberId, documents, clock, signing } = this.#parts
    const data = this.#own.get(kind)
    const held = documents.get(memberId, kind)
    if (data === undefined || (held !== null && Buffer.from(held.data).equals(data))) return
    const document = signDocument({ memberId, kind, seq: nextSeq(held?.seq ?? null, clock.nowMs()), data }, signing)
    const taking = documents.take(document)
    if (taking !== "taken") throw new TypeError(`the own document ${kind} is ${taking}`)
    this.#hintSoon()
  }

  #up(memberId: MemberId, dialledBy: End): void {
    this.#tell({ memberId, is: "up" })
    // One exchange brings both what they lack.
    if (dialledBy === "self") this.#exchange(memberId)
  }

  #tell(event: PeerEvent): void {
    for (const listener of this.#peerListeners) listener(event)
  }

  /** Servers whose documents both this one and that one may have: both ends come to the same, so that equal summaries mean equal sets. */
  #visibleTo(memberId: MemberId): Visible {
    const { site: own, mayHear } = this.#parts
    const theirs = this.#servers.get(memberId)?.site
    return (of) => {
      const site = of === this.#parts.memberId ? own : this.#servers.get(of)?.site
      return site !== undefined && theirs !== undefined && mayHear(own, site) && mayHear(theirs, site)
    }
  }

  #exchangeParts(memberId: MemberId) {
    return {
      documents: this.#parts.documents,
      visible: this.#visibleTo(memberId),
      onTaken: (document: ServerDocument) => this.#taken(document),
    }
  }

  #taken(document: ServerDocument): void {
    if (document.memberId === this.#parts.memberId) {
      // It said so before it was started anew: what it says now is to be the newest.
      this.#signOwn(document.kind)
      return
    }
    for (const listener of this.#documentListeners) listener(document)
  }

  async #answer(memberId: MemberId, channel: Channel): Promise<void> {
    if (!this.#allows(`exchanges of ${memberId}`, EXCHANGES_OF_PEER))
      throw new GridError("REQUEST_INVALID", "more exchanges than are taken of one server")
    await answerExchange(channel, this.#exchangeParts(memberId))
  }

  /** Opens one, or sees to it that another follows the one that is open. */
  #exchange(memberId: MemberId): void {
    const open = this.#exchanges.get(memberId)
    if (open !== undefined) {
      open.again = true
      return
    }
    const exchange: Exchange = { again: false }
    this.#exchanges.set(memberId, exchange)
    void this.#runExchange(memberId, exchange)
  }

  async #runExchange(memberId: MemberId, exchange: Exchange): Promise<void> {
    let pauseMs: number | null = null
    try {
      const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(EXCHANGE_TIMEOUT_MS)])
      const isMore = await this.#open.exchange(memberId, signal, (channel) => openExchange(channel, this.#exchangeParts(memberId)))
      if (isMore || exchange.again) pauseMs = EXCHANGE_PAUSE_MS
    } catch (error) {
      this.#parts.log.debug({ memberId, reason: reasonOf(error) }, "an exchange with another server broke off")
      pauseMs = BROKEN_EXCHANGE_PAUSE_MS
    }
    this.#exchanges.delete(memberId)
    if (pauseMs === null) return
    this.#later(pauseMs * (1 + this.#random()), () => {
      if (this.#open.isConnected(memberId)) this.#exchange(memberId)
    })
  }

  #hinted(author: MemberId, via: MemberId, bytes: Uint8Array): "pass on" | "keep" {
    if (!this.#allows(`gossip of ${via}`, GOSSIP_OF_PEER)) {
      this.#open.misbehaved(via, "more gossip than is taken of one server")
      return "keep"
    }
    if (!this.#allows(`hints of ${author}`, HINTS_OF_AUTHOR)) return "keep"
    let seq: number
    try {
      seq = readHint(bytes)
    } catch (error) {
      this.#parts.log.debug({ memberId: author, reason: reasonOf(error) }, "hint out of form")
      return "keep"
    }
    if (seq > this.#parts.documents.newestSeqOf(author) && this.#visibleTo(author)(author)) {
      const source = this.#open.isConnected(author) ? author : via
      this.#later(LOOK_SPREAD_MS * this.#random(), () => this.#exchange(source))
    }
    return "pass on"
  }

  /** Tells the others that there is something new, no more often than once in a while. */
  #hintSoon(): void {
    if (this.#hintIsDue) return
    this.#hintIsDue = true
    this.#later(Math.max(HINT_DELAY_MS, HINT_PAUSE_MS - (this.#nowMs() - this.#hintedAtMs)), () => {
      this.#hintIsDue = false
      this.#hintedAtMs = this.#nowMs()
      const { documents, memberId, log } = this.#parts
      this.#open
        .gossip(writeHint(documents.newestSeqOf(memberId)))
        .catch((error: unknown) => log.debug({ reason: reasonOf(error) }, "hint was not told"))
    })
  }

  #scheduleRound(): void {
    this.#later(ROUND_MIN_MS + (ROUND_MAX_MS - ROUND_MIN_MS) * this.#random(), () => {
      const connected = this.#open.connected()
      const drawn = connected[Math.floor(this.#random() * connected.length)]
      if (drawn !== undefined) this.#exchange(drawn)
      this.#scheduleRound()
    })
  }

  #allows(what: string, limits: { readonly atOnce: number; readonly perSecond: number }): boolean {
    const allowance = this.#allowances.get(what) ?? new Allowance(limits, this.#nowMs())
    this.#allowances.set(what, allowance)
    return allowance.use(this.#nowMs())
  }

  #later(afterMs: number, run: () => void): void {
    if (this.#closing.signal.aborted) return
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      run()
    }, afterMs)
    this.#timers.add(timer)
  }
}
