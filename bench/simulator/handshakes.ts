/**
 * Connecting: round trips, and a turn of each end's processor. As the swarm's shell does it: two hosts keep one connection, of two that were dialled from
 * different ends that of the lower member id stays, and a host without room refuses more, after the handshake.
 */
import { kinds } from "./event-kinds.ts"
import type { EventQueue } from "./event-queue.ts"
import type { NetworkModel } from "./network-model.ts"
import type { Network } from "./network.ts"
import type { VirtualHost } from "./virtual-host.ts"
import type { Address } from "#core/address.ts"

export type Attempt = {
  readonly from: VirtualHost
  /** null: nobody is there. */
  readonly to: VirtualHost | null
  readonly address: Address
  readonly startedAtMs: number
  readonly roundTripMs: number
  failed: boolean
}

export class Handshakes {
  readonly #queue: EventQueue
  readonly #model: NetworkModel
  readonly #network: Network
  readonly #attempts: (Attempt | null)[] = []
  readonly #free: number[] = []
  /** Attempts that reached their target. */
  arrivedCount = 0

  constructor(queue: EventQueue, model: NetworkModel, network: Network) {
    this.#queue = queue
    this.#model = model
    this.#network = network
  }

  dial(attempt: Attempt): void {
    const number = this.#free.pop() ?? this.#attempts.length
    this.#attempts[number] = attempt
    const kind = attempt.to === null ? kinds.dialFailed : kinds.dialArrived
    this.#queue.push(attempt.startedAtMs + attempt.roundTripMs, kind, number, 0)
  }

  /** TCP is connected: the target's processor is next. */
  arrived(number: number, nowMs: number): void {
    const attempt = this.#attempts[number]
    const to = attempt?.to ?? null
    if (attempt === undefined || attempt === null || to === null) return
    this.arrivedCount += 1
    if (to.gone) return this.#fail(number, attempt, nowMs)
    if (to.frozen) return this.#fail(number, attempt, attempt.startedAtMs + this.#model.handshakeTimeoutMs)
    to.greeting.push(number)
    if (to.greeting.length > this.#model.halfOpenMax) {
      const oldest = to.greeting.shift() ?? number
      const evicted = this.#attempts[oldest]
      if (evicted !== undefined && evicted !== null) this.#fail(oldest, evicted, nowMs + evicted.roundTripMs / 2)
    }
    if (to.greeting.length === 1) this.#greetNext(to, nowMs)
  }

  /** The target's processor is done with the one that waited longest. */
  greeted(to: VirtualHost, nowMs: number): void {
    const number = to.greeting.shift()
    const attempt = number === undefined ? null : (this.#attempts[number] ?? null)
    if (number !== undefined && attempt !== null && !attempt.failed) {
      const { from } = attempt
      const lateMs = attempt.startedAtMs + this.#model.handshakeTimeoutMs
      from.cpuFreeAtMs = Math.max(from.cpuFreeAtMs, nowMs) + this.#model.handshakeMs
      const { handshakeBytes } = this.#model
      const sentMs = Math.max(this.#network.spend(to, from, handshakeBytes), this.#network.spend(from, to, handshakeBytes))
      const readyMs = Math.max(sentMs, from.cpuFreeAtMs) + (this.#model.handshakeRoundTrips - 1) * attempt.roundTripMs
      if (readyMs > lateMs) this.#fail(number, attempt, Math.max(nowMs, lateMs))
      else this.#queue.push(readyMs, kinds.established, number, 0)
    }
    if (to.greeting.length > 0) this.#greetNext(to, nowMs)
  }

  /** The attempt is over, one way or the other. */
  take(number: number): Attempt | null {
    const attempt = this.#attempts[number] ?? null
    this.#attempts[number] = null
    this.#free.push(number)
    return attempt
  }

  #greetNext(to: VirtualHost, nowMs: number): void {
    to.cpuFreeAtMs = Math.max(to.cpuFreeAtMs, nowMs) + this.#model.handshakeMs
    this.#queue.push(to.cpuFreeAtMs, kinds.greeted, to.index, 0)
  }

  #fail(number: number, attempt: Attempt, atMs: number): void {
    attempt.failed = true
    this.#queue.push(Math.max(atMs, attempt.startedAtMs), kinds.dialFailed, number, 0)
  }
}

/** Whether `from` and `to` are to be connected by what `from` dialled. `instead` of one that stands, of two that were dialled from different ends. */
export function verdictOf(from: VirtualHost, to: VirtualHost): "connect" | "instead" | "refuse" {
  if (from === to || from.core.isBanned(to.name) || to.core.isBanned(from.name)) return "refuse"
  const existing = from.links.get(to.index)
  if (existing === undefined) return to.core.hasRoomFor(from.site.name) ? "connect" : "refuse"
  return !existing.dialled && from.index < to.index ? "instead" : "refuse"
}
