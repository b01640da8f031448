/** What this server fetches: what it wants, scarcest first; what is under way, a few at once; and what failed and is tried again, after a longer pause each time. */
import type { Random } from "#swarm/core/random.ts"
import type { ImageId, RepairEffect } from "../repair-events.ts"
import type { RepairLimits } from "../repair-limits.ts"
import type { Knowledge } from "./knowledge.ts"
import type { Room } from "./room.ts"
import { ScarcestFirst } from "./scarcest-first.ts"

type Why = "goal" | "balance"
type Running = { readonly why: Why; readonly sealedBytes: number }
type Retry = { readonly atMs: number; readonly failures: number }
type Parts = {
  readonly known: Knowledge
  readonly room: Room
  readonly random: Random
  readonly limits: RepairLimits
  readonly emit: (effect: RepairEffect) => void
}

export class Fetches {
  readonly #parts: Parts
  readonly #wanted = new ScarcestFirst()
  readonly #running = new Map<number, Running>()
  /** At Infinity it is wanted again, and how often it failed is kept until it comes or is not wanted. */
  readonly #retries = new Map<number, Retry>()
  /** The first one after a quiet time waits until then. */
  #mayStartMs: number | null = null
  #nextRetryMs = Infinity

  constructor(parts: Parts) {
    this.#parts = parts
  }

  get runningCount(): number {
    return this.#running.size
  }

  get waitingCount(): number {
    return this.#wanted.size + this.#retries.size
  }

  get nextMs(): number {
    return Math.min(this.#mayStartMs ?? Infinity, this.#nextRetryMs)
  }

  running(): number[] {
    return [...this.#running.keys()]
  }

  want(image: number, sources: number, nowMs: number): void {
    const { random, limits } = this.#parts
    if (this.#running.has(image) || (this.#retries.get(image)?.atMs ?? Infinity) !== Infinity) return
    if (this.#wanted.size === 0 && this.#running.size === 0) this.#mayStartMs ??= nowMs + random.below(Math.max(1, limits.startSpreadMs))
    this.#wanted.put(image, sources)
  }

  /** Calls it off where it is fetched for its goal. */
  wantNot(image: number): void {
    this.#wanted.delete(image)
    this.#retries.delete(image)
    if (this.#running.get(image)?.why === "goal") this.#cancel(image)
  }

  /** Calls it off, before its number is taken from it. */
  retire(image: number): void {
    this.#wanted.delete(image)
    this.#retries.delete(image)
    if (this.#running.has(image)) this.#cancel(image)
  }

  finish(image: number): void {
    this.#running.delete(image)
    this.#retries.delete(image)
    this.#parts.room.bytes -= this.#parts.known.images.unitOf(image).sealedBytes
  }

  fail(image: number, nowMs: number): void {
    if (!this.#running.delete(image)) return
    const { random, limits } = this.#parts
    const failures = (this.#retries.get(image)?.failures ?? 0) + 1
    const pauseMs = Math.min(limits.retryMaxMs, limits.retryFirstMs * 2 ** Math.min(failures - 1, 16))
    const atMs = nowMs + pauseMs / 2 + random.below(Math.max(1, Math.ceil(pauseMs)))
    this.#retries.set(image, { atMs, failures })
    this.#nextRetryMs = Math.min(this.#nextRetryMs, atMs)
  }

  /** Starts as many as may run at once. Returns false when this server came to be full by it. */
  start(nowMs: number): boolean {
    const { known, room, random, limits } = this.#parts
    if (nowMs >= this.#nextRetryMs) this.#wantRetries(nowMs)
    if (this.#mayStartMs !== null && nowMs < this.#mayStartMs) return true
    this.#mayStartMs = null
    while (this.#running.size < limits.fetchesMax) {
      const image = this.#wanted.draw(random)
      if (image === null) return true
      if (this.startOne(image, "goal")) continue
      if (this.#running.size > 0 || room.isFull) return true
      room.fillUp(known.images.unitOf(image).sealedBytes)
      return false
    }
    return true
  }

  /** Whether there was room for it. */
  startOne(image: number, why: Why): boolean {
    const { known, room, emit } = this.#parts
    const { image: id, sealedBytes } = known.images.unitOf(image)
    let comingBytes = 0
    for (const running of this.#running.values()) comingBytes += running.sealedBytes
    if (!room.isEnoughFor(sealedBytes, comingBytes)) return false
    this.#wanted.delete(image)
    this.#running.set(image, { why, sealedBytes })
    emit({ kind: "fetch", image: id, why })
    return true
  }

  #wantRetries(nowMs: number): void {
    this.#nextRetryMs = Infinity
    for (const [image, { atMs, failures }] of this.#retries) {
      if (atMs === Infinity) continue
      if (atMs > nowMs) {
        this.#nextRetryMs = Math.min(this.#nextRetryMs, atMs)
        continue
      }
      this.#retries.set(image, { atMs: Infinity, failures })
      this.#wanted.put(image, this.#parts.known.recentHolders(image).length)
    }
  }

  #cancel(image: number): void {
    this.#running.delete(image)
    const id: ImageId = this.#parts.known.images.idOf(image)
    this.#parts.emit({ kind: "cancel", image: id })
  }
}
