/** How much of something one peer may cause: so many at once, and so many a second. */
export class Allowance {
  readonly #atOnce: number
  readonly #perSecond: number
  #left: number
  #atMs: number

  constructor(limits: { readonly atOnce: number; readonly perSecond: number }, nowMs: number) {
    this.#atOnce = limits.atOnce
    this.#perSecond = limits.perSecond
    this.#left = limits.atOnce
    this.#atMs = nowMs
  }

  /** Whether there was one left, which is gone now. */
  use(nowMs: number): boolean {
    this.#left = Math.min(this.#atOnce, this.#left + (Math.max(0, nowMs - this.#atMs) / 1_000) * this.#perSecond)
    this.#atMs = nowMs
    if (this.#left < 1) return false
    this.#left -= 1
    return true
  }
}
