/**
 * Hosts that exist only in memory: the core of each, joined by links with a rate and a delay, under a clock of their own. What happens is decided by the
 * seed alone.
 */
import { formatAddress, type Address } from "#core/address.ts"
import { BLOCK_BYTES } from "#core/torrent.ts"
import { Bitfield } from "#swarm/core/bitfield.ts"
import type { CoreEffect, CoreEvent, PeerRole } from "#swarm/core/events.ts"
import type { Limits } from "#swarm/core/limits.ts"
import { seededRandom } from "#swarm/core/random.ts"
import { TICK_MS, TorrentCore } from "#swarm/core/torrent-core.ts"

/** What carries a block here: whether it is as it should be. */
export type VirtualBlock = "true" | "false"
type Event = CoreEvent<VirtualBlock>
type Effect = CoreEffect<VirtualBlock>

/** Bytes that a message costs on the wire besides a block: record, segment and message headers. */
const MESSAGE_BYTES = 80

export type VirtualHostOptions = {
  readonly name: string
  readonly role: PeerRole
  readonly holds: "all" | "nothing"
  /** Both directions; without it, no bytes take any time. */
  readonly bytesPerSecond?: number
  readonly limits?: Partial<Limits>
  /** Sends wrong bytes. */
  readonly lies?: boolean
}

type Link = { readonly to: VirtualHost; readonly toNumber: number; open: boolean }

export class VirtualHost {
  readonly name: string
  readonly role: PeerRole
  readonly address: Address
  readonly core: TorrentCore<VirtualBlock>
  readonly lies: boolean
  readonly links = new Map<number, Link>()
  /** Blocks kept, by piece and offset, and whether they are true. */
  readonly kept = new Map<number, Map<number, VirtualBlock>>()
  readonly disconnects: { readonly key: string; readonly reason: string; readonly detail: string }[] = []
  readonly bytesPerSecond: number
  keptBytes = 0
  doneAtMs: number | null = null
  frozen = false
  gone = false
  upFreeAtMs = 0
  downFreeAtMs = 0
  nextNumber = 1

  constructor(options: VirtualHostOptions, index: number, core: TorrentCore<VirtualBlock>) {
    this.name = options.name
    this.role = options.role
    this.address = { host: `10.0.${index >> 8}.${index & 255}`, port: 7000 }
    this.core = core
    this.lies = options.lies ?? false
    this.bytesPerSecond = options.bytesPerSecond ?? Number.POSITIVE_INFINITY
  }
}

type Timed = { readonly atMs: number; readonly order: number; readonly run: () => void }

export class VirtualSwarm {
  readonly hosts: VirtualHost[] = []
  readonly #shape: { readonly pieceCount: number; readonly pieceBytes: number; readonly contentBytes: number }
  readonly #seed: number
  readonly #delayMs: number
  readonly #heap: Timed[] = []
  #order = 0
  nowMs = 0

  constructor(options: { readonly contentBytes: number; readonly pieceBytes: number; readonly seed: number; readonly delayMs?: number }) {
    const { contentBytes, pieceBytes } = options
    this.#shape = { contentBytes, pieceBytes, pieceCount: Math.ceil(contentBytes / pieceBytes) }
    this.#seed = options.seed
    this.#delayMs = options.delayMs ?? 1
  }

  add(options: VirtualHostOptions): VirtualHost {
    const index = this.hosts.length
    const held = options.holds === "all" ? Bitfield.full(this.#shape.pieceCount) : new Bitfield(this.#shape.pieceCount)
    const core = new TorrentCore<VirtualBlock>(
      { shape: this.#shape, held, random: seededRandom(this.#seed * 7919 + index), nowMs: this.nowMs },
      options.limits,
    )
    const host = new VirtualHost(options, index, core)
    this.hosts.push(host)
    const tick = () => {
      if (host.gone) return
      this.#happen(host, { kind: "tick" })
      this.#at(this.nowMs + TICK_MS, tick)
    }
    this.#at(this.nowMs + (index % 10) * 7, tick)
    return host
  }

  tell(host: VirtualHost, addresses: readonly Address[]): void {
    this.#happen(host, { kind: "addresses", from: null, given: true, addresses })
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
    this.#happen(host, event)
  }

  /** The host is gone at once, as if its power had failed; its peers learn it when the connection breaks. */
  kill(host: VirtualHost): void {
    host.gone = true
    for (const number of host.links.keys()) this.#cut(host, number)
  }

  /** Runs until `done` or until that time has passed; false when it has. */
  run(done: () => boolean, limitMs = 600_000): boolean {
    const endMs = this.nowMs + limitMs
    while (!done()) {
      const next = this.#pop()
      if (next === undefined || next.atMs > endMs) return false
      this.nowMs = next.atMs
      next.run()
    }
    return true
  }

  allDone(): boolean {
    return this.hosts.every((host) => host.gone || host.frozen || host.core.complete)
  }

  #happen(host: VirtualHost, event: Event): void {
    if (host.gone || host.frozen) return
    for (const effect of host.core.step(event, this.nowMs)) this.#carryOut(host, effect)
    if (host.core.complete) host.doneAtMs ??= this.nowMs
  }

  #carryOut(host: VirtualHost, effect: Effect): void {
    switch (effect.kind) {
      case "send": {
        const { message } = effect
        host.upFreeAtMs = Math.max(host.upFreeAtMs, this.nowMs) + this.#timeMs(host, MESSAGE_BYTES)
        return this.#deliver(host, effect.peer, this.nowMs + this.#delayMs, (number) => ({ kind: "message", peer: number, message }))
      }
      case "upload": {
        const link = host.links.get(effect.peer)
        let bytes = 0
        for (const block of effect.blocks) {
          bytes += block.length
          host.upFreeAtMs = Math.max(host.upFreeAtMs, this.nowMs) + this.#timeMs(host, block.length + MESSAGE_BYTES)
          if (link === undefined) continue
          const arrivesAtMs = host.upFreeAtMs + this.#delayMs
          this.#at(arrivesAtMs, () => {
            link.to.downFreeAtMs = Math.max(link.to.downFreeAtMs, this.nowMs) + this.#timeMs(link.to, block.length)
            this.#deliver(host, effect.peer, link.to.downFreeAtMs, (number) => ({
              kind: "message",
              peer: number,
              message: { type: "block", ...block, block: host.lies ? "false" : "true" },
            }))
          })
        }
        return this.#at(host.upFreeAtMs, () => this.#happen(host, { kind: "uploaded", peer: effect.peer, bytes }))
      }
      case "keep-block": {
        const blocks = host.kept.get(effect.piece) ?? new Map<number, VirtualBlock>()
        host.kept.set(effect.piece, blocks)
        if (blocks.has(effect.offset)) throw new Error(`${host.name} kept block ${effect.offset} of piece ${effect.piece} twice`)
        blocks.set(effect.offset, effect.block)
        host.keptBytes += Math.min(BLOCK_BYTES, this.#shape.contentBytes - effect.piece * this.#shape.pieceBytes - effect.offset)
        return
      }
      case "verify": {
        const good = [...(host.kept.get(effect.piece)?.values() ?? [])].every((block) => block === "true")
        const wrongBlocks = this.#wrongBefore.get(`${host.name} ${effect.piece}`) ?? []
        if (!good) this.#remember(host, effect.piece)
        return this.#at(this.nowMs + 1, () =>
          this.#happen(
            host,
            good ? { kind: "piece-stored", piece: effect.piece, wrongBlocks } : { kind: "piece-corrupt", piece: effect.piece },
          ),
        )
      }
      case "drop-piece":
        host.kept.delete(effect.piece)
        return
      case "exchange-peers": {
        const { added } = effect
        return this.#deliver(host, effect.peer, this.nowMs + this.#delayMs, (number) => ({
          kind: "addresses",
          from: number,
          given: false,
          addresses: added,
        }))
      }
      case "disconnect":
        host.disconnects.push({ key: host.links.get(effect.peer)?.to.name ?? "", reason: effect.reason, detail: effect.detail })
        return this.#cut(host, effect.peer)
      case "dial":
        return this.#at(this.nowMs + 4 * this.#delayMs, () => this.#connect(host, effect.address))
    }
  }

  readonly #wrongBefore = new Map<string, readonly number[]>()

  #remember(host: VirtualHost, piece: number): void {
    const name = `${host.name} ${piece}`
    if (this.#wrongBefore.has(name)) return
    const wrong = [...(host.kept.get(piece) ?? [])].filter(([, block]) => block === "false").map(([offset]) => offset / BLOCK_BYTES)
    this.#wrongBefore.set(name, wrong)
  }

  #connect(host: VirtualHost, address: Address): void {
    const other = this.hosts.find((each) => formatAddress(each.address) === formatAddress(address))
    const linked = [...host.links.values()].some((link) => link.open && link.to === other)
    if (host.gone) return
    if (other === undefined || other.gone || !other.core.hasRoom || linked || other === host)
      return this.#happen(host, { kind: "dial-failed", address })
    const number = host.nextNumber++
    const otherNumber = other.nextNumber++
    host.links.set(number, { to: other, toNumber: otherNumber, open: true })
    other.links.set(otherNumber, { to: host, toNumber: number, open: true })
    this.#happen(host, { kind: "connected", peer: number, key: other.name, role: other.role, dialled: address })
    this.#happen(other, { kind: "connected", peer: otherNumber, key: host.name, role: host.role, dialled: null })
    const introduction = { kind: "introduced", exchangesPeers: true, requestQueueLimit: 512 } as const
    this.#at(this.nowMs + this.#delayMs, () => {
      if (host.links.get(number)?.open !== true) return
      this.#happen(host, { ...introduction, peer: number, listen: other.address })
      this.#happen(other, { ...introduction, peer: otherNumber, listen: host.address })
    })
  }

  #deliver(host: VirtualHost, peer: number, atMs: number, event: (number: number) => Event): void {
    const link = host.links.get(peer)
    if (link === undefined) return
    this.#at(atMs, () => {
      if (link.open) this.#happen(link.to, event(link.toNumber))
    })
  }

  #cut(host: VirtualHost, number: number): void {
    const link = host.links.get(number)
    if (link === undefined || !link.open) return
    link.open = false
    host.links.delete(number)
    const back = link.to.links.get(link.toNumber)
    if (back !== undefined) back.open = false
    link.to.links.delete(link.toNumber)
    this.#at(this.nowMs + this.#delayMs, () => {
      this.#happen(host, { kind: "gone", peer: number })
      this.#happen(link.to, { kind: "gone", peer: link.toNumber })
    })
  }

  #timeMs(host: VirtualHost, bytes: number): number {
    return (bytes * 1000) / host.bytesPerSecond
  }

  // A binary heap: the earliest first, and of two at one time the one that was planned first.

  #at(atMs: number, run: () => void): void {
    const heap = this.#heap
    heap.push({ atMs, order: this.#order++, run })
    for (let at = heap.length - 1; at > 0;) {
      const parent = (at - 1) >> 1
      if (!earlier(heap[at], heap[parent])) break
      swap(heap, at, parent)
      at = parent
    }
  }

  #pop(): Timed | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    heap[0] = last
    for (let at = 0; ;) {
      let smallest = at
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < heap.length && earlier(heap[child], heap[smallest])) smallest = child
      if (smallest === at) return first
      swap(heap, at, smallest)
      at = smallest
    }
  }
}

function earlier(a: Timed | undefined, b: Timed | undefined): boolean {
  if (a === undefined || b === undefined) return false
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}

function swap(heap: Timed[], a: number, b: number): void {
  const kept = heap[a]
  const other = heap[b]
  if (kept === undefined || other === undefined) return
  heap[a] = other
  heap[b] = kept
}
