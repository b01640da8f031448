/** How fast bytes flow: a meter that reacts within a fraction of a second, one that tells the mean of the last ten, and one of the most that there ever was. */

const HALF_LIFE_MS = 500
/** Over less time, one block looks like a torrent. */
const SETTLE_MIN_MS = 80
const WINDOW_SECONDS = 10
/** What the operating system takes at once into its buffers is little of what flows in this time. */
const PEAK_SECONDS = 4

/** Exponentially weighted rate of one connection. */
export class ReactiveRate {
  #bytes = 0
  #sinceMs: number
  #bytesPerSecond = 0

  constructor(nowMs: number) {
    this.#sinceMs = nowMs
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond
  }

  add(bytes: number): void {
    this.#bytes += bytes
  }

  /** To be called about ten times a second. `busy`: whether bytes were to be expected; time without does not slow the rate. */
  settle(nowMs: number, busy = true): void {
    const tookMs = nowMs - this.#sinceMs
    if (tookMs < SETTLE_MIN_MS) return
    if (!busy && this.#bytes === 0) {
      this.#sinceMs = nowMs
      return
    }
    const now = (this.#bytes * 1000) / tookMs
    // Rises at once, so that requests in flight follow a link that opens; falls slowly, so that one pause does not starve it.
    const weight = now > this.#bytesPerSecond ? 0.7 : 1 - 2 ** (-tookMs / HALF_LIFE_MS)
    this.#bytesPerSecond += (now - this.#bytesPerSecond) * weight
    this.#bytes = 0
    this.#sinceMs = nowMs
  }
}

/** Mean rate over the last ten seconds, and the total. */
export class WindowedRate {
  readonly #seconds = new Float64Array(WINDOW_SECONDS + 1)
  readonly #startedMs: number
  #second: number
  #total = 0

  constructor(nowMs: number) {
    this.#startedMs = nowMs
    this.#second = Math.floor(nowMs / 1000)
  }

  get total(): number {
    return this.#total
  }

  add(bytes: number, nowMs: number): void {
    this.#advance(nowMs)
    const slot = this.#second % this.#seconds.length
    this.#seconds[slot] = (this.#seconds[slot] ?? 0) + bytes
    this.#total += bytes
  }

  bytesPerSecond(nowMs: number): number {
    this.#advance(nowMs)
    let bytes = 0
    for (const second of this.#seconds) bytes += second
    // The window is ten whole seconds and the begun one.
    const windowMs = Math.min(nowMs - this.#startedMs, (WINDOW_SECONDS + (nowMs / 1000 - this.#second)) * 1000)
    return windowMs <= 0 ? 0 : (bytes * 1000) / Math.max(windowMs, 100)
  }

  #advance(nowMs: number): void {
    const second = Math.floor(nowMs / 1000)
    const steps = Math.min(second - this.#second, this.#seconds.length)
    for (let step = 1; step <= steps; step += 1) this.#seconds[(second - steps + step) % this.#seconds.length] = 0
    this.#second = Math.max(second, this.#second)
  }
}

/** The most that flowed in any few seconds. */
export class PeakRate {
  /** Bytes of the last seconds, the one that has begun last. */
  readonly #seconds: number[] = [0]
  #second: number
  #bytesPerSecond = 0

  constructor(nowMs: number) {
    this.#second = Math.floor(nowMs / 1000)
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond
  }

  add(bytes: number, nowMs: number): void {
    const second = Math.floor(nowMs / 1000)
    for (; this.#second < second; this.#second += 1) {
      if (this.#seconds.length === PEAK_SECONDS) {
        const sum = this.#seconds.reduce((total, each) => total + each, 0)
        this.#bytesPerSecond = Math.max(this.#bytesPerSecond, sum / PEAK_SECONDS)
        this.#seconds.shift()
        // After a long pause there is nothing to be counted second by second.
        if (sum === 0) this.#second = second - 1
      }
      this.#seconds.push(0)
    }
    this.#seconds[this.#seconds.length - 1] = (this.#seconds.at(-1) ?? 0) + bytes
  }
}
