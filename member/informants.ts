/**
 * Whose word on newer catalogs is worth a fetch. Whoever sent us after one in vain is not believed for a while, and then for longer. Pure, and
 * bounded.
 */
import { keepNewest } from "#core/newest.ts"

const FIRST_DISBELIEF_MS = 5 * 60_000
const NEXT_DISBELIEF_MS = 3_600_000
/** The oldest is forgotten beyond this many. */
const DISBELIEVED_MAX = 10_000

export class Informants {
  readonly #disbelievedUntilMs = new Map<string, number>()

  believes(who: string, nowMs: number): boolean {
    return nowMs >= (this.#disbelievedUntilMs.get(who) ?? Number.NEGATIVE_INFINITY)
  }

  wasVain(who: string, nowMs: number): void {
    const restMs = this.#disbelievedUntilMs.has(who) ? NEXT_DISBELIEF_MS : FIRST_DISBELIEF_MS
    keepNewest(this.#disbelievedUntilMs, who, nowMs + restMs, DISBELIEVED_MAX)
  }

  wasTrue(who: string): void {
    this.#disbelievedUntilMs.delete(who)
  }
}
