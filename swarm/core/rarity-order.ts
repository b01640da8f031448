/**
 * A set of pieces in order of how many peers have them, rarest first; one more or one less costs O(1).
 *
 * `#order` holds the pieces of one count side by side; `#starts[count]` is where pieces of at least that count begin. To change a piece's
 * count by one it is swapped with the outermost of its neighbours, and the border moves over it. The counts themselves are the caller's.
 */
import type { Random } from "./random.ts"

const ABSENT = -1

export class RarityOrder {
  readonly #order: Int32Array
  readonly #position: Int32Array
  readonly #starts: number[] = [0]
  #size = 0

  constructor(pieceCount: number) {
    this.#order = new Int32Array(pieceCount)
    this.#position = new Int32Array(pieceCount).fill(ABSENT)
  }

  get size(): number {
    return this.#size
  }

  has(piece: number): boolean {
    return (this.#position[piece] ?? ABSENT) !== ABSENT
  }

  insert(piece: number, count: number): void {
    this.#growTo(count)
    let position = this.#size
    this.#size += 1
    for (let above = this.#starts.length - 1; above > count; above -= 1) {
      const start = this.#starts[above] ?? 0
      if (start !== position) this.#place(this.#order[start] ?? 0, position)
      position = start
      this.#starts[above] = start + 1
    }
    this.#place(piece, position)
  }

  remove(piece: number, count: number): void {
    let position = this.#position[piece] ?? ABSENT
    if (position === ABSENT) return
    for (let above = count + 1; above < this.#starts.length; above += 1) {
      const last = (this.#starts[above] ?? 0) - 1
      if (last !== position) this.#place(this.#order[last] ?? 0, position)
      position = last
      this.#starts[above] = last
    }
    this.#size -= 1
    if (this.#size !== position) this.#place(this.#order[this.#size] ?? 0, position)
    this.#position[piece] = ABSENT
  }

  /** The piece went from `count` to one more. */
  raise(piece: number, count: number): void {
    if (!this.has(piece)) return
    this.#growTo(count + 1)
    const border = (this.#starts[count + 1] ?? 0) - 1
    this.#swapTo(piece, border)
    this.#starts[count + 1] = border
  }

  /** The piece went from `count` to one less. */
  lower(piece: number, count: number): void {
    if (!this.has(piece)) return
    const border = this.#starts[count] ?? 0
    this.#swapTo(piece, border)
    this.#starts[count] = border + 1
  }

  /** A rarest piece among those of at least `leastCount` that `wanted` accepts, each as likely as its equals; null when there is none. */
  rarest(wanted: (piece: number) => boolean, random: Random, leastCount = 0): number | null {
    for (let count = leastCount; count < this.#starts.length; count += 1) {
      const start = this.#starts[count] ?? 0
      const length = (this.#starts[count + 1] ?? this.#size) - start
      if (length === 0) continue
      const first = random.below(length)
      for (let step = 0; step < length; step += 1) {
        const piece = this.#order[start + ((first + step) % length)] ?? 0
        if (wanted(piece)) return piece
      }
    }
    return null
  }

  #growTo(count: number): void {
    while (this.#starts.length <= count) this.#starts.push(this.#size)
  }

  #place(piece: number, position: number): void {
    this.#order[position] = piece
    this.#position[piece] = position
  }

  #swapTo(piece: number, position: number): void {
    const from = this.#position[piece] ?? 0
    this.#place(this.#order[position] ?? 0, from)
    this.#place(piece, position)
  }
}
