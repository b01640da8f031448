/** What a member that holds everything sees of those who need it and of those who could do the same for them: by it a client stays or leaves (client/usefulness.ts). */
import type { Limits } from "./limits.ts"

export type Demand = {
  /** Connected peers that lack something that is held here, and make something of what they get. */
  readonly peersInNeed: number
  /** Connected clients of the own site that hold everything too. */
  readonly otherSeeders: number
  /** Of those, the ones of lower member ids: they leave first, so that not all leave at once. */
  readonly leavingBefore: number
  /** One that leaves later has seen as much as this member of how downloaders come. */
  readonly relieved: boolean
  /** A client of the own site was ever connected: this one is not alone with servers. */
  readonly metClients: boolean
  /** Mean time between those who came to download, this member first of them; null where it was the only one, or all came at once. */
  readonly arrivalGapMs: number | null
  /** How long the download took; null where nothing was missing from the start. */
  readonly tookMs: number | null
  readonly uploadedBytes: number
  /** The most that it uploaded, and downloaded, in some seconds. */
  readonly uploadPeakBytesPerSecond: number
  readonly downloadPeakBytesPerSecond: number
}

/** When downloaders came, those that came together as one; the last few times. */
export class Arrivals {
  readonly #limits: Limits
  readonly #timesMs: number[]
  #lastMs: number

  constructor(nowMs: number, limits: Limits) {
    this.#limits = limits
    this.#timesMs = [nowMs]
    this.#lastMs = nowMs
  }

  came(nowMs: number): void {
    const together = nowMs - this.#lastMs < this.#limits.arrivalsApartMs
    this.#lastMs = nowMs
    if (together) return
    this.#timesMs.push(nowMs)
    if (this.#timesMs.length > this.#limits.arrivalsKept) this.#timesMs.shift()
  }

  /** When the last of those that came together began to come; null where none came after this member. */
  get lastMs(): number | null {
    return this.#timesMs.length < 2 ? null : (this.#timesMs.at(-1) ?? null)
  }

  get gapMs(): number | null {
    const [first, last] = [this.#timesMs[0], this.#timesMs.at(-1)]
    if (first === undefined || last === undefined || this.#timesMs.length < 2) return null
    return (last - first) / (this.#timesMs.length - 1)
  }
}
