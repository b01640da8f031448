/** Sets of servers by their position in the ranking, 32 to a word, so that a question about one image is a few operations on words. */
export type ServerBits = Uint32Array

export function hasBit(bits: ServerBits, server: number): boolean {
  return ((bits[server >>> 5] ?? 0) & (1 << (server & 31))) !== 0
}

export function setBit(bits: ServerBits, server: number): void {
  bits[server >>> 5] = (bits[server >>> 5] ?? 0) | (1 << (server & 31))
}

export function bitCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555)
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333)
  return (((bits + (bits >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24
}

/** Position of the lowest bit of this word of a set. The loop over all of them is `for (let bits = ...; bits !== 0; bits &= bits - 1)`. */
export function lowestIn(bits: number, word: number): number {
  return word * 32 + 31 - Math.clz32(bits & -bits)
}
