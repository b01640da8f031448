/**
 * Decides for one torrent: whom to ask for which block, whom to send what, whom to dial, whom to drop. It does no I/O, reads no clock and draws
 * from the seeded randomness it is given, so that the same events always have the same effects.
 *
 * A block is asked for at most twice at a time, a request is answered exactly once (BEP 6), and a peer that breaks a rule is gone in the
 * same step.
 */
import { formatAddress, type Address } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import { pieceBytesAt } from "#core/torrent.ts"
import { AddressBook } from "./address-book.ts"
import { Bitfield } from "./bitfield.ts"
import { Board, type TorrentShape, type WindowSize } from "./board.ts"
import type { CoreEffect, CoreEvent, DisconnectReason, PeerNumber } from "./events.ts"
import { defaultLimits, type Limits } from "./limits.ts"
import type { BlockSpan, ControlMessage, Message } from "./messages.ts"
import { Offers } from "./offers.ts"
import { PeerState } from "./peer-state.ts"
import type { Random } from "./random.ts"
import { ReactiveRate } from "./rate.ts"
import { UploadSlots } from "./upload-slots.ts"

/** How often `tick` is due. */
export const TICK_MS = 100
/** A peer that had everything is counted for each of its pieces when it forgets one: as much as so many other messages. */
const NO_LONGER_COMPLETE_WEIGHT = 50
/** Members remembered for their offences. */
const OFFENDERS_MAX = 10_000

export type CoreStatistics = {
  downloadedBytes: number
  uploadedBytes: number
  fromServersBytes: number
  fromClientsBytes: number
  /** Blocks that came and were not needed. */
  duplicateBytes: number
  corruptPieces: number
}

export class TorrentCore<Block> {
  readonly statistics: CoreStatistics = {
    downloadedBytes: 0,
    uploadedBytes: 0,
    fromServersBytes: 0,
    fromClientsBytes: 0,
    duplicateBytes: 0,
    corruptPieces: 0,
  }
  readonly #board: Board
  readonly #limits: Limits
  readonly #addresses: AddressBook
  readonly #random: Random
  readonly #peers = new Map<PeerNumber, PeerState>()
  /** Pieces to tell peers of, together. */
  readonly #news: { readonly piece: number; readonly told: ReadonlySet<PeerState> }[] = []
  /** Of each piece that is under way: the holders of everything that sent some of it, and wait to hear that it is here. */
  readonly #waitForIt = new Map<number, Set<PeerState>>()
  /** In the order in which they were. */
  readonly #forgotten: number[] = []
  readonly #offers: Offers | null
  readonly #offences = new Map<string, number>()
  readonly #download: ReactiveRate
  #inFlight = 0
  readonly #slots: UploadSlots
  #newsToldAtMs = 0
  #afreshAtMs = 0
  #dialAgainAtMs = 0
  #taking = true
  #nowMs: number
  #effects: CoreEffect<Block>[] = []

  constructor(
    parts: {
      readonly shape: TorrentShape
      readonly held: Bitfield
      readonly random: Random
      readonly nowMs: number
      /** Where there is room for a part of the pieces alone. */
      readonly window?: WindowSize
    },
    options: Partial<Limits> = {},
  ) {
    this.#limits = { ...defaultLimits, ...options }
    this.#nowMs = parts.nowMs
    this.#random = parts.random
    this.#board = new Board(parts.shape, parts.held, this.#limits, parts.random, parts.window ?? null)
    this.#addresses = new AddressBook(this.#limits, parts.random)
    this.#download = new ReactiveRate(parts.nowMs)
    this.#slots = new UploadSlots(this.#limits, { ...parts, pieceBytes: parts.shape.pieceBytes, origin: parts.held.complete })
    this.#offers = parts.held.complete ? new Offers(parts.shape.pieceCount, parts.random) : null
  }

  get held(): Bitfield {
    return this.#board.held
  }

  /** What was held at any time, and is not needed again. */
  get had(): Bitfield {
    return this.#board.had
  }

  /** Nothing is missing. Whether everything is held is another question, where pieces are forgotten. */
  get complete(): boolean {
    return this.#board.complete
  }

  get peerCount(): number {
    return this.#peers.size
  }

  /**
   * Whether one more connection is taken that another dialled. Who still downloads keeps to about as many as all the others have: the more
   * connections, the greater the share of what all send, and they end together only when their shares are equal. Who has everything takes any,
   * and sends one away that knows its way by then.
   */
  get hasRoom(): boolean {
    return this.complete || this.#peers.size < Math.min(this.#limits.peers, this.#limits.connectionsTaken)
  }

  /** This member broke the rules before, too often or too badly. */
  isBanned(key: string): boolean {
    return (this.#offences.get(key) ?? 0) >= this.#limits.offences
  }

  /** Connected peers that lack a piece that we hold. */
  get peersInNeed(): number {
    let count = 0
    for (const peer of this.#peers.values()) if (peer.interested && this.held.countBeyond(peer.have) > 0) count += 1
    return count
  }

  /** For tests: how many pieces are in each state, and how many requests are in flight. */
  census(): ReturnType<Board["census"]> & { readonly inFlight: number; readonly unchoked: number } {
    return { ...this.#board.census(), inFlight: this.#inFlight, unchoked: this.#slots.taken }
  }

  /** Takes one event at a time that never runs backwards; returns what is to be done, in order. */
  step(event: CoreEvent<Block>, nowMs: number): readonly CoreEffect<Block>[] {
    this.#nowMs = Math.max(this.#nowMs, nowMs)
    this.#effects = []
    switch (event.kind) {
      case "connected":
        this.#connected(event)
        break
      case "introduced":
        this.#introduced(event)
        break
      case "message":
        this.#message(event.peer, event.message)
        break
      case "dont-have":
        this.#message(event.peer, { type: "dont-have", piece: event.piece })
        break
      case "violated": {
        const peer = this.#peers.get(event.peer)
        if (peer !== undefined) this.#disconnect(peer, "misbehaved", event.detail)
        break
      }
      case "addresses":
        this.#learnAddresses(event)
        break
      case "uploaded":
        this.#uploaded(event.peer, event.bytes)
        break
      case "piece-stored":
        this.#stored(event.piece, event.wrongBlocks)
        break
      case "piece-corrupt":
        this.#corrupt(event.piece)
        break
      case "store-failed":
        this.#taking = false
        this.#waitForIt.delete(event.piece)
        this.#board.corrupt(event.piece)
        break
      case "dial-failed":
        this.#addresses.failed(event.address, this.#nowMs)
        break
      case "window":
        this.#board.moveWindow(event.firstPiece)
        this.#refillAll()
        break
      case "gone":
        this.#remove(event.peer, "lost")
        break
      case "tick":
        this.#tick()
        break
    }
    for (const piece of this.#board.forgotten.splice(0)) this.#forget(piece)
    if (this.#board.givenUp.length > 0) for (const piece of this.#board.givenUp.splice(0)) this.#effects.push({ kind: "drop-piece", piece })
    return this.#effects
  }

  // Peers that come and go.

  #connected(event: CoreEvent<Block> & { kind: "connected" }): void {
    const have = new Bitfield(this.held.pieceCount)
    const peer = new PeerState(
      event.peer,
      { ...event, have, forgottenBefore: this.#forgotten.length },
      this.#limits.uselessBurst,
      this.#nowMs,
    )
    this.#peers.set(peer.number, peer)
    if (event.dialled !== null) this.#addresses.connected(event.dialled)
    if (this.isBanned(peer.key)) return this.#disconnect(peer, "banned", "this member broke the rules before")
    if (this.#peers.size > 2 * this.#limits.peers) return this.#disconnect(peer, "full", `${2 * this.#limits.peers} peers at most`)
    if (this.held.complete) this.#send(peer, { type: "have-all" })
    else if (this.held.count === 0) this.#send(peer, { type: "have-none" })
    else this.#send(peer, { type: "bitfield", bits: Uint8Array.from(this.held.bytes) })
  }

  /** Where there are too many, who has been here longest, long enough to have heard of others, and is not being served, gives way. */
  #makeRoom(): void {
    let tooMany = this.#peers.size - this.#limits.peers
    for (const peer of this.#peers.values()) {
      if (tooMany <= 0 || this.#nowMs - peer.connectedAtMs < this.#limits.settledMs) return
      if (!peer.choking) continue
      tooMany -= 1
      this.#disconnect(peer, "full", `${this.#limits.peers} peers at most`)
    }
  }

  #introduced(event: CoreEvent<Block> & { kind: "introduced" }): void {
    const peer = this.#peers.get(event.peer)
    if (peer === undefined) return
    peer.listen = event.listen
    peer.exchangesPeers = event.exchangesPeers
    peer.takesDontHave = event.takesDontHave
    for (const piece of this.#forgotten.slice(peer.forgottenBefore)) if (!peer.have.has(piece)) this.#tellForgotten(peer, piece)
    peer.requestQueueLimit = Math.max(1, event.requestQueueLimit)
    if (event.listen !== null) {
      this.#addresses.add(event.listen, false, this.#nowMs)
      this.#addresses.connected(event.listen)
    }
    this.#exchangePeers(peer)
  }

  #disconnect(peer: PeerState, reason: DisconnectReason, detail: string): void {
    this.#effects.push({ kind: "disconnect", peer: peer.number, reason, detail })
    if (reason === "misbehaved") this.#offend(peer.key, 1)
    if (reason === "corrupt") this.#offend(peer.key, this.#limits.offences)
    this.#remove(peer.number, reason === "corrupt" || reason === "banned" ? "exclude" : "lost")
  }

  #offend(key: string, weight: number): void {
    if (this.#offences.size >= OFFENDERS_MAX && !this.#offences.has(key)) return
    this.#offences.set(key, (this.#offences.get(key) ?? 0) + weight)
  }

  /** Nobody is served or asked any more under this member id. */
  #ban(key: string): void {
    this.#offend(key, this.#limits.offences)
    for (const peer of this.#peers.values()) if (peer.key === key) this.#disconnect(peer, "corrupt", "sent data that fails its digest")
  }

  #remove(number: PeerNumber, how: "lost" | "exclude"): void {
    const peer = this.#peers.get(number)
    if (peer === undefined) return
    this.#peers.delete(number)
    this.#slots.waitNoMore(peer)
    if (!peer.choking || peer.lastOfTurn !== null) this.#slots.takeBack(peer)
    const livedMs = this.#nowMs - peer.connectedAtMs
    for (const address of [peer.dialled, peer.listen]) if (address !== null) this.#addresses.ended(address, how, livedMs, this.#nowMs)
    const hadRequests = peer.asked.size > 0
    this.#releaseAll(peer)
    this.#countPieces(peer, (piece) => this.#board.lower(piece))
    for (const piece of peer.offers.keys()) this.#offers?.giveBack(piece)
    this.#fillSlots()
    if (hadRequests) this.#refillAll()
    for (const other of this.#peers.values()) this.#offer(other)
  }

  /** Peers that have everything are not counted: they make no piece rarer than another. */
  #countPieces(peer: PeerState, change: (piece: number) => void): void {
    if (peer.have.complete || peer.have.count === 0) return
    for (let piece = 0; piece < peer.have.pieceCount; piece += 1) if (peer.have.has(piece)) change(piece)
  }

  // What peers say.

  #message(number: PeerNumber, message: Message<Block> | DontHave): void {
    const peer = this.#peers.get(number)
    if (peer === undefined) return
    peer.lastHeardAtMs = this.#nowMs
    try {
      this.#take(peer, message)
    } catch (error) {
      if (!(error instanceof GridError)) throw error
      this.#disconnect(peer, "misbehaved", error.detail)
    }
  }

  #take(peer: PeerState, message: Message<Block> | DontHave): void {
    switch (message.type) {
      case "keep-alive":
        return this.#useless(peer, "keep-alives")
      case "have-all":
        return this.#takePieces(peer, Bitfield.full(this.held.pieceCount))
      case "have-none":
        return this.#takePieces(peer, new Bitfield(this.held.pieceCount))
      case "bitfield":
        return this.#takePieces(peer, Bitfield.fromPeer(this.held.pieceCount, message.bits))
      default:
    }
    if (!peer.introducedPieces) throw misbehaved(`"${message.type}" before telling which pieces it has`)
    switch (message.type) {
      case "choke":
        this.#useless(peer, "chokes")
        peer.chokes = true
        peer.suggested.length = 0
        return
      case "unchoke":
        this.#useless(peer, "unchokes")
        peer.chokes = false
        // Whoever has something to propose does so before.
        if (peer.suggested.length === 0) this.#endProposals(peer)
        this.#refill(peer)
        // Without anything to ask for, the slot is for others.
        return this.#tellInterest(peer)
      case "interested":
      case "not-interested":
        this.#useless(peer, "changes of interest")
        return this.#takeInterest(peer, message.type === "interested")
      case "have":
        return this.#takeHave(peer, message.piece)
      case "dont-have":
        return this.#takeDontHave(peer, message.piece)
      case "suggest":
        return this.#takeSuggestion(peer, message.piece)
      case "allowed-fast":
        // Off-spec: BEP 6 lets a choked peer ask for these. Slots here are many and short, so we wait for ours.
        this.#requirePiece(message.piece)
        return this.#useless(peer, "allowed-fast")
      case "request":
        return this.#takeRequest(peer, message)
      case "cancel":
        return this.#takeCancel(peer, message)
      case "reject":
        return this.#takeReject(peer, message)
      case "block":
        return this.#takeBlock(peer, message)
    }
  }

  #useless(peer: PeerState, what: string, weight = 1): void {
    peer.tolerance -= weight
    if (peer.tolerance < 0) throw misbehaved(`too many messages of no use, last of them ${what}`)
  }

  #requirePiece(piece: number): void {
    if (piece >= this.held.pieceCount) throw misbehaved(`piece ${piece} of a torrent of ${this.held.pieceCount}`)
  }

  #requireSpan(span: BlockSpan): void {
    this.#requirePiece(span.piece)
    if (span.length < 1 || span.length > this.#board.blockBytes || span.offset + span.length > pieceBytesAt(this.#board.shape, span.piece))
      throw misbehaved(`${span.length} bytes at ${span.offset} of piece ${span.piece}`)
  }

  #takePieces(peer: PeerState, have: Bitfield): void {
    if (peer.introducedPieces) throw misbehaved("told its pieces twice")
    peer.introducedPieces = true
    for (let piece = 0; piece < have.pieceCount; piece += 1) if (have.has(piece)) peer.have.set(piece)
    peer.useful = have.countBeyond(this.had)
    if (this.#parted(peer)) return
    this.#countPieces(peer, (piece) => {
      this.#board.raise(piece)
      this.#offers?.spread(piece)
    })
    this.#tellInterest(peer)
    this.#fillSlots()
    this.#offer(peer)
  }

  #takeHave(peer: PeerState, piece: number): void {
    this.#requirePiece(piece)
    if (piece === peer.lastOfTurn) this.#endTurn(peer, "used")
    if (!peer.have.set(piece)) return this.#useless(peer, "pieces told before")
    if (peer.have.complete) {
      // From now on it is one of those that have everything.
      for (let other = 0; other < peer.have.pieceCount; other += 1) if (other !== piece) this.#board.lower(other)
      if (this.#parted(peer)) return
    } else this.#board.raise(piece)
    if (this.#offers !== null) {
      this.#offers.spread(piece)
      if (peer.offers.delete(piece)) this.#offer(peer)
    }
    if (this.had.has(piece)) return
    peer.useful += 1
    peer.exhaustedAt = -1
    this.#tellInterest(peer)
    this.#refill(peer)
  }

  /** BEP 54. What was asked for of the piece, the peer refuses (BEP 6). */
  #takeDontHave(peer: PeerState, piece: number): void {
    this.#requirePiece(piece)
    this.#useless(peer, "pieces forgotten", peer.have.complete ? NO_LONGER_COMPLETE_WEIGHT : 1)
    const before = peer.have.complete
    if (!peer.have.clear(piece)) return
    if (before) this.#countPieces(peer, (other) => this.#board.raise(other))
    else this.#board.lower(piece)
    if (!this.had.has(piece)) peer.useful -= 1
    this.#tellInterest(peer)
  }

  #takeSuggestion(peer: PeerState, piece: number): void {
    this.#requirePiece(piece)
    if (!peer.have.has(piece)) throw misbehaved("proposed a piece that it lacks")
    if (!this.#board.isWanted(piece)) return this.#useless(peer, "proposals")
    if (peer.suggested.length >= this.#limits.suggestions) {
      peer.suggested.shift()
      this.#useless(peer, "proposals")
    }
    peer.suggested.push(piece)
    peer.proposes = true
    peer.guidedUntilMs = this.#nowMs + this.#limits.guidedMs
    peer.exhaustedAt = -1
    this.#refill(peer)
  }

  // Downloading.

  #takeReject(peer: PeerState, span: BlockSpan): void {
    this.#requireSpan(span)
    const id = this.#blockIdOf(span)
    if (peer.withdrawn.delete(id)) return
    if (!peer.asked.has(id)) throw misbehaved("refused what was not asked for")
    this.#release(peer, id)
    // Refused since it was forgotten: there is more to ask for.
    if (!peer.chokes && peer.have.has(span.piece)) {
      this.#useless(peer, "refusals")
      peer.pausedUntilMs = this.#nowMs + this.#limits.refusedPauseMs
    }
    this.#refillAll()
  }

  #takeBlock(peer: PeerState, message: Message<Block> & { type: "block" }): void {
    this.#requireSpan(message)
    const id = this.#blockIdOf(message)
    const askedAtMs = peer.asked.get(id)
    if (askedAtMs !== undefined) {
      peer.asked.delete(id)
      this.#inFlight -= 1
      peer.shortestDelayMs = Math.min(peer.shortestDelayMs, this.#nowMs - askedAtMs)
    } else if (peer.withdrawn.delete(id)) {
      if (peer.stalled) peer.patience = Math.min(4, peer.patience * 2)
    } else throw misbehaved("sent a block that was not asked for")
    if (this.#board.spanOf(id).length !== message.length) throw misbehaved("sent a block of another length than asked for")
    peer.stalled = false
    peer.lastBlockAtMs = this.#nowMs
    if (peer.guidedUntilMs > 0) peer.guidedUntilMs = this.#nowMs + this.#limits.guidedMs
    peer.download.add(message.length)
    this.#download.add(message.length)
    this.statistics.downloadedBytes += message.length
    if (peer.role === "server") this.statistics.fromServersBytes += message.length
    else this.statistics.fromClientsBytes += message.length
    if (peer.have.complete) this.#owesWord(peer, message.piece)
    const received = this.#taking ? this.#board.receive(message, peer) : null
    if (received === null) {
      this.statistics.duplicateBytes += message.length
      if (askedAtMs !== undefined) this.#board.release(message, peer)
    } else {
      this.#effects.push({ kind: "keep-block", piece: message.piece, offset: message.offset, block: message.block })
      for (const other of received.others) {
        const loser = this.#peers.get(other)
        if (loser !== undefined) this.#withdraw(loser, id)
      }
      if (received.completes) this.#effects.push({ kind: "verify", piece: message.piece })
    }
    this.#refill(peer)
  }

  #blockIdOf(span: BlockSpan): number {
    if (span.offset % this.#board.blockBytes !== 0)
      throw misbehaved(`a block at ${span.offset}, which is no multiple of ${this.#board.blockBytes}`)
    return this.#board.blockId(span.piece, span.offset / this.#board.blockBytes)
  }

  /** How many requests this peer may have in flight: its rate over the time that the path takes, within the bound that all share. */
  #allowance(peer: PeerState): number {
    const limits = this.#limits
    if (peer.stalled) return peer.withdrawn.size === 0 ? 1 : 0
    const shared = Math.max(limits.sharedFloor, (this.#download.bytesPerSecond * limits.sharedHorizonMs) / 1000 / this.#board.blockBytes)
    const horizonMs = Number.isFinite(peer.shortestDelayMs)
      ? Math.min(limits.horizonMaxMs, Math.max(limits.horizonMs, 2 * peer.shortestDelayMs))
      : limits.horizonMs
    const floor = this.#inFlight >= shared ? 1 : Math.max(limits.requestsFloor, Math.min(limits.requestsFirst, this.#board.blocksPerPiece))
    const wanted = Math.ceil((peer.download.bytesPerSecond * horizonMs) / 1000 / this.#board.blockBytes)
    const room = Math.max(floor, Math.floor(shared - this.#inFlight + peer.asked.size))
    return Math.min(Math.max(floor, wanted), room, limits.requestsCeiling, peer.requestQueueLimit)
  }

  /** Asks `peer` for more, when enough has come to make it worth a packet. */
  #refill(peer: PeerState): void {
    if (!this.#taking || peer.chokes || peer.useful === 0 || !peer.introducedPieces || this.#nowMs < peer.pausedUntilMs) return
    const allowance = this.#allowance(peer)
    if (peer.asked.size > allowance - Math.max(1, allowance >> 2)) return
    while (peer.asked.size < allowance) {
      const span = this.#board.take(peer, this.#isGuided(peer)) ?? this.#takeTwice(peer)
      if (span === null) break
      this.#ask(peer, span)
    }
  }

  #isGuided(peer: PeerState): boolean {
    if (peer.asked.size + peer.suggested.length > 0 && peer.guidedUntilMs > 0) peer.guidedUntilMs = this.#nowMs + this.#limits.guidedMs
    const guided = this.#nowMs < peer.guidedUntilMs
    if (!guided && peer.guidedUntilMs > 0) this.#endProposals(peer)
    return guided
  }

  #endProposals(peer: PeerState): void {
    if (peer.guidedUntilMs > 0) peer.exhaustedAt = -1
    peer.guidedUntilMs = 0
    peer.proposes = false
  }

  #takeTwice(peer: PeerState): BlockSpan | null {
    if (peer.asked.size >= this.#limits.requestsFloor || peer.stalled || !this.#board.endGame) return null
    return this.#board.takeTwice(peer, (number) => {
      const other = this.#peers.get(number)
      if (other === undefined) return Number.POSITIVE_INFINITY
      // Time until all that it is asked for has come; of a peer whose rate is unknown little is expected.
      return (other.asked.size + (other === peer ? 1 : 0)) / Math.max(1, other.download.bytesPerSecond / this.#board.blockBytes)
    })
  }

  #ask(peer: PeerState, span: BlockSpan): void {
    const id = this.#blockIdOf(span)
    // The answer to an earlier request of the same block, withdrawn since, is as good.
    if (peer.withdrawn.delete(id)) peer.asked.set(id, this.#nowMs)
    else {
      if (peer.asked.size === 0) peer.lastBlockAtMs = this.#nowMs
      peer.asked.set(id, this.#nowMs)
      this.#send(peer, { type: "request", ...span })
    }
    this.#inFlight += 1
  }

  /** Another brought the block. */
  #withdraw(peer: PeerState, id: number): void {
    if (!peer.asked.delete(id)) return
    this.#inFlight -= 1
    peer.withdrawn.add(id)
    this.#send(peer, { type: "cancel", ...this.#board.spanOf(id) })
    this.#refill(peer)
  }

  #release(peer: PeerState, id: number): void {
    if (!peer.asked.delete(id)) return
    this.#inFlight -= 1
    this.#board.release(this.#board.spanOf(id), peer)
  }

  #releaseAll(peer: PeerState): void {
    for (const id of peer.asked.keys()) this.#release(peer, id)
  }

  #refillAll(): void {
    for (const peer of this.#peers.values()) this.#refill(peer)
  }

  /** Once interested we stay so until we have everything: the next piece that the peer tells of would change it again, and to be served by it costs nobody else. */
  #tellInterest(peer: PeerState): void {
    const wanted = peer.useful > 0 || (peer.told === "interested" && !this.complete)
    const now = wanted && this.#taking ? "interested" : "not-interested"
    if (now === peer.told) return
    peer.told = now
    this.#send(peer, { type: now })
  }

  /** A holder of everything ends our turn when it hears that we have the last piece of it (#closeTurn), whoever else sent some of that piece. */
  #owesWord(peer: PeerState, piece: number): void {
    if (this.had.has(piece)) {
      this.#send(peer, { type: "have", piece })
      if (!this.held.has(piece)) this.#tellForgotten(peer, piece)
      return
    }
    const waiting = this.#waitForIt.get(piece)
    if (waiting === undefined) this.#waitForIt.set(piece, new Set([peer]))
    else waiting.add(peer)
  }

  #stored(piece: number, wrongBlocks: readonly number[]): void {
    const suspects = this.#board.stored(piece)
    const told = this.#waitForIt.get(piece) ?? new Set<PeerState>()
    for (const peer of told) if (this.#peers.has(peer.number)) this.#send(peer, { type: "have", piece })
    this.#waitForIt.delete(piece)
    this.#news.push({ piece, told })
    for (const peer of this.#peers.values()) if (peer.have.has(piece)) peer.useful -= 1
    this.#tellNews()
    const liars = new Set(wrongBlocks.map((block) => suspects?.[block] ?? null))
    for (const liar of liars) if (liar !== null) this.#ban(liar)
    if (this.complete) for (const peer of this.#peers.values()) this.#parted(peer)
  }

  /** There is no room for the piece any more. Who asked for it is refused; who lacks it hears of it, so that it asks others. */
  #forget(piece: number): void {
    this.#forgotten.push(piece)
    for (const peer of this.#peers.values()) {
      if (!peer.have.has(piece)) this.#tellForgotten(peer, piece)
      if (peer.uploads.length === 0) continue
      const rest = peer.uploads.filter((span) => span.piece !== piece)
      for (const span of peer.uploads.splice(0)) if (span.piece === piece) this.#send(peer, { type: "reject", ...span })
      peer.uploads.push(...rest)
    }
    this.#effects.push({ kind: "forget-piece", piece })
  }

  #tellForgotten(peer: PeerState, piece: number): void {
    if (!peer.takesDontHave) return
    peer.lastSentAtMs = this.#nowMs
    this.#effects.push({ kind: "dont-have", peer: peer.number, piece })
  }

  /** Two that have everything stay connected, to pass on addresses, only while there is plenty of room for others. */
  #parted(peer: PeerState): boolean {
    if (!this.complete || !peer.have.complete || this.#peers.size <= this.#limits.peers / 2) return false
    this.#disconnect(peer, "both-complete", "neither needs anything")
    return true
  }

  #corrupt(piece: number): void {
    this.statistics.corruptPieces += 1
    this.#waitForIt.delete(piece)
    const liar = this.#board.corrupt(piece)
    if (liar !== null) this.#ban(liar)
    this.#refillAll()
  }

  // Uploading.

  #takeRequest(peer: PeerState, { piece, offset, length }: BlockSpan): void {
    const span = { piece, offset, length }
    this.#requireSpan(span)
    if (peer.choking || !this.held.has(piece)) {
      this.#useless(peer, "requests that can't be met")
      return this.#send(peer, { type: "reject", ...span })
    }
    if (peer.uploads.length >= this.#limits.requestsQueued) throw misbehaved(`more than ${this.#limits.requestsQueued} requests at a time`)
    peer.uploads.push(span)
    this.#upload(peer)
  }

  #takeCancel(peer: PeerState, { piece, offset, length }: BlockSpan): void {
    this.#useless(peer, "cancels")
    const at = peer.uploads.findIndex((span) => span.piece === piece && span.offset === offset && span.length === length)
    // The block may be on its way.
    if (at < 0) return
    peer.uploads.splice(at, 1)
    this.#send(peer, { type: "reject", piece, offset, length })
  }

  #upload(peer: PeerState): void {
    const writeBytes = Math.min(this.#limits.writeBytes, (peer.upload.bytesPerSecond * this.#limits.writeMs) / 1000)
    // What is written already, what we say ourselves waits behind: with several peers served, the others keep the uplink busy.
    const writesMax = this.#slots.taken > 1 ? 1 : this.#limits.writesInFlight
    while (peer.uploads.length > 0 && peer.writes < writesMax) {
      // Requests come one by one: while a write is out, they gather until they are worth another.
      if (peer.writes > 0 && peer.uploads.length * this.#board.blockBytes < writeBytes / 2) break
      const { count, lastPiece } = this.#nextWrite(peer, writeBytes)
      if (peer.writes === 0) peer.writingSinceMs = this.#nowMs
      peer.writes += 1
      peer.lastSentAtMs = this.#nowMs
      peer.lastServedAtMs = this.#nowMs
      this.#effects.push({ kind: "upload", peer: peer.number, blocks: peer.uploads.splice(0, count) })
      if (lastPiece !== null) {
        // Of a piece that comes from several, the others may be slow: nothing would tell when our part has arrived.
        const tells = this.#offers !== null && peer.sentOf.bytes === pieceBytesAt(this.#board.shape, lastPiece)
        return tells ? this.#closeTurn(peer, lastPiece) : this.#endTurn(peer, "used")
      }
    }
    this.#offer(peer)
  }

  /** How many of the blocks asked for go out together, noted as sent, and the piece with which the peer's turn ends, when it does. */
  #nextWrite(peer: PeerState, writeBytes: number): { readonly count: number; readonly lastPiece: number | null } {
    let bytes = 0
    let count = 0
    for (const { piece, offset, length } of peer.uploads) {
      if (count > 0 && bytes >= writeBytes) break
      bytes += length
      count += 1
      peer.turnBytes += length
      peer.sentOf = { piece, bytes: length + (peer.sentOf.piece === piece ? peer.sentOf.bytes : 0) }
      if (offset + length < pieceBytesAt(this.#board.shape, piece)) continue
      this.#offers?.spread(piece)
      peer.offers.delete(piece)
      if (this.#slots.wanted && peer.turnBytes >= this.#slots.turnBytes) return { count, lastPiece: piece }
    }
    return { count, lastPiece: null }
  }

  #uploaded(number: PeerNumber, bytes: number): void {
    this.statistics.uploadedBytes += bytes
    const peer = this.#peers.get(number)
    if (peer === undefined) return
    peer.writes -= 1
    peer.writingSinceMs = this.#nowMs
    peer.upload.add(bytes)
    this.#slots.sent(bytes)
    this.#upload(peer)
  }

  #takeInterest(peer: PeerState, interested: boolean): void {
    peer.interested = interested
    this.#waitForTurn(peer)
    if (!interested) {
      this.#slots.waitNoMore(peer)
      if (!peer.choking) {
        this.#choke(peer)
        this.#slots.takeBack(peer)
      }
    }
    this.#fillSlots()
  }

  #fillSlots(): void {
    if (this.#offers !== null) this.#slots.allGiven = this.#offers.freeCount === 0
    for (let peer = this.#slots.give(); peer !== null; peer = this.#slots.give()) this.#unchoke(peer)
  }

  /**
   * The peer was sent what is its in this turn, by one from whom every piece has to come: it may ask for no more, and its slot is free once it tells that it has the
   * last piece. What the operating system took has not left yet; were the slot another's at once, many would share the uplink, and the whole swarm would have
   * its pieces late.
   */
  #closeTurn(peer: PeerState, lastPiece: number): void {
    this.#choke(peer)
    peer.lastOfTurn = lastPiece
  }

  #endTurn(peer: PeerState, how: "used" | "wasted"): void {
    if (!peer.choking) this.#choke(peer)
    peer.lastOfTurn = null
    peer.usedTurns += how === "used" ? 1 : 0
    peer.wastedTurns = how === "used" ? 0 : peer.wastedTurns + 1
    const { slotWastedMs, slotWastedMaxMs } = this.#limits
    if (how === "wasted")
      peer.restsUntilMs = this.#nowMs + Math.min(slotWastedMaxMs, slotWastedMs * 2 ** Math.min(peer.wastedTurns - 1, 16))
    this.#slots.takeBack(peer)
    // Who made nothing of it comes after all who wait.
    if (how === "wasted") this.#fillSlots()
    this.#waitForTurn(peer)
    this.#fillSlots()
  }

  #waitForTurn(peer: PeerState): void {
    if (peer.interested && peer.choking && peer.lastOfTurn === null && this.#nowMs >= peer.restsUntilMs) this.#slots.wait(peer)
  }

  /** Turns that take too long, or of which nothing is made, end. */
  #turnSlots(): void {
    for (const peer of this.#peers.values()) {
      const sinceMs = this.#nowMs - peer.lastServedAtMs
      if (peer.lastOfTurn !== null && sinceMs >= this.#limits.slotPauseMs) this.#endTurn(peer, "wasted")
      this.#waitForTurn(peer)
      if (peer.choking || !this.#slots.wanted) continue
      // What it was sent may still be on its way; who asked for nothing needs nothing.
      const idleMs = peer.turnBytes > 0 ? this.#limits.slotPauseMs : this.#limits.slotIdleMs
      const idle = peer.uploads.length === 0 && peer.writes === 0 && sinceMs >= idleMs
      // Who takes nothing of what is sent keeps a slot no longer than who asks for nothing.
      const takesNothing = peer.writes > 0 && this.#nowMs - peer.writingSinceMs >= this.#limits.slotPauseMs
      if (idle || takesNothing || this.#nowMs - peer.unchokedAtMs >= this.#limits.slotTurnMs) this.#endTurn(peer, "wasted")
    }
    this.#fillSlots()
  }

  #unchoke(peer: PeerState): void {
    peer.choking = false
    peer.unchokedAtMs = this.#nowMs
    peer.lastServedAtMs = this.#nowMs
    peer.turnBytes = 0
    // Proposals first: the peer asks as soon as it may.
    this.#offer(peer)
    this.#send(peer, { type: "unchoke" })
  }

  #choke(peer: PeerState): void {
    peer.choking = true
    this.#send(peer, { type: "choke" })
    for (const span of peer.uploads.splice(0)) this.#send(peer, { type: "reject", ...span })
    for (const piece of peer.offers.keys()) this.#offers?.giveBack(piece)
    peer.offers.clear()
  }

  /** Proposes pieces that were not sent to anyone, as many as the peer will soon ask for. */
  #offer(peer: PeerState): void {
    if (this.#offers === null || !peer.interested || peer.choking) return
    const { pieceBytes } = this.#board.shape
    // While others wait, what is left of its turn, and of the last pieces no more than its share: the swarm ends with the slowest of them. Else one more than it
    // asked for.
    const restBytes = Math.max(this.#slots.turnBytes, 1) - peer.turnBytes
    const share = Math.max(1, Math.floor(this.#offers.freeCount / Math.max(1, this.#slots.taken)))
    const wanted = this.#slots.wanted
      ? Math.min(share, Math.ceil(restBytes / pieceBytes))
      : 1 + Math.ceil((peer.uploads.length * this.#board.blockBytes) / pieceBytes)
    while (peer.offers.size < wanted) {
      const piece = this.#offers.take(this.#limits.offerBandPerPeer * this.#peers.size)
      if (piece === null || peer.offers.size >= this.#limits.suggestions / 2) return
      peer.offers.set(piece, this.#nowMs)
      this.#send(peer, { type: "suggest", piece })
    }
  }

  // What time brings.

  #tick(): void {
    this.#download.settle(this.#nowMs)
    const afresh = this.#nowMs - this.#afreshAtMs >= this.#limits.afreshMs
    if (afresh) this.#afreshAtMs = this.#nowMs
    for (const peer of this.#peers.values()) {
      peer.download.settle(this.#nowMs, peer.asked.size > 0)
      peer.upload.settle(this.#nowMs, peer.writes > 0)
      peer.tolerance = Math.min(this.#limits.uselessBurst, peer.tolerance + (this.#limits.uselessPerSecond * TICK_MS) / 1000)
      this.#lapseOffers(peer)
      if (this.#dropIfDead(peer)) continue
      this.#stall(peer)
      if (afresh) peer.exhaustedAt = -1
      this.#tellInterest(peer)
      if (this.#nowMs - peer.lastExchangeAtMs >= this.#limits.peerExchangeMs) this.#exchangePeers(peer)
      if (this.#nowMs - peer.lastSentAtMs >= this.#limits.keepAliveMs) this.#send(peer, { type: "keep-alive" })
    }
    this.#makeRoom()
    this.#tellNews()
    this.#slots.tick(this.#nowMs)
    this.#turnSlots()
    this.#refillAll()
    this.#dial()
  }

  /** Tells of new pieces, once they are due, those who lack them, and several that propose pieces, so that none proposes what another has sent. */
  #tellNews(): void {
    const { newsMs, newsPieces } = this.#limits
    const enough = this.#news.length >= newsPieces || (this.complete && this.#news.length > 0)
    if (!enough && this.#nowMs - this.#newsToldAtMs < newsMs) return
    let proposers = 0
    for (const peer of this.#peers.values()) if (peer.proposes) proposers += 1
    for (const peer of this.#peers.values()) {
      const shares = peer.proposes && proposers > 1
      for (const { piece, told } of this.#news)
        if (!told.has(peer) && this.held.has(piece) && (shares || !peer.have.has(piece))) this.#send(peer, { type: "have", piece })
    }
    this.#news.length = 0
    this.#newsToldAtMs = this.#nowMs
  }

  #lapseOffers(peer: PeerState): void {
    // While it is being served it comes to them in its turn.
    if (peer.writes > 0) peer.servedAtMs = this.#nowMs
    for (const [piece, offeredAtMs] of peer.offers) {
      if (this.#nowMs - Math.max(offeredAtMs, peer.servedAtMs) < this.#limits.offerLapsesMs) break
      peer.offers.delete(piece)
      this.#offers?.giveBack(piece)
    }
    this.#offer(peer)
  }

  #dropIfDead(peer: PeerState): boolean {
    const owes = peer.asked.size + peer.withdrawn.size > 0
    const quietMs = this.#nowMs - peer.lastHeardAtMs
    if (quietMs >= this.#limits.silentMs || (owes && quietMs >= this.#limits.silentOwingMs)) {
      this.#disconnect(peer, "silent", `nothing heard for ${quietMs} ms`)
      return true
    }
    if (peer.writes === 0 || this.#nowMs - peer.writingSinceMs < this.#limits.unreadMs) return false
    this.#disconnect(peer, "unread", `took nothing for ${this.#limits.unreadMs} ms`)
    return true
  }

  /** A peer that sends nothing of what it was asked for loses its requests to others. */
  #stall(peer: PeerState): void {
    if (peer.asked.size === 0) return
    const blockMs =
      peer.download.bytesPerSecond > 0 ? (this.#board.blockBytes * 1000) / peer.download.bytesPerSecond : Number.POSITIVE_INFINITY
    const limits = this.#limits
    const expectedMs = Number.isFinite(blockMs) ? Math.max(limits.stallMinMs, 4 * blockMs) : limits.stallFirstMs
    if (this.#nowMs - peer.lastBlockAtMs < Math.min(limits.stallMaxMs, expectedMs * peer.patience)) return
    peer.stalled = true
    for (const id of peer.asked.keys()) {
      this.#release(peer, id)
      peer.withdrawn.add(id)
      this.#send(peer, { type: "cancel", ...this.#board.spanOf(id) })
    }
  }

  #learnAddresses(event: CoreEvent<Block> & { kind: "addresses" }): void {
    const peer = event.from === null ? null : (this.#peers.get(event.from) ?? null)
    try {
      if (peer !== null) this.#useless(peer, "addresses")
    } catch (error) {
      if (!(error instanceof GridError) || peer === null) throw error
      return this.#disconnect(peer, "misbehaved", error.detail)
    }
    const taken = event.from === null ? event.addresses : event.addresses.slice(0, this.#limits.addressesPerMessage)
    for (const address of taken) this.#addresses.add(address, event.given, this.#nowMs)
    this.#dial()
  }

  #exchangePeers(peer: PeerState): void {
    if (!peer.exchangesPeers) return
    peer.lastExchangeAtMs = this.#nowMs
    const added: Address[] = []
    const dropped: Address[] = []
    const most = this.#limits.addressesPerMessage / 2
    const present = new Set<string>()
    let candidates = 0
    for (const other of this.#peers.values()) {
      if (other === peer || other.listen === null || other.key === peer.key) continue
      const name = formatAddress(other.listen)
      present.add(name)
      if (peer.toldOf.has(name)) continue
      // Any of them as likely as another: were it the first, all would dial those.
      candidates += 1
      const place = candidates <= most ? candidates - 1 : this.#random.below(candidates)
      if (place < most) added[place] = other.listen
    }
    for (const address of added) peer.toldOf.set(formatAddress(address), address)
    for (const [name, address] of peer.toldOf) {
      if (present.has(name) || dropped.length >= most) continue
      peer.toldOf.delete(name)
      dropped.push(address)
    }
    if (added.length + dropped.length > 0) this.#effects.push({ kind: "exchange-peers", peer: peer.number, added, dropped })
  }

  #dial(): void {
    if (this.complete || !this.#taking) return
    let dialled = this.#addresses.halfOpen
    for (const peer of this.#peers.values()) if (peer.dialled !== null) dialled += 1
    let connections = this.#peers.size + this.#addresses.halfOpen
    while (this.#addresses.halfOpen < this.#limits.halfOpen && connections < this.#limits.peers) {
      const enough = dialled >= this.#limits.dialledWanted && connections >= this.#limits.connectionsWanted
      if (enough && dialled >= this.#limits.givenWanted) return
      // The rest in their time: were all made at once, the first to come would know, and be full of, one another alone.
      if (!enough && dialled >= this.#limits.dialledWanted && connections >= this.#limits.connectionsFirst) {
        if (this.#nowMs < this.#dialAgainAtMs) return
        this.#dialAgainAtMs = this.#nowMs + this.#limits.dialPauseMs
      }
      const address = this.#addresses.next(enough, this.#nowMs)
      if (address === null) return
      dialled += 1
      connections += 1
      this.#effects.push({ kind: "dial", address })
    }
  }

  #send(peer: PeerState, message: ControlMessage): void {
    peer.lastSentAtMs = this.#nowMs
    this.#effects.push({ kind: "send", peer: peer.number, message })
  }
}

type DontHave = { readonly type: "dont-have"; readonly piece: number }

function misbehaved(detail: string): GridError {
  return new GridError("PEER_MISBEHAVED", detail)
}
