/** The pointers that one node holds: for each key and salt the one with the highest seq, and never one whose signature fails. */
import { type PointerItem, pointerHolds, pointerTarget } from "./pointer.ts"

/** A member holds the pointers of its own site and of some that it federates with. */
const HELD_MAX = 1_000

export class HeldPointers {
  readonly #byTarget = new Map<string, PointerItem>()

  /** The item that is held afterwards: `item`, or the one at least as new that was held before. Null when it is refused. */
  keep(item: PointerItem): PointerItem | null {
    const target = targetHex(item)
    const held = this.#byTarget.get(target)
    if (held !== undefined && held.seq >= item.seq) return held
    if (!pointerHolds(item) || (held === undefined && this.#byTarget.size >= HELD_MAX)) return held ?? null
    this.#byTarget.set(target, item)
    return item
  }

  get(publicKey: Buffer, salt: Buffer): PointerItem | null {
    return this.#byTarget.get(pointerTarget(publicKey, salt).toString("hex")) ?? null
  }

  all(): PointerItem[] {
    return [...this.#byTarget.values()]
  }
}

export function targetHex(item: Pick<PointerItem, "publicKey" | "salt">): string {
  return pointerTarget(item.publicKey, item.salt).toString("hex")
}
