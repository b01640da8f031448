/** How much news one connection may bring: one a second, and a few at once. What is beyond that is of no use to anybody. */
import { GridError } from "#core/errors.ts"

/** What we send keeps to it too. */
export const NEWS_INTERVAL_MS = 1_000
const NEWS_BURST = 10

export class NewsAllowance {
  #left = NEWS_BURST
  #atMs: number

  constructor(nowMs: number) {
    this.#atMs = nowMs
  }

  /** Counts one piece of news. @throws {GridError} PEER_MISBEHAVED */
  use(nowMs: number): void {
    this.#left = Math.min(NEWS_BURST, this.#left + (nowMs - this.#atMs) / NEWS_INTERVAL_MS) - 1
    this.#atMs = nowMs
    if (this.#left < 0) throw new GridError("PEER_MISBEHAVED", "too many messages of no use, last of them news")
  }
}
