/**
 * The images in force, each with a small number by which the parts of repair know it; with its goal as this roster can meet it, and all servers by their rank for
 * it. A number is used again for another image once its own is retired.
 */
import { Ranking, type Goal } from "../placement.ts"
import type { ImageId, ImageUnit } from "../repair-events.ts"
import { hasBit, setBit, type ServerBits } from "./server-bits.ts"

/** A goal against one roster: clipped to what the roster can give. */
export type PreparedGoal = { readonly copies: number; readonly sites: number; readonly pins: ServerBits; readonly refuse: ServerBits }

export class Images {
  #ranking = new Ranking([])
  readonly #numbers = new Map<ImageId, number>()
  readonly #units: (ImageUnit | null)[] = []
  readonly #goals: PreparedGoal[] = []
  readonly #ranked: (Uint16Array | null)[] = []
  readonly #free: number[] = []
  /** Goals that many images share are prepared once. */
  #prepared = new WeakMap<Goal, PreparedGoal>()

  get size(): number {
    return this.#numbers.size
  }

  /** One more than the highest number ever given. */
  get numbersEnd(): number {
    return this.#units.length
  }

  numberOf(image: ImageId): number | undefined {
    return this.#numbers.get(image)
  }

  numbers(): Iterable<number> {
    return this.#numbers.values()
  }

  has(image: number): boolean {
    return (this.#units[image] ?? null) !== null
  }

  unitOf(image: number): ImageUnit {
    const unit = this.#units[image]
    if (unit === undefined || unit === null) throw new RangeError(`there is no image of number ${image}`)
    return unit
  }

  idOf(image: number): ImageId {
    return this.unitOf(image).image
  }

  goalOf(image: number): PreparedGoal {
    const goal = this.#goals[image]
    if (goal === undefined) throw new RangeError(`there is no image of number ${image}`)
    return goal
  }

  /** Positions of all servers, first choice first. */
  rankedOf(image: number): Uint16Array {
    const known = this.#ranked[image]
    if (known !== undefined && known !== null) return known
    const ranked = this.#ranking.of(this.idOf(image))
    this.#ranked[image] = ranked
    return ranked
  }

  setRanking(ranking: Ranking): void {
    this.#ranking = ranking
    this.#prepared = new WeakMap()
    for (const image of this.#numbers.values()) {
      this.#ranked[image] = null
      this.#goals[image] = this.#prepare(this.unitOf(image).goal)
    }
  }

  /** The number of the image, which it keeps when only its goal changes. */
  add(unit: ImageUnit): number {
    const known = this.#numbers.get(unit.image)
    const number = known ?? this.#free.pop() ?? this.#units.length
    this.#numbers.set(unit.image, number)
    this.#units[number] = unit
    this.#goals[number] = this.#prepare(unit.goal)
    if (known === undefined) this.#ranked[number] = null
    return number
  }

  remove(image: number): void {
    const id = this.idOf(image)
    this.#numbers.delete(id)
    this.#ranking.forget(id)
    this.#units[image] = null
    this.#ranked[image] = null
    this.#free.push(image)
  }

  #prepare(goal: Goal): PreparedGoal {
    const known = this.#prepared.get(goal)
    if (known !== undefined) return known
    const { servers, siteOf } = this.#ranking
    const words = Math.max(1, Math.ceil(servers.length / 32))
    const [pins, refuse] = [new Uint32Array(words), new Uint32Array(words)]
    for (const [members, bits] of [
      [goal.refuse, refuse],
      [goal.pins, pins],
    ] as const)
      for (const member of members) {
        const position = this.#ranking.positionOf(member)
        if (position !== undefined && !hasBit(refuse, position)) setBit(bits, position)
      }
    const allowed = [...servers.keys()].filter((server) => !hasBit(refuse, server))
    const prepared = {
      copies: Math.min(goal.copies, allowed.length),
      sites: Math.min(goal.sites, new Set(allowed.map((server) => siteOf[server])).size),
      pins,
      refuse,
    }
    this.#prepared.set(goal, prepared)
    return prepared
  }
}
