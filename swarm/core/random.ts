/** Randomness by a seed: the same seed makes the same decisions, so that every run can be repeated. */

export interface Random {
  /** A whole number from 0 up to, and without, `bound`. */
  below(bound: number): number
}

/** Xorshift with 32 bits of state: good enough to spread choices, never for secrets. */
export function seededRandom(seed: number): Random {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1
  return {
    below(bound) {
      state ^= state << 13
      state >>>= 0
      state ^= state >>> 17
      state ^= state << 5
      state >>>= 0
      return state % bound
    },
  }
}

/** Shuffles part of an array in place (Fisher and Yates). */
export function shuffle(items: { [index: number]: number }, from: number, to: number, random: Random): void {
  for (let index = to - 1; index > from; index -= 1) {
    const other = from + random.below(index - from + 1)
    const item = items[index] ?? 0
    items[index] = items[other] ?? 0
    items[other] = item
  }
}
