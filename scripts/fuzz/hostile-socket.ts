/** A socket that means harm: it writes no more than the other end takes, outlives no deadline, and is never surprised to be cut. */
import type { Socket } from "node:net"
import { setTimeout as delay } from "node:timers/promises"
import type { Counts } from "./counts.ts"
import type { Dice } from "./dice.ts"

const UNSENT_BYTES_MAX = 1024 * 1024

export class HostileSocket implements Disposable {
  readonly socket: Socket
  readonly #counts: Counts
  receivedBytes = 0
  readonly #ended = new AbortController()

  constructor(socket: Socket, counts: Counts, stop: AbortSignal) {
    this.socket = socket
    this.#counts = counts
    const end = () => socket.destroy()
    stop.addEventListener("abort", end)
    socket.on("error", () => {})
    socket.on("data", (chunk: Buffer) => (this.receivedBytes += chunk.length))
    socket.once("close", () => {
      stop.removeEventListener("abort", end)
      this.#ended.abort()
    })
    if (stop.aborted) end()
  }

  get closed(): boolean {
    return this.socket.destroyed
  }

  /** Resolves after `ms`, or when the connection has ended. */
  async pause(ms: number): Promise<void> {
    if (this.closed || this.#ended.signal.aborted) return
    await delay(ms, null, { signal: this.#ended.signal }).catch(() => null)
  }

  /** Writes, and waits while the other end does not read: no longer than `patienceMs`. */
  async write(kind: string, bytes: Buffer, patienceMs = 1_000): Promise<void> {
    if (this.closed) return
    this.socket.write(bytes)
    this.#counts.add(kind, bytes.length)
    for (let waitedMs = 0; this.socket.writableLength > UNSENT_BYTES_MAX && waitedMs < patienceMs && !this.closed; waitedMs += 10)
      await this.pause(10)
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }
}

/** Addresses of loopback that honest members do not use: their limits and ports stay apart from the attackers'. */
export function attackerHost(dice: Dice): string {
  return `127.0.0.${2 + dice.below(8)}`
}

/** `count` of `work` at a time, again and again, until stopped. */
export async function keepBusy(count: number, stop: AbortSignal, work: () => Promise<void>): Promise<void> {
  const worker = async () => {
    while (!stop.aborted) {
      await work()
      // A turn for others even when nothing had to be waited for.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  await Promise.all(Array.from({ length: count }, worker))
}
