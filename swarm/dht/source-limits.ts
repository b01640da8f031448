/**
 * What one source, and all sources together, may make this node do. A source is an IPv4 address. Memory is bounded: the least recently seen
 * source is forgotten when there are too many.
 */
import type { Clock } from "#core/clock.ts"
import { keepNewest } from "#core/newest.ts"
import type { KrpcMessage } from "./krpc-message.ts"

/** An announce costs its sender about 40 packets over as many nodes, a member at work sends a few a second. Several may share an address. */
const SOURCE_PACKETS_PER_SECOND = 500
const SOURCE_BURST_PACKETS = 1_000
/** Handling a packet costs about 0.1 ms: this is a fifth of one core. */
const TOTAL_PACKETS_PER_SECOND = 2_000
const TOTAL_BURST_PACKETS = 4_000
const SOURCES_MAX = 10_000
/** Distinct things that one source may have stored here within a window. */
const STORED_MAX = { pointer: 256, peer: 4_096 } as const
const STORED_WINDOW_MS = 40 * 60_000

type Source = { packets: Bucket; storedSinceMs: number; stored: { pointer: Set<string>; peer: Set<string> } }

/** A token bucket: `burst` at once, then `perSecond`. */
class Bucket {
  readonly #perSecond: number
  readonly #burst: number
  #level: number
  #atMs: number

  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#perSecond = perSecond
    this.#burst = burst
    this.#level = burst
    this.#atMs = nowMs
  }

  take(nowMs: number): boolean {
    // A clock that is set back neither fills nor empties the bucket.
    const elapsedMs = Math.max(0, nowMs - this.#atMs)
    this.#level = Math.min(this.#burst, this.#level + (elapsedMs / 1_000) * this.#perSecond)
    this.#atMs = nowMs
    if (this.#level < 1) return false
    this.#level -= 1
    return true
  }
}

export class SourceLimits {
  readonly #clock: Clock
  readonly #sources = new Map<string, Source>()
  readonly #total: Bucket

  constructor(clock: Clock) {
    this.#clock = clock
    this.#total = new Bucket(TOTAL_PACKETS_PER_SECOND, TOTAL_BURST_PACKETS, clock.nowMs())
  }

  /** Counts one authenticated packet; false when it is one too many. */
  admitPacket(host: string): boolean {
    const nowMs = this.#clock.nowMs()
    return this.#source(host, nowMs).packets.take(nowMs) && this.#total.take(nowMs)
  }

  /** Counts a distinct thing to store; false when the source has had its share. */
  admitStoring(host: string, stores: NonNullable<KrpcMessage["stores"]>): boolean {
    const nowMs = this.#clock.nowMs()
    const source = this.#source(host, nowMs)
    if (Math.abs(nowMs - source.storedSinceMs) > STORED_WINDOW_MS) {
      source.storedSinceMs = nowMs
      source.stored = { pointer: new Set(), peer: new Set() }
    }
    const stored = source.stored[stores.kind]
    if (stored.has(stores.key)) return true
    if (stored.size >= STORED_MAX[stores.kind]) return false
    stored.add(stores.key)
    return true
  }

  #source(host: string, nowMs: number): Source {
    const known = this.#sources.get(host)
    const source = known ?? {
      packets: new Bucket(SOURCE_PACKETS_PER_SECOND, SOURCE_BURST_PACKETS, nowMs),
      storedSinceMs: nowMs,
      stored: { pointer: new Set<string>(), peer: new Set<string>() },
    }
    // The map is kept in order of last use.
    keepNewest(this.#sources, host, source, SOURCES_MAX)
    return source
  }
}
