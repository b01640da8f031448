/**
 * Who is served: few at a time, so that each has a whole piece soon and passes it on, each for a short turn while others wait. How many is found by
 * trying: one slot more stays when it makes the whole uplink faster.
 */
import type { Limits } from "./limits.ts"
import type { PeerState } from "./peer-state.ts"
import type { Random } from "./random.ts"
import { ReactiveRate } from "./rate.ts"

export class UploadSlots {
  readonly #limits: Limits
  readonly #random: Random
  /** Interested peers without a slot, in no order, and where each is. */
  readonly #waiting: PeerState[] = []
  readonly #places = new Map<PeerState, number>()
  readonly #rate: ReactiveRate
  #slots: number
  #taken = 0
  /** What was sent since the last trial began or ended, and whether all slots were taken all the time. */
  #sentBytes = 0
  #sinceMs: number
  #busy = true
  /** While a trial is on: how many slots there were, and how fast they were together. */
  #before: { readonly slots: number; readonly bytesPerSecond: number } | null = null
  #restUntilMs = 0

  constructor(limits: Limits, random: Random, nowMs: number) {
    this.#limits = limits
    this.#random = random
    this.#rate = new ReactiveRate(nowMs)
    this.#sinceMs = nowMs
    this.#slots = limits.uploadSlots
  }

  get taken(): number {
    return this.#taken
  }

  get someoneWaits(): boolean {
    return this.#waiting.length > 0
  }

  /** Bytes of one turn while others wait; it ends with the piece in which they are reached. */
  get turnBytes(): number {
    return (this.#rate.bytesPerSecond * this.#limits.slotMs) / 1000
  }

  wait(peer: PeerState): void {
    if (this.#places.has(peer)) return
    this.#places.set(peer, this.#waiting.length)
    this.#waiting.push(peer)
  }

  waitNoMore(peer: PeerState): void {
    const place = this.#places.get(peer)
    const last = this.#waiting.pop()
    if (place === undefined || last === undefined) {
      if (last !== undefined) this.#waiting.push(last)
      return
    }
    this.#places.delete(peer)
    if (last === peer) return
    this.#waiting[place] = last
    this.#places.set(last, place)
  }

  /** Gives a free slot to one of those who wait; null when there is none of either. Of few drawn at random it is the one that has least. */
  give(): PeerState | null {
    if (this.#taken >= this.#slots) return null
    let chosen: PeerState | null = null
    for (let draw = 0; draw < this.#limits.slotDraws && this.#waiting.length > 0; draw += 1) {
      const peer = this.#waiting[this.#random.below(this.#waiting.length)]
      if (peer !== undefined && (chosen === null || peer.have.count < chosen.have.count)) chosen = peer
    }
    if (chosen === null) return null
    this.waitNoMore(chosen)
    this.#taken += 1
    return chosen
  }

  takeBack(): void {
    this.#taken -= 1
  }

  sent(bytes: number): void {
    this.#rate.add(bytes)
    this.#sentBytes += bytes
  }

  /** To be called at each tick. */
  tick(nowMs: number): void {
    this.#rate.settle(nowMs)
    if (this.#taken < this.#slots || !this.someoneWaits) this.#busy = false
    if (nowMs - this.#sinceMs < this.#limits.slotTrialMs) return
    const bytesPerSecond = (this.#sentBytes * 1000) / (nowMs - this.#sinceMs)
    const busy = this.#busy
    const before = this.#before
    this.#sentBytes = 0
    this.#sinceMs = nowMs
    this.#busy = true
    this.#before = null
    if (before !== null && (!busy || bytesPerSecond < before.bytesPerSecond * (1 + (this.#slots / before.slots - 1) / 2))) {
      this.#slots = before.slots
      this.#restUntilMs = nowMs + this.#limits.slotRestMs
    } else if (busy && nowMs >= this.#restUntilMs && this.#slots < this.#limits.uploadSlotsMax) {
      this.#before = { slots: this.#slots, bytesPerSecond }
      this.#slots = Math.min(this.#limits.uploadSlotsMax, this.#slots + Math.max(1, this.#slots >> 1))
    }
  }
}
