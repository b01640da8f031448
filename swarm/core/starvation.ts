/**
 * Whether the own site is to be believed in what it says that it holds and fetches. Who says so and gives nothing stops nobody: after a while other sites are asked, whatever the own says. That lasts for twice as long each
 * time, also when the own site gives something meanwhile: those who fetch give it to one another.
 */
import type { Limits } from "./limits.ts"

/** For what connected members say that they have; for what is said of others, or is on its way to them; for nothing. */
export type Waiting = "for-pieces" | "for-others" | "not"

const WAITING_SPEED: Readonly<Record<Waiting, number>> = { "for-pieces": 1, "for-others": 0.5, not: 0 }

export class Starvation {
  readonly #limits: Limits
  /** Of waiting; what came makes up for some of it. */
  #waitedMs = 0
  #untilMs = Number.NEGATIVE_INFINITY
  #lastsMs: number
  #tickedAtMs: number
  #fed = false
  #state: "trusting" | "starved" | "alone" = "trusting"

  constructor(limits: Limits, nowMs: number) {
    this.#limits = limits
    this.#lastsMs = limits.starvedMs
    this.#tickedAtMs = nowMs
  }

  /** What the own site says that it holds counts for nothing. */
  get starved(): boolean {
    return this.#state !== "trusting"
  }

  /** Nor who is said to fetch: that brought nothing either. */
  get alone(): boolean {
    return this.#state === "alone"
  }

  /** A block of use came from a member of the own site. */
  fed(): void {
    this.#fed = true
    this.#waitedMs = Math.max(0, this.#waitedMs - this.#limits.starvedBlockMs)
  }

  /** To be called at each tick. */
  tick(waiting: Waiting, nowMs: number): void {
    this.#waitedMs += WAITING_SPEED[waiting] * (nowMs - this.#tickedAtMs)
    this.#tickedAtMs = nowMs
    if (nowMs < this.#untilMs) return
    const inVain = this.starved && !this.#fed && waiting !== "not"
    if (this.starved) this.#waitedMs = 0
    if (!inVain && this.#waitedMs < this.#limits.starvedMs) {
      this.#state = "trusting"
      return
    }
    this.#state = inVain ? "alone" : "starved"
    this.#untilMs = nowMs + this.#lastsMs
    this.#lastsMs = Math.min(this.#limits.starvedMaxMs, 2 * this.#lastsMs)
    this.#fed = false
  }
}
