/** What this server says of itself: its state, whenever that changes, and once that it is drained. */
import type { MemberId } from "#core/identifiers.ts"
import type { RepairEffect, ServerState } from "../repair-events.ts"

export class OwnWord {
  readonly #emit: (effect: RepairEffect) => void
  #state: ServerState = { phase: "serving", isFull: false, doubts: [] }
  #draining = false
  #isDrained = false

  constructor(emit: (effect: RepairEffect) => void) {
    this.#emit = emit
  }

  get draining(): boolean {
    return this.#draining
  }

  /** Returns whether it is new. */
  setDraining(draining: boolean): boolean {
    if (this.#draining === draining) return false
    this.#draining = draining
    this.#isDrained = false
    return true
  }

  /** `isNeeded`: whether any image held here is under its goal. */
  tell(isFull: boolean, doubts: readonly MemberId[], isNeeded: () => boolean): void {
    const phase = this.#draining ? "draining" : "serving"
    const { phase: wasPhase, isFull: wasFull, doubts: hadDoubts } = this.#state
    const isSame = phase === wasPhase && isFull === wasFull && doubts.length === hadDoubts.length
    if (!isSame || doubts.some((member, place) => member !== hadDoubts[place])) {
      this.#state = { phase, isFull, doubts }
      this.#emit({ kind: "publish-state", state: this.#state })
    }
    if (!this.#draining || this.#isDrained || isNeeded()) return
    this.#isDrained = true
    this.#emit({ kind: "drained" })
  }
}
