/**
 * What a holder of everything proposes to its peers (BEP 6 suggest) so that it sends each piece once before any twice, in the
 * spirit of BEP 16: unlike there, nothing is hidden, nobody waits for an echo, and a peer that ignores proposals is served all the same.
 */
import type { Random } from "./random.ts"
import { shuffle } from "./random.ts"

export class Offers {
  /** Pieces in the order in which they are proposed: random within bands of the file, so that unpackers are fed from its start. */
  readonly #queue: number[]
  readonly #returned: number[] = []
  /** 1 for a piece that was sent, or that some peer that lacks others has. */
  readonly #spread: Uint8Array
  #next = 0

  constructor(pieceCount: number, bandPieces: number, random: Random) {
    this.#queue = Array.from({ length: pieceCount }, (_, piece) => piece)
    for (let from = 0; from < pieceCount; from += bandPieces) shuffle(this.#queue, from, Math.min(pieceCount, from + bandPieces), random)
    this.#spread = new Uint8Array(pieceCount)
  }

  spread(piece: number): void {
    this.#spread[piece] = 1
  }

  isSpread(piece: number): boolean {
    return this.#spread[piece] === 1
  }

  /** A piece that was neither spread nor proposed; null when there is none. */
  take(): number | null {
    while (this.#returned.length > 0) {
      const piece = this.#returned.pop()
      if (piece !== undefined && !this.isSpread(piece)) return piece
    }
    while (this.#next < this.#queue.length) {
      const piece = this.#queue[this.#next]
      this.#next += 1
      if (piece !== undefined && !this.isSpread(piece)) return piece
    }
    return null
  }

  /** The proposal came to nothing. */
  giveBack(piece: number): void {
    if (!this.isSpread(piece)) this.#returned.push(piece)
  }
}
