/** How often one member may do what is recorded for each time: nobody fills a server's disk with lines about himself. */
import { GridError } from "#core/errors.ts"

/** A server that lacks a key asks its fellows for it four times a minute. */
const ACTS_PER_HOUR_MAX = 600
const HOUR_MS = 3_600_000

export class ActLimit {
  readonly #counts = new Map<string, number>()
  #endsAtMs = 0

  /** Counts one more. @throws {GridError} API_REFUSED */
  count(memberId: string, nowMs: number): void {
    if (nowMs >= this.#endsAtMs) {
      this.#counts.clear()
      this.#endsAtMs = nowMs + HOUR_MS
    }
    const count = (this.#counts.get(memberId) ?? 0) + 1
    if (count > ACTS_PER_HOUR_MAX)
      throw new GridError(
        "API_REFUSED",
        `member ${memberId} asked for this more than ${ACTS_PER_HOUR_MAX} times within an hour; wait, and look why it asks so often`,
      )
    this.#counts.set(memberId, count)
  }
}
