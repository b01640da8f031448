/** How often one member may do what costs: lines in the audit log, with which nobody shall fill a server's disk, or reading from it. */
import { GridError } from "#core/errors.ts"

const HOUR_MS = 3_600_000

export class ActLimit {
  readonly #perHourMax: number
  readonly #counts = new Map<string, number>()
  #endsAtMs = 0

  constructor(perHourMax: number) {
    this.#perHourMax = perHourMax
  }

  /** Counts one more. @throws {GridError} API_REFUSED */
  count(memberId: string, nowMs: number): void {
    if (nowMs >= this.#endsAtMs) {
      this.#counts.clear()
      this.#endsAtMs = nowMs + HOUR_MS
    }
    const count = (this.#counts.get(memberId) ?? 0) + 1
    if (count > this.#perHourMax)
      throw new GridError(
        "API_REFUSED",
        `member ${memberId} asked for this more than ${this.#perHourMax} times within an hour; wait, and look why it asks so often`,
      )
    this.#counts.set(memberId, count)
  }
}
