/** Images in order of how many can serve them, fewest first, in no order among equals; one more, one less and one drawn cost O(1). */
import type { Random } from "#swarm/core/random.ts"

/** From so many sources on an image is no scarcer than another. */
const PLENTY = 7

export class ScarcestFirst {
  readonly #bySources: number[][] = Array.from({ length: PLENTY + 1 }, () => [])
  readonly #places = new Map<number, { sources: number; place: number }>()

  get size(): number {
    return this.#places.size
  }

  has(image: number): boolean {
    return this.#places.has(image)
  }

  put(image: number, sourceCount: number): void {
    const sources = Math.min(sourceCount, PLENTY)
    if (this.#places.get(image)?.sources === sources) return
    this.delete(image)
    const bucket = this.#bySources[sources] ?? []
    this.#places.set(image, { sources, place: bucket.push(image) - 1 })
  }

  delete(image: number): boolean {
    const at = this.#places.get(image)
    if (at === undefined) return false
    this.#places.delete(image)
    const bucket = this.#bySources[at.sources] ?? []
    const last = bucket.pop()
    if (last === undefined || last === image) return true
    bucket[at.place] = last
    const moved = this.#places.get(last)
    if (moved !== undefined) moved.place = at.place
    return true
  }

  /** One of the scarcest that somebody can serve; null when there is none. It stays. */
  draw(random: Random): number | null {
    for (let sources = 1; sources <= PLENTY; sources += 1) {
      const bucket = this.#bySources[sources] ?? []
      if (bucket.length > 0) return bucket[random.below(bucket.length)] ?? null
    }
    return null
  }
}
