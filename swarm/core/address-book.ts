/** Addresses where peers of the torrent may be: which to dial next, and when one that failed is due again. Bounded; never forgets a given one for another. */
import { formatAddress, type Address } from "#core/address.ts"
import type { Limits } from "./limits.ts"
import type { Random } from "./random.ts"

type Entry = {
  readonly address: Address
  given: boolean
  state: "idle" | "dialling" | "connected"
  failures: number
  dueAtMs: number
  /** Ours, or of a banned member. */
  excluded: boolean
}

export class AddressBook {
  readonly #limits: Limits
  readonly #random: Random
  readonly #entries = new Map<string, Entry>()
  #halfOpen = 0

  constructor(limits: Limits, random: Random) {
    this.#limits = limits
    this.#random = random
  }

  get halfOpen(): number {
    return this.#halfOpen
  }

  add(address: Address, given: boolean, nowMs: number): void {
    const name = formatAddress(address)
    const known = this.#entries.get(name)
    if (known !== undefined) {
      if (given && !known.given) known.dueAtMs = Math.min(known.dueAtMs, nowMs)
      known.given ||= given
      return
    }
    if (this.#entries.size >= this.#limits.addresses && !this.#evictOne()) return
    this.#entries.set(name, { address, given, state: "idle", failures: 0, dueAtMs: nowMs, excluded: false })
  }

  /** An address to dial now, marked as being dialled; null when none is due. `givenOnly`: of those alone that were given. */
  next(givenOnly: boolean, nowMs: number): Address | null {
    let chosen: Entry | null = null
    let candidates = 0
    for (const entry of this.#entries.values()) {
      if (entry.state !== "idle" || entry.excluded || entry.dueAtMs > nowMs || (givenOnly && !entry.given)) continue
      if (chosen !== null && chosen.given && !entry.given) continue
      if (chosen !== null && entry.given && !chosen.given) candidates = 0
      candidates += 1
      // Each candidate is as likely as another, in one pass.
      if (this.#random.below(candidates) === 0) chosen = entry
    }
    if (chosen === null) return null
    chosen.state = "dialling"
    this.#halfOpen += 1
    return chosen.address
  }

  failed(address: Address, nowMs: number): void {
    const entry = this.#entries.get(formatAddress(address))
    // The same peer may have reached us meanwhile.
    if (entry?.state !== "dialling") return
    this.#leave(entry, "idle")
    entry.failures += 1
    this.#postpone(entry, nowMs)
  }

  connected(address: Address): void {
    const entry = this.#entries.get(formatAddress(address))
    if (entry === undefined) return
    this.#leave(entry, "connected")
  }

  /** The connection that was dialled there, or came from there, has ended. One that was short counts as one that failed. */
  ended(address: Address, how: "lost" | "exclude", livedMs: number, nowMs: number): void {
    const entry = this.#entries.get(formatAddress(address))
    if (entry === undefined) return
    this.#leave(entry, "idle")
    if (livedMs >= this.#limits.redialMaxMs) entry.failures = 0
    entry.excluded ||= how === "exclude"
    entry.failures += 1
    this.#postpone(entry, nowMs)
  }

  #leave(entry: Entry, state: Entry["state"]): void {
    if (entry.state === "dialling") this.#halfOpen -= 1
    entry.state = state
  }

  #postpone(entry: Entry, nowMs: number): void {
    const pauseMs = Math.min(this.#limits.redialMaxMs, this.#limits.redialFirstMs * 2 ** Math.min(entry.failures - 1, 16))
    entry.dueAtMs = nowMs + pauseMs * (0.75 + this.#random.below(500) / 1000)
  }

  #evictOne(): boolean {
    for (const [name, entry] of this.#entries) {
      if (entry.given || entry.state !== "idle" || entry.excluded) continue
      this.#entries.delete(name)
      return true
    }
    return false
  }
}
