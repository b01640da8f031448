/** Holds all uploads together to a rate: each turn waits until the bytes sent before it have had their time. */
export class UploadLimit {
  readonly #bytesPerSecond: number
  #freeAtMs = 0

  constructor(bytesPerSecond: number) {
    if (!(bytesPerSecond > 0)) throw new RangeError(`an upload limit of ${bytesPerSecond} bytes per second; leave it out for none`)
    this.#bytesPerSecond = bytesPerSecond
  }

  /** Resolves when `bytes` may go out. Turns are served in the order in which they came. */
  async wait(bytes: number, signal: AbortSignal): Promise<void> {
    const nowMs = performance.now()
    const startMs = Math.max(nowMs, this.#freeAtMs)
    this.#freeAtMs = startMs + (bytes * 1000) / this.#bytesPerSecond
    if (startMs <= nowMs || signal.aborted) return
    const { promise, resolve } = Promise.withResolvers<null>()
    const timer = setTimeout(resolve, startMs - nowMs, null)
    const stop = () => resolve(null)
    signal.addEventListener("abort", stop)
    await promise
    clearTimeout(timer)
    signal.removeEventListener("abort", stop)
  }
}
