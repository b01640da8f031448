/** Addresses where peers of the torrent may be: which to dial next, and when one that failed is due again. Bounded; never forgets a given one for another. */
import { formatAddress, type Address } from "#core/address.ts"
import type { Whereabouts } from "./events.ts"
import type { Limits } from "./limits.ts"
import type { Random } from "./random.ts"

type Entry = {
  readonly address: Address
  given: boolean
  where: Whereabouts
  /** It was connected once: where it is, is known. */
  met: boolean
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
  #knowsFar = false

  constructor(limits: Limits, random: Random) {
    this.#limits = limits
    this.#random = random
  }

  get halfOpen(): number {
    return this.#halfOpen
  }

  /** Of those, to members of other sites. */
  get halfOpenFar(): number {
    let count = 0
    if (this.#knowsFar) for (const { state, where } of this.#entries.values()) if (state === "dialling" && where === "far") count += 1
    return count
  }

  add(address: Address, given: boolean, where: Whereabouts, nowMs: number): void {
    const name = formatAddress(address)
    const known = this.#entries.get(name)
    this.#knowsFar ||= where === "far"
    if (known !== undefined) {
      // Whom we were connected to, we know better than others do. Of two that disagree the one is believed whose word is put to the test.
      if (!known.met && (known.where === "unknown" || where === "near")) known.where = where
      if (given && !known.given) known.dueAtMs = Math.min(known.dueAtMs, nowMs)
      known.given ||= given
      return
    }
    if (this.#entries.size >= this.#limits.addresses && !this.#evictOne()) return
    this.#entries.set(name, { address, given, where, met: false, state: "idle", failures: 0, dueAtMs: nowMs, excluded: false })
  }

  /**
   * An address to dial now, marked as being dialled; null when none is due. `which`: any that is not known to be of another site, of those that were given
   * alone, or of those that are of another site. Given ones go first, then those of the own site.
   */
  next(which: "any" | "given" | "far", nowMs: number): Address | null {
    let chosen: Entry | null = null
    let candidates = 0
    for (const entry of this.#entries.values()) {
      if (entry.state !== "idle" || entry.excluded || entry.dueAtMs > nowMs || (which === "given" && !entry.given)) continue
      if ((entry.where === "far") !== (which === "far")) continue
      const better: number = chosen === null ? 0 : this.#rank(chosen) - this.#rank(entry)
      if (better < 0) continue
      if (better > 0) candidates = 0
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

  connected(address: Address, where: Whereabouts): void {
    const entry = this.#entries.get(formatAddress(address))
    this.#knowsFar ||= where === "far"
    if (entry === undefined) return
    entry.where = where
    entry.met = true
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

  /** Where all that are known are of one site there is no telling them apart. */
  #rank(entry: Entry): number {
    if (entry.given) return 0
    return this.#knowsFar && entry.where === "unknown" ? 2 : 1
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
