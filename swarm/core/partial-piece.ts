/** A piece on its way: which of its blocks are asked for, of how many peers, and who sent those that came. */
import type { BlockSpan } from "./messages.ts"
import type { PeerNumber } from "./events.ts"

export class PartialPiece {
  readonly piece: number
  readonly pieceBytes: number
  readonly blockBytes: number
  readonly blockCount: number
  /** Member ids of those who sent each block; null where it has not come. */
  readonly suppliers: (string | null)[]
  /** When set, only this peer is asked: an earlier attempt was corrupt, and the liar is looked for. */
  readonly solo: PeerNumber | null
  /** For each block, the peers that were asked and have not answered. */
  readonly #asked: PeerNumber[][]
  #missingCount: number
  #openCount: number
  #cursor = 0

  constructor(piece: number, pieceBytes: number, blockBytes: number, solo: PeerNumber | null) {
    this.piece = piece
    this.pieceBytes = pieceBytes
    this.blockBytes = blockBytes
    this.blockCount = Math.ceil(pieceBytes / blockBytes)
    this.suppliers = Array.from({ length: this.blockCount }, () => null)
    this.solo = solo
    this.#asked = Array.from({ length: this.blockCount }, () => [])
    this.#missingCount = this.blockCount
    this.#openCount = this.blockCount
  }

  /** Blocks that have not come. */
  get missingCount(): number {
    return this.#missingCount
  }

  /** Blocks that have not come and that nobody is asked for. */
  get openCount(): number {
    return this.#openCount
  }

  /** Nobody is asked for anything, and nothing came. */
  get untouched(): boolean {
    return this.#openCount === this.blockCount
  }

  /** No peer is asked for any of it. */
  get unasked(): boolean {
    return this.#openCount === this.#missingCount
  }

  span(block: number): BlockSpan {
    const offset = block * this.blockBytes
    return { piece: this.piece, offset, length: Math.min(this.blockBytes, this.pieceBytes - offset) }
  }

  has(block: number): boolean {
    return this.suppliers[block] !== null
  }

  askedFor(block: number): readonly PeerNumber[] {
    return this.#asked[block] ?? []
  }

  /** The first block that nobody is asked for, now asked of `peer`; null when there is none. */
  takeOpen(peer: PeerNumber): number | null {
    if (this.#openCount === 0) return null
    while (this.has(this.#cursor) || this.askedFor(this.#cursor).length > 0) this.#cursor += 1
    const block = this.#cursor
    this.ask(block, peer)
    return block
  }

  ask(block: number, peer: PeerNumber): void {
    const asked = this.#asked[block]
    if (asked === undefined) return
    if (asked.length === 0 && !this.has(block)) this.#openCount -= 1
    asked.push(peer)
  }

  /** `peer` will not answer. */
  release(block: number, peer: PeerNumber): void {
    const asked = this.#asked[block]
    const at = asked?.indexOf(peer) ?? -1
    if (asked === undefined || at < 0) return
    asked.splice(at, 1)
    if (asked.length > 0 || this.has(block)) return
    this.#openCount += 1
    this.#cursor = Math.min(this.#cursor, block)
  }

  /** The block came from `peer`. Returns the others that are still asked for it. */
  receive(block: number, peer: PeerNumber, key: string): readonly PeerNumber[] {
    const asked = this.#asked[block] ?? []
    if (asked.length === 0) this.#openCount -= 1
    this.#missingCount -= 1
    this.suppliers[block] = key
    this.#asked[block] = []
    return asked.filter((other) => other !== peer)
  }
}
