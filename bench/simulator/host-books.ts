/** What one host did, counted outside of its core, so that the core's own counting can be held against it. */
import type { Cutting } from "./pieces.ts"

export class HostBooks {
  readonly #cutting: Cutting
  /** One bit for each block kept, and how many of each piece. */
  readonly #kept: Uint8Array
  readonly #keptOf: Uint16Array
  /** The same of blocks with wrong bytes; null while there were none. */
  #wrong: Uint8Array | null = null
  /** Pieces that failed their digest: which of their blocks were wrong in the first attempt. */
  readonly #disputed = new Map<number, readonly number[]>()
  /** Now. */
  keptBytes = 0
  /** Ever, with what was dropped again. */
  everKeptBytes = 0
  verifyingPieces = 0
  storedPieces = 0
  /** Pieces of which some block is kept and that are neither whole nor being verified. */
  begunPieces = 0
  /** Requests without an answer, and connections, that the core was not told the end of. */
  unanswered = 0
  knownPeers = 0
  /** Payload that came over connections that stood. */
  deliveredBytes = 0
  /** Of those, from other sites. */
  crossedBytes = 0
  /** Payload whose upload was reported to the core. */
  uploadedBytes = 0

  constructor(cutting: Cutting) {
    this.#cutting = cutting
    this.#kept = new Uint8Array(Math.ceil(cutting.blockNumbers / 8))
    this.#keptOf = new Uint16Array(cutting.shape.pieceCount)
  }

  has(block: number): boolean {
    return ((this.#kept[block >> 3] ?? 0) & (1 << (block & 7))) !== 0
  }

  /** False when it is kept already. */
  keep(block: number, right: boolean): boolean {
    if (this.has(block)) return false
    const piece = this.#cutting.pieceOf(block)
    const before = this.#keptOf[piece] ?? 0
    if (before === 0) this.begunPieces += 1
    this.#keptOf[piece] = before + 1
    setBit(this.#kept, block, true)
    if (!right) {
      this.#wrong ??= new Uint8Array(this.#kept.length)
      setBit(this.#wrong, block, true)
    }
    const bytes = this.#cutting.bytesOf(block)
    this.keptBytes += bytes
    this.everKeptBytes += bytes
    return true
  }

  /** False when a block of it is not kept. */
  startVerifying(piece: number): boolean {
    if (this.#keptOf[piece] !== this.#cutting.blocksOf(piece)) return false
    this.begunPieces -= 1
    this.verifyingPieces += 1
    return true
  }

  /** Whether it is right, and which blocks were wrong in its first attempt. */
  endVerifying(piece: number): { readonly right: boolean; readonly wrongBefore: readonly number[] } {
    this.verifyingPieces -= 1
    const wrong = this.#wrongOf(piece)
    const wrongBefore = this.#disputed.get(piece) ?? []
    if (wrong.length === 0) {
      this.storedPieces += 1
      return { right: true, wrongBefore }
    }
    // The core has the piece dropped: until then it counts as begun.
    this.begunPieces += 1
    if (!this.#disputed.has(piece)) this.#disputed.set(piece, wrong)
    return { right: false, wrongBefore: [] }
  }

  drop(piece: number): void {
    const first = piece * this.#cutting.blocksPerPiece
    for (let block = first; block < first + this.#cutting.blocksOf(piece); block += 1) {
      if (!this.has(block)) continue
      setBit(this.#kept, block, false)
      if (this.#wrong !== null) setBit(this.#wrong, block, false)
      this.keptBytes -= this.#cutting.bytesOf(block)
    }
    if ((this.#keptOf[piece] ?? 0) > 0) this.begunPieces -= 1
    this.#keptOf[piece] = 0
  }

  /** Kept now. */
  get wrongBlocks(): number {
    let count = 0
    for (let piece = 0; piece < this.#cutting.shape.pieceCount; piece += 1) count += this.#wrongOf(piece).length
    return count
  }

  #wrongOf(piece: number): number[] {
    const wrong: number[] = []
    if (this.#wrong === null) return wrong
    const first = piece * this.#cutting.blocksPerPiece
    for (let offset = 0; offset < this.#cutting.blocksOf(piece); offset += 1) {
      const block = first + offset
      if (((this.#wrong[block >> 3] ?? 0) & (1 << (block & 7))) !== 0) wrong.push(offset)
    }
    return wrong
  }
}

function setBit(bits: Uint8Array, at: number, value: boolean): void {
  const mask = 1 << (at & 7)
  const byte = bits[at >> 3] ?? 0
  bits[at >> 3] = value ? byte | mask : byte & ~mask
}
