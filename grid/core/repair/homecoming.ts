/** When all is well for long, images that belong here and stand elsewhere are taken, one at a time. */
import type { RepairLimits } from "../repair-limits.ts"
import type { Duties } from "./duties.ts"
import type { Knowledge } from "./knowledge.ts"
import type { OwnCopies } from "./own-copies.ts"

type Parts = { readonly known: Knowledge; readonly duties: Duties; readonly copies: OwnCopies; readonly limits: RepairLimits }

export class Homecoming {
  readonly #parts: Parts
  #calmSinceMs: number | null = null
  /** Images that belong here and are elsewhere; null when it is not known. */
  #homeless: number[] | null = null

  constructor(parts: Parts) {
    this.#parts = parts
  }

  get nextMs(): number {
    return this.#calmSinceMs === null || this.#homeless !== null ? Infinity : this.#calmSinceMs + this.#parts.limits.calmMs
  }

  /** Something changed that may call for repair: images go home another time. */
  disturb(): void {
    this.#calmSinceMs = null
    this.#homeless = null
  }

  forget(image: number): void {
    this.#homeless = this.#homeless?.filter((other) => other !== image) ?? null
  }

  /** The next one to be fetched; null when there is none, or all has not been well for long enough. */
  next({ areGoalsMet, isFetching }: { areGoalsMet: boolean; isFetching: boolean }, nowMs: number): number | null {
    const { known, duties, copies, limits } = this.#parts
    if (this.#calmSinceMs === null) {
      if (areGoalsMet && known.fellows.isCalm && known.doubts.suspected.size === 0) this.#calmSinceMs = nowMs
      return null
    }
    if (nowMs - this.#calmSinceMs < limits.calmMs || isFetching) return null
    this.#homeless ??= [...known.images.numbers()].filter((image) => !copies.has(image) && duties.isHome(image))
    for (let image = this.#homeless.pop(); image !== undefined; image = this.#homeless.pop())
      if (!copies.has(image) && known.recentHolders(image).length > 0) return image
    return null
  }
}
