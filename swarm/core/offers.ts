/**
 * What a holder of everything proposes to its peers (BEP 6 suggest) so that it sends each piece once before any twice, in the
 * spirit of BEP 16: unlike there, nothing is hidden, nobody waits for an echo, and a peer that ignores proposals is served all the same.
 */
import type { Random } from "./random.ts"

/** Tries to hit a free piece of the band before the first free one is taken. */
const DRAWS = 4

export class Offers {
  readonly #pieceCount: number
  readonly #random: Random
  /** 1 for a piece that is proposed, was sent, or is with some peer that lacks others. */
  readonly #taken: Uint8Array
  /** The same, without those that are only proposed. */
  readonly #spread: Uint8Array
  #firstFree = 0
  #freeCount: number

  constructor(pieceCount: number, random: Random) {
    this.#pieceCount = pieceCount
    this.#freeCount = pieceCount
    this.#random = random
    this.#taken = new Uint8Array(pieceCount)
    this.#spread = new Uint8Array(pieceCount)
  }

  /** Pieces neither spread nor proposed. */
  get freeCount(): number {
    return this.#freeCount
  }

  /** The piece was asked for, or some peer has it. */
  spread(piece: number): void {
    this.#freeCount -= this.#taken[piece] === 1 ? 0 : 1
    this.#taken[piece] = 1
    this.#spread[piece] = 1
  }

  /**
   * A piece that was neither spread nor proposed, of the first `bandPieces` or so in file order, so that unpackers are fed from the start; null
   * when there is none.
   */
  take(bandPieces: number): number | null {
    while (this.#firstFree < this.#pieceCount && this.#taken[this.#firstFree] === 1) this.#firstFree += 1
    if (this.#firstFree === this.#pieceCount) return null
    let chosen = this.#firstFree
    for (let draw = 0; draw < DRAWS; draw += 1) {
      const piece = this.#firstFree + this.#random.below(Math.min(bandPieces, this.#pieceCount - this.#firstFree))
      if (this.#taken[piece] === 1) continue
      chosen = piece
      break
    }
    this.#taken[chosen] = 1
    this.#freeCount -= 1
    return chosen
  }

  /** The proposal came to nothing. */
  giveBack(piece: number): void {
    if (this.#spread[piece] === 1) return
    this.#taken[piece] = 0
    this.#freeCount += 1
    this.#firstFree = Math.min(this.#firstFree, piece)
  }
}
