/**
 * A swarm in memory: the core of each host decides, as in the product; links, processors and the clock are the model's. What happens is decided by the seed
 * alone, and what must hold of every host is checked while it runs.
 */
import { formatAddress, type Address } from "#core/address.ts"
import { Bitfield } from "#swarm/core/bitfield.ts"
import type { TorrentShape } from "#swarm/core/board.ts"
import type { CoreEffect, CoreEvent } from "#swarm/core/events.ts"
import { defaultLimits } from "#swarm/core/limits.ts"
import type { BlockSpan, ControlMessage } from "#swarm/core/messages.ts"
import { seededRandom, type Random } from "#swarm/core/random.ts"
import { TICK_MS, TorrentCore } from "#swarm/core/torrent-core.ts"
import { WanBudget } from "#swarm/core/wan-budget.ts"
import { kinds } from "./event-kinds.ts"
import { EventQueue } from "./event-queue.ts"
import { Handshakes, verdictOf } from "./handshakes.ts"
import { HostBooks } from "./host-books.ts"
import { InvariantViolation, lostRequest, unansweredOf, wrongAtEnd, wrongNow } from "./invariants.ts"
import { networkDefaults, portQueueMs, WireCosts, type NetworkModel, type SmallMessage } from "./network-model.ts"
import { joinEnds, Network } from "./network.ts"
import { Cutting } from "./pieces.ts"
import type { Trace } from "./trace.ts"
import { Port, LinkEnd, Uplink, VirtualHost, type HostCore, type VirtualBlock, type VirtualHostOptions } from "./virtual-host.ts"
import { VirtualSite } from "./virtual-site.ts"

type Event = CoreEvent<VirtualBlock>
type Effect = CoreEffect<VirtualBlock>

export type SwarmShape = {
  readonly contentBytes: number
  readonly pieceBytes: number
  readonly blockBytes?: number
  readonly seed: number
  /** One way (0). */
  readonly delayMs?: number
  /** Share of packets (0). */
  readonly loss?: number
  /** Of each site's wide-area links, each way (as fast as need be), and one way between two sites (0). */
  readonly wideAreaBytesPerSecond?: number
  readonly wideAreaDelayMs?: number
  readonly model?: Partial<NetworkModel>
  /** Every so many steps the host that stepped is checked (1). */
  readonly checkEvery?: number
  readonly trace?: Trace
  /** What decides for a host: the product's core, unless a test wants to see a broken one caught. */
  readonly makeCore?: (core: TorrentCore<VirtualBlock>, index: number) => HostCore
}

/** Hosts tick at moments of their own, of this many in a tick's time. */
const TICK_PHASES = 1_000
const AUDIT_MS = 1_000
/** Swarms up to this size have each request accounted for by itself, larger ones by their number. */
const EXACT_HOSTS_MAX = 200
/** In larger ones, one host of this many is accounted for exactly. */
const EXACT_EVERY = 64

export class VirtualSwarm {
  readonly hosts: VirtualHost[] = []
  readonly sites: VirtualSite[] = []
  readonly network: Network
  readonly cutting: Cutting
  readonly #options: SwarmShape
  readonly #queue = new EventQueue()
  readonly #costs: WireCosts
  readonly #handshakes: Handshakes
  readonly #random: Random
  readonly #ends: LinkEnd[] = []
  readonly #byAddress = new Map<string, VirtualHost>()
  readonly #calls: (() => void)[] = []
  readonly #checkEvery: number
  #stepsUnchecked = 0
  /** Hosts that still want something. */
  #unfinished = 0
  /** Ends with small messages, and blocks to upload, of the event that is handled. */
  readonly #gathering: LinkEnd[] = []
  readonly #uploading: { readonly end: LinkEnd; readonly blocks: readonly BlockSpan[] }[] = []
  eventCount = 0
  stepCount = 0

  constructor(options: SwarmShape) {
    const { contentBytes, pieceBytes } = options
    const shape: TorrentShape = {
      contentBytes,
      pieceBytes,
      pieceCount: Math.ceil(contentBytes / pieceBytes),
      ...(options.blockBytes === undefined ? {} : { blockBytes: options.blockBytes }),
    }
    const model = { ...networkDefaults, ...options.model }
    this.#options = options
    this.cutting = new Cutting(shape)
    this.#costs = new WireCosts(model, this.cutting.blockBytes)
    this.#random = seededRandom(options.seed * 31 + 17)
    this.#checkEvery = options.checkEvery ?? 1
    const { cutting } = this
    this.network = new Network(
      { queue: this.#queue, cutting, costs: this.#costs, random: this.#random },
      { delayMs: options.delayMs ?? 0, loss: options.loss ?? 0, wideAreaDelayMs: options.wideAreaDelayMs ?? 0 },
    )
    this.#handshakes = new Handshakes(this.#queue, model, this.network)
    this.#queue.push(AUDIT_MS, kinds.audit, 0, 0)
  }

  get nowMs(): number {
    return this.network.nowMs
  }

  get eventsWaiting(): number {
    return this.#queue.size
  }

  get connectionsMade(): number {
    return this.#ends.length / 2
  }

  add(options: VirtualHostOptions): VirtualHost {
    const index = this.hosts.length
    const { shape } = this.cutting
    const { model } = this.#costs
    const held = options.holds === "all" ? Bitfield.full(shape.pieceCount) : new Bitfield(shape.pieceCount)
    const random = seededRandom(this.#options.seed * 7_919 + index)
    const site = this.#site(options.site ?? 0)
    site.budgeted ||= options.wanBytesPerSecondLimit !== undefined
    const own = { key: options.name, server: options.role === "server", site: site.name }
    const wan = new WanBudget(options.wanBytesPerSecondLimit ?? null, { ...defaultLimits, ...options.limits }, this.nowMs)
    const core = new TorrentCore<VirtualBlock>({ own, wan, shape, held, random, nowMs: this.nowMs }, options.limits)
    const upRate = options.upBytesPerSecond ?? options.bytesPerSecond ?? Number.POSITIVE_INFINITY
    const downRate = options.downBytesPerSecond ?? options.bytesPerSecond ?? Number.POSITIVE_INFINITY
    const books = new HostBooks(this.cutting)
    if (options.holds === "all") books.storedPieces = shape.pieceCount
    const host = new VirtualHost(index, options, {
      core: this.#options.makeCore?.(core, index) ?? core,
      site,
      up: new Uplink(upRate, Math.max(model.sendBufferBytesMin, (upRate * model.sendBufferMs) / 1_000)),
      down: new Port(downRate, portQueueMs(downRate), { kind: kinds.portOpened, number: index }),
      books,
      nowMs: this.nowMs,
    })
    this.hosts.push(host)
    this.#byAddress.set(formatAddress(host.address), host)
    if (host.wanted) this.#unfinished += 1
    const phaseMs = (this.#random.below(TICK_PHASES) * TICK_MS) / TICK_PHASES
    this.#queue.push(this.nowMs + phaseMs, kinds.tick, index, 0)
    return host
  }

  tell(host: VirtualHost, addresses: readonly Address[]): void {
    this.happen(host, { kind: "addresses", from: null, given: true, addresses })
  }

  /** Every host learns of these and goes on from there. */
  tellAll(known: readonly VirtualHost[]): void {
    for (const host of this.hosts)
      this.tell(
        host,
        known.filter((other) => other !== host).map((other) => other.address),
      )
  }

  /** Sends an event that no honest peer would cause, or any other. */
  happen(host: VirtualHost, event: Event): void {
    this.#step(host, event)
    this.#sendOff()
  }

  /** Reads in order from now on: its core's window follows its first missing piece. */
  read(host: VirtualHost): void {
    host.readingAt = 0
    this.happen(host, { kind: "window", firstPiece: 0 })
  }

  /** The host is gone at once, as when its process is killed; its peers learn it when the connection breaks. */
  kill(host: VirtualHost): void {
    if (host.gone) return
    this.#countOut(host)
    host.gone = true
    for (const end of host.links.values()) this.#cut(end)
  }

  /** The host does nothing more, while its kernel still takes what comes. */
  freeze(host: VirtualHost): void {
    if (host.frozen) return
    this.#countOut(host)
    host.frozen = true
  }

  /** Calls `run` at that time. */
  at(atMs: number, run: () => void): void {
    this.#queue.push(atMs, kinds.call, this.#calls.push(run) - 1, 0)
  }

  /** Runs until `done`, which is asked before each event, or until that time has passed; false when it has. */
  run(done: () => boolean, limitMs = 600_000): boolean {
    const endMs = this.nowMs + limitMs
    while (!done()) {
      if (this.#queue.nextMs > endMs || !this.#queue.next()) return false
      this.#take()
    }
    return true
  }

  /** Every host has everything, apart from those that are gone or frozen. */
  allDone(): boolean {
    return this.#unfinished === 0
  }

  /**
   * Runs on until what is under way has ended, then holds everything against each other.
   * @throws {InvariantViolation}
   */
  finish(limitMs = 60_000): void {
    let nextMs = this.nowMs
    const quiet = () => {
      if (this.nowMs < nextMs) return false
      nextMs = this.nowMs + 50
      const { writtenBytes, arrivedBytes, lostBytes } = this.network
      return writtenBytes === arrivedBytes + lostBytes && unansweredOf(this.#ends) === 0
    }
    if (!this.run(quiet, limitMs)) {
      const { writtenBytes, arrivedBytes, lostBytes } = this.network
      const end = this.#ends.find((each) => each.open && each.unanswered > 0)
      throw this.#violation(
        end?.host ?? null,
        `${unansweredOf(this.#ends)} requests without an answer; ${writtenBytes} bytes written, ${arrivedBytes} arrived, ${lostBytes} lost`,
      )
    }
    for (const host of this.hosts) {
      if (host.gone || host.frozen) continue
      const wrong = wrongNow(host, this.cutting) ?? wrongAtEnd(host, this.cutting)
      if (wrong !== null) throw this.#violation(host, wrong)
    }
  }

  #countOut(host: VirtualHost): void {
    if (host.wanted && !host.gone && !host.frozen && host.doneAtMs === null) this.#unfinished -= 1
  }

  // One event.

  #take(): void {
    const { kind, a, b, atMs } = this.#queue
    this.network.nowMs = atMs
    this.eventCount += 1
    this.#options.trace?.add(atMs, kind, a, b)
    switch (kind) {
      case kinds.tick:
        this.#tick(this.#host(a))
        break
      case kinds.audit:
        return this.#audit()
      case kinds.uplinkFree:
        this.network.uplinkFree(this.#host(a))
        return
      case kinds.portOpened:
        this.network.portOpened(this.#host(a).down)
        return
      case kinds.wideAreaOpened: {
        const site = this.#site(a >> 1)
        this.network.portOpened(a % 2 === 0 ? site.up : site.down)
        return
      }
      case kinds.crossing:
        this.network.crossed(a)
        return
      case kinds.windowOpened:
        this.network.windowOpened(this.#end(a))
        return
      case kinds.block:
        this.#blockArrived(this.#end(a), b)
        break
      case kinds.small:
        this.#smallArrived(this.#end(a))
        break
      case kinds.uploaded:
        this.#uploaded(this.#end(a), b)
        break
      case kinds.verified:
        this.#verified(this.#host(a), b)
        break
      case kinds.dialArrived:
        this.#handshakes.arrived(a, atMs)
        return
      case kinds.greeted:
        this.#handshakes.greeted(this.#host(a), atMs)
        return
      case kinds.established:
        this.#established(a)
        break
      case kinds.dialFailed:
        this.#dialFailed(a)
        break
      case kinds.gone:
        this.#gone(this.#end(a))
        break
      case kinds.call:
        this.#calls[a]?.()
        break
      default:
        throw new RangeError(`an event of kind ${kind}`)
    }
    this.#sendOff()
  }

  #host(index: number): VirtualHost {
    const host = this.hosts[index]
    if (host === undefined) throw new RangeError(`host ${index} of ${this.hosts.length}`)
    return host
  }

  #site(number: number): VirtualSite {
    const bytesPerSecond = this.#options.wideAreaBytesPerSecond ?? Number.POSITIVE_INFINITY
    const site = this.sites[number] ?? new VirtualSite(number, bytesPerSecond)
    this.sites[number] = site
    return site
  }

  #end(number: number): LinkEnd {
    const end = this.#ends[number]
    if (end === undefined) throw new RangeError(`end ${number} of ${this.#ends.length}`)
    return end
  }

  readonly #tickEvent: Event = { kind: "tick" }

  #tick(host: VirtualHost): void {
    if (host.gone) return
    this.#step(host, this.#tickEvent)
    this.#queue.push(this.nowMs + TICK_MS, kinds.tick, host.index, 0)
  }

  /** Looks for requests that nobody will answer. */
  #audit(): void {
    this.#queue.push(this.nowMs + AUDIT_MS, kinds.audit, 0, 0)
    for (const host of this.hosts) {
      const lost = host.gone || host.frozen ? null : lostRequest(host, this.nowMs)
      if (lost !== null) throw this.#violation(host, lost)
    }
  }

  // Handed to a core again and again: it keeps neither.
  readonly #blockMessage = { type: "block" as const, piece: 0, offset: 0, length: 0, block: "true" as VirtualBlock }
  readonly #blockEvent = { kind: "message" as const, peer: 0, message: this.#blockMessage }
  readonly #messageEvent = { kind: "message" as const, peer: 0, message: { type: "keep-alive" } as ControlMessage }
  readonly #uploadedEvent = { kind: "uploaded" as const, peer: 0, bytes: 0 }

  #blockArrived(end: LinkEnd, block: number): void {
    const from = end.other
    if (!end.open) return
    const bytes = this.cutting.bytesOf(block)
    this.network.blockArrived(from, bytes)
    const { host } = end
    if (host.frozen) return
    host.books.deliveredBytes += bytes
    if (from.host.site !== host.site) host.books.crossedBytes += bytes
    this.#answered(end, block)
    const message = this.#blockMessage
    message.piece = this.cutting.pieceOf(block)
    message.offset = this.cutting.offsetOf(block)
    message.length = bytes
    message.block = from.host.lies ? "false" : "true"
    this.#blockEvent.peer = end.number
    this.#step(host, this.#blockEvent)
  }

  #smallArrived(end: LinkEnd): void {
    if (!end.open) return
    const from = end.other
    const messages = from.arriving[from.arrivingAt]
    from.arrivingAt += 1
    if (from.arrivingAt === from.arriving.length) {
      from.arriving.length = 0
      from.arrivingAt = 0
    }
    for (const message of messages ?? []) {
      if (!end.open) return
      this.#smallMessage(end, message)
    }
  }

  #smallMessage(end: LinkEnd, message: SmallMessage): void {
    const { host } = end
    if (host.frozen) return
    switch (message.type) {
      case "introduction":
        return this.#step(host, {
          kind: "introduced",
          peer: end.number,
          listen: end.other.host.address,
          exchangesPeers: true,
          takesDontHave: true,
          requestQueueLimit: defaultLimits.requestsQueued,
        })
      case "peer-exchange":
        this.#step(host, { kind: "addresses", from: end.number, given: false, where: "near", addresses: message.near })
        if (message.far.length > 0)
          this.#step(host, { kind: "addresses", from: end.number, given: false, where: "far", addresses: message.far })
        return
      case "site-news":
        return this.#step(host, { kind: "site-news", peer: end.number, news: message.news })
      case "reject":
        this.#answered(end, this.cutting.blockOf(message))
        break
      default:
    }
    this.#messageEvent.peer = end.number
    this.#messageEvent.message = message
    this.#step(host, this.#messageEvent)
  }

  #uploaded(end: LinkEnd, bytes: number): void {
    if (!end.open || end.host.frozen) return
    end.host.books.uploadedBytes += bytes
    this.#uploadedEvent.peer = end.number
    this.#uploadedEvent.bytes = bytes
    this.#step(end.host, this.#uploadedEvent)
  }

  #verified(host: VirtualHost, piece: number): void {
    if (host.gone || host.frozen) return
    const { right, wrongBefore } = host.books.endVerifying(piece)
    this.#step(host, right ? { kind: "piece-stored", piece, wrongBlocks: wrongBefore } : { kind: "piece-corrupt", piece })
    if (!right) return
    if (host.core.complete && host.doneAtMs === null) {
      this.#countOut(host)
      host.doneAtMs = this.nowMs
    }
    if (host.readingAt !== piece) return
    const { pieceCount } = this.cutting.shape
    while (host.readingAt < pieceCount && host.core.held.has(host.readingAt)) host.readingAt += 1
    if (host.readingAt < pieceCount) this.#step(host, { kind: "window", firstPiece: host.readingAt })
  }

  // The core.

  #step(host: VirtualHost, event: Event): void {
    if (host.gone || host.frozen) return
    this.stepCount += 1
    try {
      for (const effect of host.core.step(event, this.nowMs)) this.#carryOut(host, effect)
    } catch (error) {
      if (error instanceof InvariantViolation) throw error
      throw this.#violation(host, `the core failed at "${event.kind}": ${error instanceof Error ? error.message : String(error)}`, error)
    }
    this.#stepsUnchecked += 1
    if (this.#stepsUnchecked < this.#checkEvery) return
    this.#stepsUnchecked = 0
    const wrong = wrongNow(host, this.cutting)
    if (wrong !== null) throw this.#violation(host, wrong)
  }

  #carryOut(host: VirtualHost, effect: Effect): void {
    switch (effect.kind) {
      case "send": {
        const end = this.#end(effect.peer)
        if (effect.message.type === "request") this.#asked(end, this.cutting.blockOf(effect.message))
        return this.#gather(end, effect.message)
      }
      case "upload":
        this.#uploading.push({ end: this.#end(effect.peer), blocks: effect.blocks })
        return
      case "keep-block": {
        const block = this.cutting.blockOf(effect)
        if (!host.books.keep(block, effect.block === "true"))
          throw this.#violation(host, `block ${block} (piece ${effect.piece}) is kept twice`)
        return
      }
      case "verify": {
        if (!host.books.startVerifying(effect.piece))
          throw this.#violation(host, `piece ${effect.piece} is to be verified and lacks blocks`)
        const { verifyBytesPerMs, verifyMs } = this.#costs.model
        host.cpuFreeAtMs = Math.max(host.cpuFreeAtMs, this.nowMs) + this.cutting.pieceBytes(effect.piece) / verifyBytesPerMs
        this.#queue.push(host.cpuFreeAtMs + verifyMs, kinds.verified, host.index, effect.piece)
        return
      }
      case "drop-piece":
        host.books.drop(effect.piece)
        return
      case "exchange-peers":
        return this.#gather(this.#end(effect.peer), {
          type: "peer-exchange",
          near: effect.near,
          far: effect.far,
          droppedCount: effect.dropped.length,
        })
      case "tell-site":
        return this.#gather(this.#end(effect.peer), { type: "site-news", news: effect.news })
      case "dont-have":
      case "forget-piece":
        throw this.#violation(host, `"${effect.kind}" where every host keeps all pieces`)
      case "disconnect": {
        const end = this.#end(effect.peer)
        host.disconnects.push({ key: end.other.host.name, reason: effect.reason, detail: effect.detail })
        return this.#cut(end)
      }
      case "dial": {
        const to = this.#byAddress.get(formatAddress(effect.address)) ?? null
        const roundTripMs = to === null ? 1 : this.network.roundTripMs(host, to)
        this.#handshakes.dial({ from: host, to, address: effect.address, startedAtMs: this.nowMs, roundTripMs, failed: false })
        return
      }
    }
  }

  #gather(end: LinkEnd, message: SmallMessage): void {
    if (!end.open) return
    if (end.gathered === null) {
      end.gathered = [message]
      this.#gathering.push(end)
    } else end.gathered.push(message)
  }

  /** What the event brought about leaves: small messages at once, blocks after they were read. */
  #sendOff(): void {
    if (this.#gathering.length > 0) {
      for (const end of this.#gathering) {
        const messages = end.gathered
        end.gathered = null
        if (end.open && messages !== null) this.network.writeSmall(end, messages)
      }
      this.#gathering.length = 0
    }
    if (this.#uploading.length > 0) {
      for (const { end, blocks } of this.#uploading) if (end.open) this.network.write(end, blocks)
      this.#uploading.length = 0
    }
  }

  // Requests on the wire.

  #asked(end: LinkEnd, block: number): void {
    end.unanswered += 1
    end.host.books.unanswered += 1
    if (end.asked === null) return
    if (end.asked.has(block)) throw this.#violation(end.host, `block ${block} is asked twice of ${end.other.host.name}`)
    end.asked.set(block, this.nowMs)
  }

  #answered(end: LinkEnd, block: number): void {
    end.unanswered -= 1
    end.host.books.unanswered -= 1
    const known = end.asked === null || end.asked.delete(block)
    if (!known || end.unanswered < 0)
      throw this.#violation(end.other.host, `answered ${end.host.name} for block ${block} and was not asked`)
  }

  // Connections.

  #established(number: number): void {
    const attempt = this.#handshakes.take(number)
    if (attempt === null || attempt.to === null) return
    const { from, to, address } = attempt
    if (from.gone || from.frozen) return
    const verdict = to.gone || to.frozen ? "refuse" : verdictOf(from, to)
    if (verdict === "refuse") return this.#step(from, { kind: "dial-failed", address })
    const existing = from.links.get(to.index)
    if (existing !== undefined) {
      this.#cut(existing)
      for (const each of [existing, existing.other]) this.#gone(each)
    }
    const first = this.#ends.length
    const exact = (index: number) => this.hosts.length <= EXACT_HOSTS_MAX || index % EXACT_EVERY === 0
    const windowBytes = this.network.firstWindowBytes
    const end = new LinkEnd(first, from, { dialled: true, windowBytes, exact: exact(from.index) })
    const other = new LinkEnd(first + 1, to, { dialled: false, windowBytes, exact: exact(to.index) })
    joinEnds(end, other)
    this.#ends.push(end, other)
    from.links.set(to.index, end)
    to.links.set(from.index, other)
    this.#connected(end, address)
    if (other.open) this.#connected(other, null)
  }

  #connected(end: LinkEnd, dialled: Address | null): void {
    const { name: key, role, site } = end.other.host
    end.host.books.knownPeers += 1
    this.#step(end.host, { kind: "connected", peer: end.number, key, role, site: site.name, dialled })
    this.#gather(end, { type: "introduction" })
  }

  #dialFailed(number: number): void {
    const attempt = this.#handshakes.take(number)
    if (attempt !== null) this.#step(attempt.from, { kind: "dial-failed", address: attempt.address })
  }

  /** Breaks a connection: `end`'s host knows it at once, the other when the news came over the path. */
  #cut(end: LinkEnd): void {
    if (!end.open) return
    for (const each of [end, end.other]) {
      this.network.close(each)
      each.host.links.delete(each.other.host.index)
    }
    this.#queue.push(this.nowMs, kinds.gone, end.number, 0)
    this.#queue.push(this.nowMs + this.network.delayMs(end.host, end.other.host), kinds.gone, end.other.number, 0)
  }

  #gone(end: LinkEnd): void {
    if (end.isForgotten) return
    end.isForgotten = true
    const { books } = end.host
    this.#step(end.host, { kind: "gone", peer: end.number })
    books.knownPeers -= 1
    books.unanswered -= end.unanswered
    end.unanswered = 0
    end.asked?.clear()
  }

  #violation(host: VirtualHost | null, what: string, cause?: unknown): InvariantViolation {
    return new InvariantViolation(
      what,
      { host: host?.name ?? "the swarm", nowMs: this.nowMs, seed: this.#options.seed },
      cause === undefined ? {} : { cause },
    )
  }
}
