/**
 * The pieces of one torrent. Each is in exactly one state: `missing`, `partial` (begun), `verifying` or `had`; a missing one is in
 * exactly one of two rarity orders, that of the window or that of the rest. One that was had is held, but where there is room for a window alone: there
 * it is forgotten once the window has passed it, and is not asked for before the window has come.
 */
import type { PieceWindow } from "#core/piece-store.ts"
import { BLOCK_BYTES, pieceBytesAt, type Torrent } from "#core/torrent.ts"
import { Bitfield } from "./bitfield.ts"
import type { Limits } from "./limits.ts"
import type { BlockSpan } from "./messages.ts"
import { PartialPiece } from "./partial-piece.ts"
import type { PeerState } from "./peer-state.ts"
import { shuffle, type Random } from "./random.ts"
import { RarityOrder } from "./rarity-order.ts"

/** `blockBytes`: asked for at a time, 16 KiB without it; a simulation of very many hosts takes more. */
export type TorrentShape = Pick<Torrent, "pieceCount" | "pieceBytes" | "contentBytes"> & { readonly blockBytes?: number }

/** Which pieces a peer may be asked for: those that it proposed, then those in turn 0, then in turn 1, until `turnMax`; those without a turn (null) not at all. */
export type PieceChoice = { readonly turnOf: (piece: number) => number | null; readonly turnMax: number }

const MISSING = 0
const PARTIAL = 1
const VERIFYING = 2
const HAD = 3

/** What there is room for; null: for everything. */
export type WindowSize = Pick<PieceWindow, "aheadPieces" | "behindPieces"> | null

/** Partial pieces looked at for one decision. */
const PARTIALS_SEEN = 64

export class Board {
  readonly shape: TorrentShape
  /** What can be given to others. */
  readonly held: Bitfield
  /** What is not needed any more; the same as `held` where nothing is forgotten. */
  readonly had: Bitfield
  readonly blockBytes: number
  /** Grows whenever blocks become free that a peer found none of before. */
  version = 0
  /** Pieces given up since this was last emptied: whoever keeps their blocks may forget them. */
  readonly givenUp: number[] = []
  /** Pieces that are held no more since this was last emptied. */
  readonly forgotten: number[] = []
  readonly #size: WindowSize
  readonly #limits: Limits
  readonly #random: Random
  readonly #state: Uint8Array
  /** How many peers have each piece, those that have all of them aside. */
  readonly #counts: Uint16Array
  readonly #inWindow: RarityOrder
  readonly #beyond: RarityOrder
  readonly #partials = new Map<number, PartialPiece>()
  /** Partials with blocks that nobody is asked for. */
  readonly #open = new Set<PartialPiece>()
  /** Who sent which block of a piece that failed its digest, until it is held or one sender is to blame. */
  readonly #disputed = new Map<number, readonly (string | null)[]>()
  #verifyingCount = 0
  /** The last search ended at a bound, not because there was nothing. */
  #cutShort = false
  /** Someone reads the pieces in order: until then, the window is all of them. */
  #windowed = false
  #windowFirst = 0
  #windowEnd: number
  #head = 0
  #forgottenTo = 0

  constructor(shape: TorrentShape, held: Bitfield, limits: Limits, random: Random, size: WindowSize = null) {
    this.shape = shape
    this.#size = size
    this.had = size === null ? held : new Bitfield(held.pieceCount, Uint8Array.from(held.bytes))
    this.blockBytes = shape.blockBytes ?? BLOCK_BYTES
    this.held = held
    this.#limits = limits
    this.#random = random
    this.#state = new Uint8Array(shape.pieceCount)
    this.#counts = new Uint16Array(shape.pieceCount)
    // Who holds everything when it starts needs no order: a server has hundreds of layers.
    const ordered = held.complete ? 0 : shape.pieceCount
    this.#inWindow = new RarityOrder(ordered)
    this.#beyond = new RarityOrder(ordered)
    this.#windowEnd = size === null ? shape.pieceCount : Math.min(shape.pieceCount, size.aheadPieces)
    this.#windowed = size !== null
    const missing: number[] = []
    for (let piece = 0; piece < shape.pieceCount; piece += 1) {
      if (held.has(piece)) this.#state[piece] = HAD
      else missing.push(piece)
    }
    shuffle(missing, 0, missing.length, random)
    for (const piece of missing) this.#orderOf(piece).insert(piece, 0)
  }

  get complete(): boolean {
    return this.had.complete
  }

  get blocksPerPiece(): number {
    return Math.ceil(this.shape.pieceBytes / this.blockBytes)
  }

  blockId(piece: number, block: number): number {
    return piece * this.blocksPerPiece + block
  }

  spanOf(blockId: number): BlockSpan {
    const piece = Math.floor(blockId / this.blocksPerPiece)
    const offset = (blockId % this.blocksPerPiece) * this.blockBytes
    return { piece, offset, length: Math.min(this.blockBytes, pieceBytesAt(this.shape, piece) - offset) }
  }

  partial(piece: number): PartialPiece | null {
    return this.#partials.get(piece) ?? null
  }

  isMissing(piece: number): boolean {
    return this.#state[piece] === MISSING
  }

  /** Missing, and there is room for it. */
  isWanted(piece: number): boolean {
    return this.isMissing(piece) && (this.#size === null || this.#isInWindow(piece))
  }

  countOf(piece: number): number {
    return this.#counts[piece] ?? 0
  }

  /** Nothing is left to ask for that nobody is asked for: where there is room for a window, at this moment. */
  get endGame(): boolean {
    return this.#inWindow.size === 0 && (this.#size !== null || this.#beyond.size === 0) && this.#open.size === 0
  }

  /** One peer more has the piece. */
  raise(piece: number): void {
    const count = this.countOf(piece)
    this.#counts[piece] = count + 1
    this.#inWindow.raise(piece, count)
    this.#beyond.raise(piece, count)
  }

  /** One peer less has the piece. */
  lower(piece: number): void {
    const count = this.countOf(piece)
    if (count === 0) return
    this.#counts[piece] = count - 1
    this.#inWindow.lower(piece, count)
    this.#beyond.lower(piece, count)
  }

  /** Pieces from `first` on go before the others from now. Where there is room for a window alone it only moves on. */
  moveWindow(first: number): void {
    if (this.#size !== null && first <= this.#windowFirst) return
    const end = Math.min(this.shape.pieceCount, first + (this.#size?.aheadPieces ?? this.#limits.windowPieces))
    const changedFrom = this.#windowed ? Math.min(first, this.#windowFirst) : 0
    const changedTo = this.#windowed ? Math.max(end, this.#windowEnd) : this.shape.pieceCount
    this.#windowed = true
    this.#windowFirst = first
    this.#windowEnd = end
    this.#head = first
    for (let piece = changedFrom; piece < changedTo; piece += 1) {
      if (!this.isMissing(piece)) continue
      const [from, to] = this.#isInWindow(piece) ? [this.#beyond, this.#inWindow] : [this.#inWindow, this.#beyond]
      if (!from.has(piece)) continue
      from.remove(piece, this.countOf(piece))
      to.insert(piece, this.countOf(piece))
    }
    this.version += 1
    for (; this.#forgottenTo < this.#keptFrom; this.#forgottenTo += 1) this.#forget(this.#forgottenTo)
  }

  /** Pieces before this one are not kept. */
  get #keptFrom(): number {
    return this.#size === null ? 0 : this.#windowFirst - this.#size.behindPieces
  }

  #forget(piece: number): void {
    if (this.held.clear(piece)) this.forgotten.push(piece)
  }

  /**
   * The next block to ask of `peer`, noted as asked; null when it has none that nobody is asked for. `guided`: of pieces that it proposed; `choice`: of which
   * others, all without it.
   */
  take(peer: PeerState, guided: boolean, choice: PieceChoice | null = null): BlockSpan | null {
    if (peer.exhaustedAt === this.version) return null
    this.#cutShort = false
    let partial = this.#choose(peer, guided, choice, 0)
    for (let turn = 1; partial === null && turn <= (choice?.turnMax ?? 0); turn += 1) partial = this.#choose(peer, guided, choice, turn)
    const block = partial?.takeOpen(peer.number) ?? null
    if (partial === null || block === null) {
      if (!this.#cutShort) peer.exhaustedAt = this.version
      return null
    }
    peer.current = partial
    if (partial.openCount === 0) this.#open.delete(partial)
    return partial.span(block)
  }

  /**
   * End game: a block that another is asked for and that `peer` is likely to bring sooner, noted as asked of both. One of the
   * two is withdrawn when the other comes; no block is asked of three. Before the last window it is for the piece alone that everything waits for.
   */
  takeTwice(peer: PeerState, slowness: (other: number) => number): BlockSpan | null {
    const own = slowness(peer.number)
    let worst: { readonly partial: PartialPiece; readonly block: number } | null = null
    let worstSlowness = own * 1.5
    for (const partial of this.#partials.values()) {
      if (partial.solo !== null || partial.missingCount === 0 || !peer.have.has(partial.piece)) continue
      if (this.#beyond.size > 0 && partial.piece !== this.#windowFirst) continue
      for (let block = 0; block < partial.blockCount; block += 1) {
        const asked = partial.askedFor(block)
        const only = asked[0]
        if (asked.length !== 1 || only === undefined || only === peer.number || partial.has(block)) continue
        const other = slowness(only)
        if (other <= worstSlowness) continue
        worst = { partial, block }
        worstSlowness = other
      }
    }
    if (worst === null) return null
    worst.partial.ask(worst.block, peer.number)
    return worst.partial.span(worst.block)
  }

  /** `peer` will not bring this block. */
  release(span: BlockSpan, peer: PeerState): void {
    const partial = this.#partials.get(span.piece)
    if (partial === undefined) return
    partial.release(span.offset / this.blockBytes, peer.number)
    if (peer.current === partial) peer.current = null
    // Begun anew by one peer: that of a disputed piece must send all of it.
    if (partial.untouched || (partial.solo === peer.number && partial.unasked)) this.giveUp(partial.piece)
    else if (partial.openCount > 0) this.#open.add(partial)
    this.version += 1
  }

  /**
   * A block came. `kept`: it was needed, `others` were asked for it too, and `completes` the piece. Null: it came before, or is of a
   * piece that is no longer fetched from this peer.
   */
  receive(span: BlockSpan, peer: PeerState): { readonly others: readonly number[]; readonly completes: boolean } | null {
    const partial = this.#partials.get(span.piece)
    const block = span.offset / this.blockBytes
    if (partial === undefined || partial.has(block) || (partial.solo !== null && partial.solo !== peer.number)) return null
    const others = partial.receive(block, peer.number, peer.key)
    if (partial.openCount === 0) this.#open.delete(partial)
    if (partial.missingCount > 0) return { others, completes: false }
    this.#state[span.piece] = VERIFYING
    this.#verifyingCount += 1
    if (peer.current === partial) peer.current = null
    return { others, completes: true }
  }

  /** The piece is in the store. Returns who sent each block of an earlier, corrupt attempt. */
  stored(piece: number): readonly (string | null)[] | null {
    if (this.#state[piece] !== VERIFYING) return null
    this.#state[piece] = HAD
    this.#verifyingCount -= 1
    this.#partials.delete(piece)
    this.held.set(piece)
    this.had.set(piece)
    if (piece < this.#keptFrom) this.#forget(piece)
    const suppliers = this.#disputed.get(piece) ?? null
    this.#disputed.delete(piece)
    return suppliers
  }

  /** The piece failed its digest and is missing again. Returns the only one who can be to blame; null when several sent parts of it. */
  corrupt(piece: number): string | null {
    const partial = this.#partials.get(piece)
    if (partial === undefined || this.#state[piece] !== VERIFYING) return null
    this.#verifyingCount -= 1
    const senders = new Set(partial.suppliers)
    if (senders.size > 1) this.#disputed.set(piece, partial.suppliers)
    this.giveUp(piece)
    return senders.size === 1 ? (partial.suppliers[0] ?? null) : null
  }

  /** What was begun of the piece is forgotten; it is missing again. */
  giveUp(piece: number): void {
    const partial = this.#partials.get(piece)
    if (partial === undefined) return
    this.#partials.delete(piece)
    this.#open.delete(partial)
    this.givenUp.push(piece)
    this.#state[piece] = MISSING
    this.#orderOf(piece).insert(piece, this.countOf(piece))
    this.#head = Math.min(this.#head, piece < this.#windowFirst ? this.#head : piece)
    this.version += 1
  }

  /** For tests and statistics: how many pieces are in each state, those that were forgotten with those that are held. */
  census(): { missing: number; partial: number; verifying: number; held: number } {
    return {
      missing: this.#inWindow.size + this.#beyond.size,
      partial: this.#partials.size - this.#verifyingCount,
      verifying: this.#verifyingCount,
      held: this.had.count,
    }
  }

  #isInWindow(piece: number): boolean {
    return piece >= this.#windowFirst && piece < this.#windowEnd
  }

  #orderOf(piece: number): RarityOrder {
    return this.#isInWindow(piece) ? this.#inWindow : this.#beyond
  }

  #usable(partial: PartialPiece | null, peer: PeerState, has: (piece: number) => boolean): partial is PartialPiece {
    if (partial === null || partial.openCount === 0 || !has(partial.piece)) return false
    return this.#partials.get(partial.piece) === partial && (partial.solo === null || partial.solo === peer.number)
  }

  /** A begun piece: its own, else the oldest. */
  #usablePartial(peer: PeerState, guided: boolean, has: (piece: number) => boolean): PartialPiece | null {
    if (this.#usable(peer.current, peer, has)) return peer.current
    if (guided) return null
    let seen = 0
    for (const partial of this.#open) {
      if (this.#usable(partial, peer, has)) return partial
      seen += 1
      this.#cutShort = seen === PARTIALS_SEEN
      if (this.#cutShort) break
    }
    return null
  }

  /** A piece of that turn: one that was begun, else another. */
  #choose(peer: PeerState, guided: boolean, choice: PieceChoice | null, turn: number): PartialPiece | null {
    const has = (piece: number) => peer.have.has(piece) && (choice === null || choice.turnOf(piece) === turn)
    const may = (piece: number) => peer.have.has(piece) && (choice === null || choice.turnOf(piece) !== null)
    return this.#usablePartial(peer, guided, has) ?? this.#begin(peer, guided, has, may)
  }

  #begin(peer: PeerState, guided: boolean, has: (piece: number) => boolean, may: (piece: number) => boolean): PartialPiece | null {
    if (this.#partials.size * this.shape.pieceBytes >= this.#limits.pendingBytes && !this.#giveUpOneUnasked()) {
      this.#cutShort = true
      return null
    }
    const piece = this.#next(peer, guided, has, may)
    if (piece === null) return null
    this.#orderOf(piece).remove(piece, this.countOf(piece))
    this.#state[piece] = PARTIAL
    const solo = this.#disputed.has(piece) ? peer.number : null
    const partial = new PartialPiece(piece, pieceBytesAt(this.shape, piece), this.blockBytes, solo)
    this.#partials.set(piece, partial)
    this.#open.add(partial)
    return partial
  }

  #next(peer: PeerState, guided: boolean, has: (piece: number) => boolean, may: (piece: number) => boolean): number | null {
    // What holders of everything are asked for is theirs to choose: else all would fetch the same heads from them.
    if (this.#windowed && !guided) {
      while (this.#head < this.#windowEnd && this.had.has(this.#head)) this.#head += 1
      for (let piece = this.#head, seen = 0; piece < this.#windowEnd && seen < this.#limits.windowHeadPieces; piece += 1) {
        if (this.had.has(piece)) continue
        seen += 1
        if (this.isMissing(piece) && has(piece)) return piece
      }
    }
    while (peer.suggested.length > 0) {
      const piece = peer.suggested.shift()
      if (piece !== undefined && this.isWanted(piece) && may(piece)) return piece
    }
    if (guided) return null
    // One that downloads is itself counted for what it has: the many that are still the origins' alone need not be looked through.
    const leastCount = peer.have.complete ? 0 : 1
    const inWindow = this.#inWindow.rarest(has, this.#random, leastCount)
    return inWindow ?? (this.#size === null ? this.#beyond.rarest(has, this.#random, leastCount) : null)
  }

  /** Makes room where pieces were begun that nobody brings any more. */
  #giveUpOneUnasked(): boolean {
    for (const partial of this.#partials.values()) {
      if (partial.missingCount === 0 || !partial.unasked) continue
      this.giveUp(partial.piece)
      return true
    }
    return false
  }
}
