/**
 * One node of the grid's own DHT: announces and finds peers of layers (BEP 5) and holds signed pointers (BEP 44, BEP 46). Whatever it was
 * asked to keep alive in the network - announces, pointers, its own contacts - it keeps alive by itself until `close`, through any outage.
 */
import { randomBytes } from "node:crypto"
import { lookup as resolveName } from "node:dns/promises"
import { isIPv4 } from "node:net"
import DHT, { type FoundNode } from "bittorrent-dht"
import { type Address, formatAddress } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import type { Infohash } from "#core/identifiers.ts"
import { reasonOf } from "#core/errors.ts"
import type { DhtPort, PutPointer } from "./dht/dht-port.ts"
import { HeldPointers, targetHex } from "./dht/held-pointers.ts"
import { KeyedSocket, type PacketCounts } from "./dht/keyed-socket.ts"
import { REPLY_PEERS_MAX } from "./dht/krpc-message.ts"
import { KnownAddresses } from "./dht/known-addresses.ts"
import {
  type PointerItem,
  pointerOf,
  pointerTarget,
  publicKeyBytes,
  restorePointer,
  saltBytes,
  savePointer,
  signPointer,
  verifyRaw,
} from "./dht/pointer.ts"
import { type DhtState, STATE_NODES_MAX } from "./dht/state.ts"

export type { PointerItem } from "./dht/pointer.ts"
export { type DhtState, pointerIn, readDhtState } from "./dht/state.ts"

export type DhtParts = {
  /** 32 bytes each, that every member of the grid has: the first is in force, the others are taken still. */
  readonly networkKeys: readonly Uint8Array[]
  readonly clock: Clock
  /** Spreads recurring work; uniform in [0, 1). */
  readonly random?: () => number
  readonly log?: { info(fields: object, message: string): void; warn(fields: object, message: string): void }
}

export type DhtOptions = { readonly listen: Address; readonly bootstrap: readonly Address[]; readonly state?: DhtState }

const QUERY_TIMEOUT_MS = 1_000
const QUERY_CONCURRENCY = 64
/** Longest that a walk through the network may take; what was found by then counts. */
const WALK_TIMEOUT_MS = 8_000
const LOOKUP_PEERS_MAX = 1_000

/** An announced peer is forgotten by the nodes that hold it (BEP 5 leaves the age open). */
const PEER_AGE_MS = 40 * 60_000
const PEERS_MAX = 50_000
const VALUES_MAX = 20_000

const ANNOUNCE_EVERY_MS = 10 * 60_000
/** Holders re-put after 5 to 10 minutes, each at its own time. */
const REPUT_AFTER_MS = 5 * 60_000
const REPUT_SPREAD_MS = 5 * 60_000
/** A pointer that fewer than three nodes took is put again soon. */
const PUT_COPIES = 3
const PUT_RETRY_MS = 30_000
/** Below this many nodes each newcomer may be the one that others ask: it is told what we announce and hold. */
const SMALL_NETWORK_NODES = 20
const NEWCOMER_DELAY_MS = 1_000
const REPEAT_AT_LEAST_MS = 5_000

/** Below this many nodes, known addresses are tried every 2 s at first and every 30 s in the end; else every 10 minutes. */
const THIN_TABLE_NODES = 8
const CONTACT_EVERY_MIN_MS = 2_000
const CONTACT_EVERY_MAX_MS = 30_000
const CONTACT_EVERY_FULL_MS = 10 * 60_000
const CONTACTS_AT_ONCE = 32
/** Wait for the first answer to a round of pings. */
const CONTACT_TIMEOUT_MS = 1_500

const TICK_MS = 250
/** Announces and puts under way, and how long each counts after its end: 80 a second, so that no node gets more packets of us than it takes of one source. */
const WORK_AT_ONCE = 8
const TURN_MS = 100

/** Something done again and again, at times of the injected clock. */
type Recurring = { dueAtMs: number; doneAtMs: number; running: Promise<void> | null; run(): Promise<number> }

type Announced = Recurring & { readonly port: number }

export class Dht implements DhtPort {
  /** Where it listens, with the port that was given to it. */
  readonly address: Address
  readonly #clock: Clock
  readonly #random: () => number
  readonly #log: NonNullable<DhtParts["log"]>
  readonly #socket: KeyedSocket
  readonly #node: DHT
  readonly #known = new KnownAddresses()
  readonly #held = new HeldPointers()
  readonly #announced = new Map<Infohash, Announced>()
  readonly #puts = new Map<string, Recurring>()
  /** Ends each wait that is under way. */
  readonly #waits = new Set<() => void>()
  /** Recurring work that waits for its turn. */
  readonly #queue: (() => void)[] = []
  #working = 0
  #closed = false
  readonly #ticker: NodeJS.Timeout
  /** The round of contacting known addresses that is under way. */
  #contacting: Promise<void> | null = null
  #contactDueAtMs: number
  #contactEveryMs = CONTACT_EVERY_MIN_MS
  #malformedLogged = 0

  private constructor(parts: DhtParts, socket: KeyedSocket, options: DhtOptions) {
    this.#clock = parts.clock
    this.#random = parts.random ?? Math.random
    this.#log = parts.log ?? { info: () => {}, warn: () => {} }
    this.#socket = socket
    this.#contactDueAtMs = parts.clock.nowMs()
    const { address: host, port } = socket.address()
    this.address = { host, port }
    this.#node = new DHT({
      nodeId: options.state === undefined ? randomBytes(20) : Buffer.from(options.state.nodeId, "hex"),
      bootstrap: false,
      socket,
      ...(host === "0.0.0.0" ? {} : { host }),
      concurrency: QUERY_CONCURRENCY,
      timeout: QUERY_TIMEOUT_MS,
      maxAge: PEER_AGE_MS,
      maxPeers: PEERS_MAX,
      maxValues: VALUES_MAX,
      verify: verifyRaw,
    })
    answerWithFewPeers(this.#node)
    this.#node.setMaxListeners(0)
    this.#node.on("error", (error: Error) => this.#log.warn({ reason: error.message }, "DHT socket failed"))
    this.#node.on("node", (found: FoundNode) => this.#met(found))
    this.#node.listen()
    for (const at of (options.state?.nodes ?? []).toReversed()) this.#known.meet(at)
    this.addNodes(options.bootstrap)
    for (const saved of options.state?.pointers ?? []) {
      const item = restorePointer(saved)
      if (item !== null) this.hold(item)
    }
    this.#ticker = setInterval(() => this.#tick(), TICK_MS)
    this.#tick()
  }

  /**
   * Listens, and looks for other nodes from then on.
   * @throws {GridError} ADDRESS_IN_USE, ADDRESS_INVALID
   */
  static async open(parts: DhtParts, options: DhtOptions): Promise<Dht> {
    return new Dht(parts, await KeyedSocket.open(parts, options.listen), options)
  }

  /** What became of the packets that came in. */
  get packets(): Readonly<PacketCounts> {
    return this.#socket.counts
  }

  addNodes(addresses: readonly Address[]): void {
    for (const at of addresses) if (!this.#isOwn(at)) this.#known.tell(at)
    const reached = this.#reached()
    if (addresses.some((at) => !this.#isOwn(at) && !reached.has(formatAddress(at)))) this.#contactDueAtMs = this.#clock.nowMs()
  }

  async announce(infohash: Infohash, swarmPort: number): Promise<void> {
    if (!Number.isInteger(swarmPort) || swarmPort < 1 || swarmPort > 65_535)
      throw new RangeError(`a swarm's port is from 1 to 65535, not ${swarmPort}`)
    const target = Buffer.from(infohash, "hex")
    const work: Announced = {
      ...this.#recurring(async () => {
        if (this.#announced.get(infohash) !== work) return Infinity
        // A fresh walk: the library would use tokens of up to five minutes ago, and miss nodes that came since.
        await this.#walk((done) => this.#node.lookup(target, () => done(null)), null)
        await this.#walk((done) => this.#node.announce(target, swarmPort, () => done(null)), null)
        return ANNOUNCE_EVERY_MS * (0.9 + 0.2 * this.#random())
      }),
      port: swarmPort,
    }
    this.#announced.set(infohash, work)
    await this.#perform(work)
  }

  withdraw(infohash: Infohash): void {
    this.#announced.delete(infohash)
  }

  async lookup(infohash: Infohash, signal?: AbortSignal): Promise<Address[]> {
    signal?.throwIfAborted()
    const target = Buffer.from(infohash, "hex")
    const found = new Map<string, Address>()
    const take = ({ host, port }: Address, of: Buffer) => {
      if (of.equals(target) && found.size < LOOKUP_PEERS_MAX) found.set(formatAddress({ host, port }), { host, port })
    }
    await this.#contact(signal)
    this.#node.on("peer", take)
    try {
      await this.#walk((done) => this.#node.lookup(target, () => done(null)), null, signal)
    } finally {
      this.#node.off("peer", take)
    }
    signal?.throwIfAborted()
    return [...found.values()]
  }

  async putPointer(put: PutPointer): Promise<void> {
    const item = signPointer(put)
    // The network may hold a newer one: then that is what is kept.
    const newest = await this.getPointer(put.signing.publicKeyHex, put.salt)
    if (newest !== null && newest.seq > item.seq) return this.hold(newest)
    this.#hold(item)
    const work = this.#puts.get(targetHex(item))
    if (work !== undefined) await this.#perform(work)
  }

  async getPointer(publicKeyHex: string, salt: string): Promise<PointerItem | null> {
    const publicKey = publicKeyBytes(publicKeyHex)
    const saltOf = saltBytes(salt)
    await this.#contact()
    const found = await this.#fetch(publicKey, saltOf)
    const held = this.#held.get(publicKey, saltOf)
    return found !== null && (held === null || found.seq > held.seq) ? found : held
  }

  pointerHere(publicKeyHex: string, salt: string): PointerItem | null {
    const publicKey = publicKeyBytes(publicKeyHex)
    const saltOf = saltBytes(salt)
    const held = this.#held.get(publicKey, saltOf)
    // oxlint-disable-next-line no-underscore-dangle -- as in #hold
    const stored = this.#node._values.peek(pointerTarget(publicKey, saltOf).toString("hex"))
    if (stored?.seq === undefined || (held !== null && stored.seq <= held.seq)) return held
    return pointerOf(stored, publicKey, saltOf) ?? held
  }

  hold(item: PointerItem): void {
    this.#hold(item)
  }

  setNetworkKeys(networkKeys: readonly Uint8Array[]): void {
    this.#socket.setNetworkKeys(networkKeys)
    this.#contactDueAtMs = this.#clock.nowMs()
  }

  nodeCount(): number {
    return this.#node.nodes.count()
  }

  state(): DhtState {
    const reached = this.#node.nodes.toArray().map(({ host, port }) => ({ host, port }))
    const distinct = new Map([...reached, ...this.#known.all()].map((at) => [formatAddress(at), at]))
    return {
      nodeId: this.#node.nodeId.toString("hex"),
      nodes: [...distinct.values()].slice(0, STATE_NODES_MAX),
      pointers: this.#held.all().map(savePointer),
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#ticker)
    for (const giveUp of this.#waits) giveUp()
    for (const start of this.#queue.splice(0)) start()
    await new Promise<void>((resolve) => this.#node.destroy(resolve))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // Recurring work ----------------------------------------------------------------------------------------------------------------

  #tick(): void {
    const nowMs = this.#clock.nowMs()
    if (nowMs >= this.#contactDueAtMs) void this.#contactRound()
    for (const work of [...this.#puts.values(), ...this.#announced.values()])
      if (work.running === null && nowMs >= work.dueAtMs) void this.#perform(work)
    this.#reportMalformed()
  }

  #recurring(run: () => Promise<number>): Recurring {
    return { dueAtMs: this.#clock.nowMs(), doneAtMs: -Infinity, running: null, run }
  }

  /** Runs it now, after a run that is under way; `run` answers after how many milliseconds it is due again, unless it was wanted sooner meanwhile. */
  async #perform(work: Recurring): Promise<void> {
    while (work.running !== null) await work.running
    work.running = this.#runOnce(work)
    await work.running
  }

  async #runOnce(work: Recurring): Promise<void> {
    work.dueAtMs = Infinity
    let againAfterMs = PUT_RETRY_MS
    await this.#turn()
    try {
      await this.#contact()
      againAfterMs = await work.run()
    } catch (error) {
      this.#log.warn({ reason: reasonOf(error) }, "DHT work failed; it will be tried again")
    } finally {
      setTimeout(() => this.#endTurn(), TURN_MS).unref()
      work.doneAtMs = this.#clock.nowMs()
      work.dueAtMs = Math.min(work.dueAtMs, work.doneAtMs + againAfterMs)
      work.running = null
    }
  }

  /** Resolves when there is room for one more piece of work. */
  async #turn(): Promise<void> {
    if (this.#working >= WORK_AT_ONCE && !this.#closed) await new Promise<void>((resolve) => this.#queue.push(resolve))
    this.#working += 1
  }

  #endTurn(): void {
    this.#working -= 1
    this.#queue.shift()?.()
  }

  /** In a small network every newcomer is told soon what we announce and hold. */
  #met({ id, host, port }: FoundNode): void {
    if (id.equals(this.#node.nodeId)) return this.#node.removeNode(id)
    this.#known.meet({ host, port })
    this.#firstContact?.()
    if (this.#node.nodes.count() > SMALL_NETWORK_NODES) return
    const soonMs = this.#clock.nowMs() + NEWCOMER_DELAY_MS * (1 + this.#random())
    for (const work of [...this.#puts.values(), ...this.#announced.values()])
      work.dueAtMs = Math.min(work.dueAtMs, Math.max(soonMs, work.doneAtMs + REPEAT_AT_LEAST_MS))
  }

  // Pointers ----------------------------------------------------------------------------------------------------------------------

  #hold(item: PointerItem): void {
    const before = this.#held.get(item.publicKey, item.salt)
    const kept = this.#held.keep(item)
    if (kept === null || kept === before) return
    const target = targetHex(kept)
    // The library does not answer with an item that it has only put.
    // oxlint-disable-next-line no-underscore-dangle -- the package's own name, see bittorrent-dht.d.ts
    this.#node._values.set(target, {
      v: { ih: Buffer.from(kept.infohash, "hex") },
      k: kept.publicKey,
      salt: kept.salt,
      sig: kept.signature,
      seq: kept.seq,
      id: this.#node.nodeId,
    })
    const known = this.#puts.get(target)
    if (known === undefined) {
      const work = this.#recurring(() => this.#put(kept.publicKey, kept.salt))
      work.dueAtMs += NEWCOMER_DELAY_MS * (1 + this.#random())
      this.#puts.set(target, work)
    } else known.dueAtMs = Math.min(known.dueAtMs, this.#clock.nowMs())
  }

  /** Puts what is held under this key, unless the network knows a newer one: then that is held. */
  async #put(publicKey: Buffer, salt: Buffer): Promise<number> {
    const newer = await this.#fetch(publicKey, salt)
    if (newer !== null) this.#hold(newer)
    const item = this.#held.get(publicKey, salt)
    if (item === null) return REPUT_AFTER_MS
    const v = { ih: Buffer.from(item.infohash, "hex") }
    const copies = await this.#walk<number>((done) => {
      this.#node.put({ k: publicKey, salt, seq: item.seq, sig: item.signature, v }, (error, _target, count) => {
        // 302: every node that answered holds this seq already (BEP 44).
        if (error === null) done(typeof count === "number" ? count : 0)
        else done(error.code === 302 ? PUT_COPIES : 0)
      })
    }, 0)
    const spreadMs = REPUT_SPREAD_MS * this.#random()
    const enough = Math.min(PUT_COPIES, Math.max(1, this.nodeCount()))
    return copies >= enough ? REPUT_AFTER_MS + spreadMs : PUT_RETRY_MS * (1 + this.#random())
  }

  /** The newest valid item of the network. The library's own cache is left out: it would answer with a stale own copy for ever. */
  #fetch(publicKey: Buffer, salt: Buffer): Promise<PointerItem | null> {
    return this.#walk<PointerItem | null>((done) => {
      this.#node.get(pointerTarget(publicKey, salt), { salt, cache: false }, (error, answer) =>
        done(error === null ? pointerOf(answer, publicKey, salt) : null),
      )
    }, null)
  }

  // Contacts ----------------------------------------------------------------------------------------------------------------------

  /** Resolves when a node is known, or a round of trying to find one has ended. */
  async #contact(signal?: AbortSignal): Promise<void> {
    if (this.#contacting === null && this.nodeCount() > 0) return
    const round = this.#contactRound()
    const settled = async (done: (result: null) => void) => {
      await round
      done(null)
    }
    await this.#walk((done) => void settled(done), null, signal)
    signal?.throwIfAborted()
  }

  #contactRound(): Promise<void> {
    this.#contacting ??= this.#contactKnown().finally(() => {
      this.#contacting = null
    })
    return this.#contacting
  }

  #firstContact: (() => void) | null = null

  /** Pings known addresses that are not in the table, and walks towards the own id, so that those nearby learn of us and we of them. */
  async #contactKnown(): Promise<void> {
    if (this.#closed) return
    this.#scheduleContact()
    const reached = this.#reached()
    const candidates = this.#sample(this.#known.all().filter((at) => !reached.has(formatAddress(at))))
    if (candidates.length > 0) {
      for (const at of candidates) void this.#ping(at)
      if (this.nodeCount() === 0) await this.#untilFirstContact()
    }
    if (this.nodeCount() > 0) await this.#walk((done) => this.#node.lookup(this.#node.nodeId, () => done(null)), null)
    if (this.nodeCount() >= THIN_TABLE_NODES) this.#contactEveryMs = CONTACT_EVERY_MIN_MS
  }

  #scheduleContact(): void {
    const thin = this.nodeCount() < THIN_TABLE_NODES
    const everyMs = thin ? this.#contactEveryMs : CONTACT_EVERY_FULL_MS
    if (thin) this.#contactEveryMs = Math.min(CONTACT_EVERY_MAX_MS, this.#contactEveryMs * 2)
    this.#contactDueAtMs = this.#clock.nowMs() + everyMs * (0.75 + 0.5 * this.#random())
  }

  async #untilFirstContact(): Promise<void> {
    await this.#walk(
      (done) => {
        this.#firstContact = () => done(null)
      },
      null,
      undefined,
      CONTACT_TIMEOUT_MS,
    )
    this.#firstContact = null
  }

  async #ping(at: Address): Promise<void> {
    try {
      const host = isIPv4(at.host) ? at.host : (await resolveName(at.host, { family: 4 })).address
      if (!this.#closed && !this.#isOwn({ host, port: at.port })) this.#node.addNode({ host, port: at.port })
    } catch {
      // A name that can't be resolved now may be later.
    }
  }

  #sample(addresses: Address[]): Address[] {
    const pool = [...addresses]
    const chosen: Address[] = []
    while (pool.length > 0 && chosen.length < CONTACTS_AT_ONCE) chosen.push(...pool.splice(Math.floor(this.#random() * pool.length), 1))
    return chosen
  }

  #reached(): Set<string> {
    return new Set(this.#node.nodes.toArray().map(({ host, port }) => formatAddress({ host, port })))
  }

  #isOwn(at: Address): boolean {
    return at.port === this.address.port && at.host === this.address.host
  }

  // Bounds ------------------------------------------------------------------------------------------------------------------------

  /**
   * Waits for a call of the library, which may never call back: after `close`, after `timeoutMs` or once the signal aborts it answers
   * `otherwise`.
   */
  #walk<Result>(
    start: (done: (result: Result) => void) => void,
    otherwise: Result,
    signal?: AbortSignal,
    timeoutMs: number = WALK_TIMEOUT_MS,
  ): Promise<Result> {
    if (this.#closed || signal?.aborted === true) return Promise.resolve(otherwise)
    return new Promise((resolve) => {
      const giveUp = () => finish(otherwise)
      const timer = setTimeout(giveUp, timeoutMs)
      const finish = (result: Result) => {
        clearTimeout(timer)
        this.#waits.delete(giveUp)
        signal?.removeEventListener("abort", giveUp)
        resolve(result)
      }
      this.#waits.add(giveUp)
      signal?.addEventListener("abort", giveUp)
      start(finish)
    })
  }

  #reportMalformed(): void {
    const { malformed, overRate, overQuota, thrown } = this.#socket.counts
    const now = malformed + overRate + overQuota + thrown
    // At every doubling, so that a flood does not flood the log.
    if (now === 0 || now < this.#malformedLogged * 2) return
    this.#malformedLogged = now
    this.#log.warn({ malformed, overRate, overQuota, thrown }, "packets of members refused")
  }
}

/** The library answers with every peer that it knows of a layer: with some thousands that is longer than a datagram, and nobody gets an answer. */
function answerWithFewPeers(node: DHT): void {
  // oxlint-disable-next-line no-underscore-dangle -- the package's own name, see bittorrent-dht.d.ts
  const peers = node._peers
  const draw = peers.get.bind(peers)
  peers.get = (infohashHex, count = REPLY_PEERS_MAX) => draw(infohashHex, count)
}
