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
import { Arrivals, type Demand } from "./demand.ts"
import type { CoreEffect, CoreEvent, DisconnectReason, PeerNumber, SiteNews } from "./events.ts"
import { defaultLimits, type Limits } from "./limits.ts"
import type { BlockSpan, ControlMessage, Message } from "./messages.ts"
import { Nearness, type Own } from "./nearness.ts"
import { Offers } from "./offers.ts"
import { PeerState } from "./peer-state.ts"
import type { Random } from "./random.ts"
import { PeakRate, ReactiveRate } from "./rate.ts"
import { UploadSlots } from "./upload-slots.ts"
import type { WanBudget } from "./wan-budget.ts"

/** How often `tick` is due. */
export const TICK_MS = 100
/** A peer that had everything is counted for each of its pieces when it forgets one: as much as so many other messages. */
const NO_LONGER_COMPLETE_WEIGHT = 50
/** Members remembered for their offences. */
const OFFENDERS_MAX = 10_000
/** Who holds less than one piece of so many has just begun. */
const NEWCOMER_SHARE = 8

export type CoreStatistics = {
  downloadedBytes: number
  uploadedBytes: number
  fromServersBytes: number
  fromClientsBytes: number
  /** Of servers and clients of other sites, in these. */
  fromOtherSitesBytes: number
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
    fromOtherSitesBytes: 0,
    duplicateBytes: 0,
    corruptPieces: 0,
  }
  readonly #board: Board
  readonly #limits: Limits
  readonly #ownKey: string
  readonly #addresses: AddressBook
  readonly #random: Random
  readonly #peers = new Map<PeerNumber, PeerState>()
  /** Pieces to tell peers of, together. */
  readonly #news: { readonly piece: number; readonly told: ReadonlySet<PeerState> }[] = []
  /** Of each piece that is under way: the holders of everything that sent some of it, and wait to hear that it is here. */
  readonly #waitForIt = new Map<number, Set<PeerState>>()
  /** In the order in which they were. */
  readonly #forgotten: number[] = []
  /** What is proposed to members of the own site, where this one held everything from the start, and to those of others: each piece leaves once for the site, and once across. */
  #offers: Offers | null
  #farOffers: Offers | null = null
  readonly #nearness: Nearness
  /** Addresses that are dialled before others because members of the own site told of them. */
  readonly #givenBySite = new Set<string>()
  readonly #offences = new Map<string, number>()
  readonly #download: ReactiveRate
  readonly #farDownload: ReactiveRate
  readonly #uploadPeak: PeakRate
  readonly #downloadPeak: PeakRate
  readonly #arrivals: Arrivals
  #metClients = false
  readonly #startedAtMs: number
  /** When the last piece came. */
  #completeAtMs: number | null = null
  #inFlight = 0
  /** Of those, to members of other sites. */
  #inFlightFar = 0
  readonly #slots: UploadSlots
  #newsToldAtMs = 0
  #afreshAtMs = 0
  #dialAgainAtMs = 0
  #ruleToldAtMs: number
  #taking = true
  #nowMs: number
  #effects: CoreEffect<Block>[] = []

  constructor(
    parts: {
      readonly own: Own
      /** This member's, for all its torrents. */
      readonly wan?: WanBudget
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
    this.#startedAtMs = parts.nowMs
    this.#ruleToldAtMs = parts.nowMs
    this.#random = parts.random
    this.#board = new Board(parts.shape, parts.held, this.#limits, parts.random, parts.window ?? null)
    this.#addresses = new AddressBook(this.#limits, parts.random)
    this.#download = new ReactiveRate(parts.nowMs)
    this.#farDownload = new ReactiveRate(parts.nowMs)
    this.#uploadPeak = new PeakRate(parts.nowMs)
    this.#downloadPeak = new PeakRate(parts.nowMs)
    this.#arrivals = new Arrivals(parts.nowMs, this.#limits)
    this.#ownKey = parts.own.key
    this.#slots = new UploadSlots(this.#limits, { ...parts, pieceBytes: parts.shape.pieceBytes, origin: parts.held.complete })
    const { pieceCount } = parts.shape
    this.#offers = parts.held.complete ? new Offers(pieceCount, parts.random) : null
    this.#nearness = new Nearness({ ...parts, pieceCount: parts.held.complete ? 0 : pieceCount }, this.#limits)
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
   * Whether one more connection is taken that a member of this site dialled. Who still downloads keeps to about as many as all the others have: the more
   * connections, the greater the share of what all send, and they end together only when their shares are equal. Who has everything takes any,
   * and sends one away that knows its way by then.
   */
  hasRoomFor(site: string): boolean {
    if (this.complete) return true
    const { near, nearTaken } = this.#nearness
    return this.#nearness.isNear(site) ? near < Math.min(this.#limits.peers, nearTaken) : this.#peers.size - near < this.#limits.farTaken
  }

  /** This member broke the rules before, too often or too badly. */
  isBanned(key: string): boolean {
    return (this.#offences.get(key) ?? 0) >= this.#limits.offences
  }

  /** Connected peers that lack a piece that we hold. One that may ask us and has made nothing of it for long is not counted. */
  get peersInNeed(): number {
    let count = 0
    for (const peer of this.#peers.values()) {
      const stuck = !peer.choking && this.#nowMs - Math.max(peer.movedAtMs, peer.unchokedAtMs) >= this.#limits.needLapsesMs
      if (peer.interested && !stuck && this.held.countBeyond(peer.have) > 0) count += 1
    }
    return count
  }

  get demand(): Demand {
    let otherSeeders = 0
    let leavingBefore = 0
    let relieved = false
    const lastArrivalMs = this.#arrivals.lastMs ?? Number.POSITIVE_INFINITY
    for (const { near, role, have, satisfied, key, connectedAtMs } of this.#peers.values()) {
      // Who has everything isn't told of pieces: that it has them too shows when it wants no more of ours.
      if (!near || role !== "client" || !(have.complete || (satisfied && this.complete))) continue
      otherSeeders += 1
      if (key < this.#ownKey) leavingBefore += 1
      else if (connectedAtMs < lastArrivalMs) relieved = true
    }
    return {
      peersInNeed: this.peersInNeed,
      otherSeeders,
      leavingBefore,
      relieved,
      metClients: this.#metClients,
      arrivalGapMs: this.#arrivals.gapMs,
      tookMs: this.#completeAtMs === null ? null : this.#completeAtMs - this.#startedAtMs,
      uploadedBytes: this.statistics.uploadedBytes,
      uploadPeakBytesPerSecond: this.#uploadPeak.bytesPerSecond,
      downloadPeakBytesPerSecond: this.#downloadPeak.bytesPerSecond,
    }
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
      case "site-news":
        this.#learnSite(event)
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
    if (this.#board.givenUp.length > 0)
      for (const piece of this.#board.givenUp.splice(0)) {
        this.#nearness.crossings.end(piece)
        this.#effects.push({ kind: "drop-piece", piece })
      }
    if (this.#nearness.crossings.changed) this.#tellCrossings()
    return this.#effects
  }

  // Peers that come and go.

  #connected(event: CoreEvent<Block> & { kind: "connected" }): void {
    const have = new Bitfield(this.held.pieceCount)
    const near = this.#nearness.isNear(event.site)
    const forgottenBefore = this.#forgotten.length
    const peer = new PeerState(event.peer, { ...event, near, have, forgottenBefore }, this.#limits.uselessBurst, this.#nowMs)
    this.#peers.set(peer.number, peer)
    this.#nearness.came(peer)
    this.#metClients ||= near && peer.role === "client"
    if (event.dialled !== null) this.#addresses.connected(event.dialled, near ? "near" : "far")
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
      const where = peer.near ? "near" : "far"
      this.#addresses.add(event.listen, false, where, this.#nowMs)
      this.#addresses.connected(event.listen, where)
    }
    this.#exchangePeers(peer)
    const members = this.#nearness.members(this.#nowMs)
    if (members.length > 0 || this.#nearness.rules) this.#tellSite(peer, members)
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
    this.#countPieces(peer, (piece) => this.#lower(peer, piece))
    // What only this peer of the site had may be asked of other sites.
    if (this.#nearness.fetching) this.#board.version += 1
    this.#nearness.went(peer, this.#nowMs)
    for (const piece of peer.offers.keys()) this.#offersTo(peer)?.giveBack(piece)
    if (peer.near && this.complete) this.#offerAfresh()
    this.#fillSlots()
    if (hadRequests) this.#refillAll()
    for (const other of this.#peers.values()) this.#offer(other)
  }

  /**
   * Where all have gone but servers that have everything, what was sent went with them: those who come next have every piece from here. As to the first that an origin has, each leaves
   * once before any twice.
   */
  #offerAfresh(): void {
    for (const { near, role, have } of this.#peers.values()) if (near && !(role === "server" && have.complete)) return
    this.#offers = new Offers(this.held.pieceCount, this.#random)
    this.#slots.becomeOrigin()
  }

  /** Peers that have everything are not counted: they make no piece rarer than another. */
  #countPieces(peer: PeerState, change: (piece: number) => void): void {
    if (peer.have.complete || peer.have.count === 0) return
    for (let piece = 0; piece < peer.have.pieceCount; piece += 1) if (peer.have.has(piece)) change(piece)
  }

  #raise(peer: PeerState, piece: number): void {
    this.#board.raise(piece)
    if (peer.near) this.#nearness.crossings.raise(piece)
  }

  #lower(peer: PeerState, piece: number): void {
    this.#board.lower(piece)
    if (peer.near) this.#nearness.crossings.lower(piece)
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
    // One with more was here before, or elsewhere.
    if (peer.role === "client" && have.count * NEWCOMER_SHARE < have.pieceCount) this.#arrivals.came(this.#nowMs)
    for (let piece = 0; piece < have.pieceCount; piece += 1) if (have.has(piece)) peer.have.set(piece)
    peer.useful = have.countBeyond(this.had)
    if (have.complete) this.#nearness.completed(peer)
    if (this.#parted(peer)) return
    this.#countPieces(peer, (piece) => {
      this.#raise(peer, piece)
      this.#offersTo(peer)?.spread(piece)
    })
    this.#tellInterest(peer)
    this.#fillSlots()
    this.#offer(peer)
  }

  #takeHave(peer: PeerState, piece: number): void {
    this.#requirePiece(piece)
    if (piece === peer.lastOfTurn) this.#endTurn(peer, "used")
    if (!peer.have.set(piece)) return this.#useless(peer, "pieces told before")
    peer.movedAtMs = this.#nowMs
    if (peer.have.complete) {
      // From now on it is one of those that have everything.
      for (let other = 0; other < peer.have.pieceCount; other += 1) if (other !== piece) this.#lower(peer, other)
      this.#nearness.completed(peer)
      if (this.#parted(peer)) return
    } else this.#raise(peer, piece)
    this.#offersTo(peer)?.spread(piece)
    if (peer.offers.delete(piece)) this.#offer(peer)
    if (this.had.has(piece)) return
    this.#nearness.told(peer, piece, this.#nowMs)
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
    if (before) this.#countPieces(peer, (other) => this.#raise(peer, other))
    else this.#lower(peer, piece)
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
      this.#count(peer, -1)
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
    this.#downloadPeak.add(message.length, this.#nowMs)
    if (!peer.near) this.#farDownload.add(message.length)
    this.statistics.downloadedBytes += message.length
    if (peer.role === "server") this.statistics.fromServersBytes += message.length
    else this.statistics.fromClientsBytes += message.length
    if (!peer.near) this.statistics.fromOtherSitesBytes += message.length
    if (peer.have.complete) this.#owesWord(peer, message.piece)
    const received = this.#taking ? this.#board.receive(message, peer) : null
    if (received === null) {
      this.statistics.duplicateBytes += message.length
      if (askedAtMs !== undefined) this.#board.release(message, peer)
    } else {
      this.#nearness.fed(peer, this.#nowMs)
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

  /** How many requests all peers of other sites may have in flight: what keeps the way there busy, whoever they are. */
  get #farMost(): number {
    const { farFloor, sharedHorizonMs } = this.#limits
    return Math.max(farFloor, (this.#farDownload.bytesPerSecond * sharedHorizonMs) / 1000 / this.#board.blockBytes)
  }

  /** How many requests this peer may have in flight: its rate over the time that the path takes, within the bound that all share. */
  #allowance(peer: PeerState): number {
    const limits = this.#limits
    if (peer.stalled) return peer.withdrawn.size === 0 ? 1 : 0
    // Nobody has all of it: another site's members may have what the others' don't.
    if (!peer.near && this.#inFlightFar >= this.#farMost) return 1
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
    if (!this.#nearness.mayAsk(peer)) return
    const allowance = this.#allowance(peer)
    if (peer.asked.size > allowance - Math.max(1, allowance >> 2)) return
    while (peer.asked.size < allowance) {
      if (!peer.near && peer.asked.size > 0 && this.#inFlightFar >= this.#farMost) break
      const span = this.#board.take(peer, this.#isGuided(peer), this.#nearness.choiceOf(peer, this.#nowMs)) ?? this.#takeTwice(peer)
      this.#nearness.asked(peer, span?.piece ?? null, this.#nowMs)
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
    // What has to cross from another site crosses once.
    if (!peer.near || peer.asked.size >= this.#limits.requestsFloor || peer.stalled || !this.#board.endGame) return null
    return this.#board.takeTwice(peer, (number) => {
      const other = this.#peers.get(number)
      if (other === undefined) return Number.POSITIVE_INFINITY
      if (!other.near) return 0
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
    this.#count(peer, 1)
  }

  #count(peer: PeerState, change: 1 | -1): void {
    this.#inFlight += change
    if (!peer.near) this.#inFlightFar += change
  }

  /** Another brought the block. */
  #withdraw(peer: PeerState, id: number): void {
    if (!peer.asked.delete(id)) return
    this.#count(peer, -1)
    peer.withdrawn.add(id)
    this.#send(peer, { type: "cancel", ...this.#board.spanOf(id) })
    this.#refill(peer)
  }

  #release(peer: PeerState, id: number): void {
    if (!peer.asked.delete(id)) return
    this.#count(peer, -1)
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
    // Who fetches across no more waits for what it has asked for.
    const asks = this.#nearness.mayAsk(peer) || peer.asked.size > 0
    const now = wanted && asks && this.#taking ? "interested" : "not-interested"
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
    // Those who fetch across would take it for free again.
    if (this.#nearness.crossings.own.has(piece)) for (const peer of this.#peers.values()) if (this.#nearness.isGateway(peer)) told.add(peer)
    this.#nearness.crossings.end(piece)
    for (const peer of told) if (this.#peers.has(peer.number)) this.#send(peer, { type: "have", piece })
    this.#waitForIt.delete(piece)
    this.#news.push({ piece, told })
    for (const peer of this.#peers.values()) if (peer.have.has(piece)) peer.useful -= 1
    this.#tellNews()
    const liars = new Set(wrongBlocks.map((block) => suspects?.[block] ?? null))
    for (const liar of liars) if (liar !== null) this.#ban(liar)
    if (!this.complete) return
    this.#completeAtMs = this.#nowMs
    for (const peer of this.#peers.values()) this.#parted(peer)
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
    peer.movedAtMs = this.#nowMs
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
      if (!peer.near && !this.#nearness.wan.mayWrite(this.#nowMs)) break
      // Requests come one by one: while a write is out, they gather until they are worth another.
      if (peer.writes > 0 && peer.uploads.length * this.#board.blockBytes < writeBytes / 2) break
      const { count, lastPiece } = this.#nextWrite(peer, writeBytes)
      if (peer.writes === 0) peer.writingSinceMs = this.#nowMs
      peer.writes += 1
      peer.lastSentAtMs = this.#nowMs
      peer.lastServedAtMs = this.#nowMs
      const blocks = peer.uploads.splice(0, count)
      if (!peer.near)
        this.#nearness.wan.wrote(
          blocks.reduce((sum, { length }) => sum + length, 0),
          this.#nowMs,
        )
      this.#effects.push({ kind: "upload", peer: peer.number, blocks })
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
      this.#offersTo(peer)?.spread(piece)
      peer.offers.delete(piece)
      if (this.#slots.wantedOf(peer) && peer.turnBytes >= this.#slots.turnBytes) return { count, lastPiece: piece }
    }
    return { count, lastPiece: null }
  }

  #uploaded(number: PeerNumber, bytes: number): void {
    this.statistics.uploadedBytes += bytes
    this.#uploadPeak.add(bytes, this.#nowMs)
    const peer = this.#peers.get(number)
    if (peer === undefined) return
    peer.writes -= 1
    peer.writingSinceMs = this.#nowMs
    peer.upload.add(bytes)
    this.#slots.sent(bytes)
    this.#upload(peer)
  }

  #takeInterest(peer: PeerState, interested: boolean): void {
    peer.satisfied = peer.interested && !interested
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
    const offers = this.#nearness.near > 0 ? this.#offers : this.#farOffers
    if (offers !== null) this.#slots.allGiven = offers.freeCount === 0
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
      if (peer.choking || !this.#slots.wantedOf(peer)) continue
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
    for (const piece of peer.offers.keys()) this.#offersTo(peer)?.giveBack(piece)
    peer.offers.clear()
  }

  #offersTo({ near }: PeerState): Offers | null {
    if (!near && this.#offers !== null) this.#farOffers ??= new Offers(this.held.pieceCount, this.#random)
    return near ? this.#offers : this.#farOffers
  }

  /** Proposes pieces that were not sent to anyone, as many as the peer will soon ask for. */
  #offer(peer: PeerState): void {
    const offers = this.#offersTo(peer)
    if (offers === null || !peer.interested || peer.choking) return
    const { pieceBytes } = this.#board.shape
    // While others wait, what is left of its turn, and of the last pieces no more than its share: the swarm ends with the slowest of them. Else one more than it
    // asked for.
    const restBytes = Math.max(this.#slots.turnBytes, 1) - peer.turnBytes
    const share = Math.max(1, Math.floor(offers.freeCount / Math.max(1, this.#slots.taken)))
    const wanted = this.#slots.wantedOf(peer)
      ? Math.min(share, Math.ceil(restBytes / pieceBytes))
      : 1 + Math.ceil((peer.uploads.length * this.#board.blockBytes) / pieceBytes)
    while (peer.offers.size < wanted) {
      const piece = offers.take(this.#limits.offerBandPerPeer * this.#peers.size)
      if (piece === null || peer.offers.size >= this.#limits.suggestions / 2) return
      peer.offers.set(piece, this.#nowMs)
      this.#send(peer, { type: "suggest", piece })
    }
  }

  // What time brings.

  #tick(): void {
    this.#download.settle(this.#nowMs)
    this.#farDownload.settle(this.#nowMs, this.#inFlightFar > 0)
    const afresh = this.#nowMs - this.#afreshAtMs >= this.#limits.afreshMs
    if (afresh) this.#afreshAtMs = this.#nowMs
    for (const peer of this.#peers.values()) {
      peer.download.settle(this.#nowMs, peer.asked.size > 0)
      peer.upload.settle(this.#nowMs, peer.writes > 0)
      peer.tolerance = Math.min(this.#limits.uselessBurst, peer.tolerance + (this.#limits.uselessPerSecond * TICK_MS) / 1000)
      this.#lapseOffers(peer)
      if (this.#dropIfDead(peer)) continue
      this.#stall(peer)
      if (afresh || peer.idleSinceMs !== null) peer.exhaustedAt = -1
      this.#tellInterest(peer)
      if (this.#nowMs - peer.lastExchangeAtMs >= this.#limits.peerExchangeMs) this.#exchangePeers(peer)
      if (this.#nowMs - peer.lastSentAtMs >= this.#limits.keepAliveMs) this.#send(peer, { type: "keep-alive" })
    }
    this.#makeRoom()
    this.#tendSite()
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
      this.#offersTo(peer)?.giveBack(piece)
    }
    this.#offer(peer)
  }

  #dropIfDead(peer: PeerState): boolean {
    const owes = peer.asked.size + peer.withdrawn.size > 0
    const quietMs = this.#nowMs - peer.lastHeardAtMs
    // Who had nothing to say before it was asked owes an answer from then on.
    const owingMs = owes ? Math.min(quietMs, this.#nowMs - peer.lastBlockAtMs) : 0
    if (quietMs >= this.#limits.silentMs || owingMs >= (peer.near ? this.#limits.silentOwingMs : this.#limits.farSilentMs)) {
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
    const waitMs = peer.near
      ? Math.min(limits.stallMaxMs, expectedMs * peer.patience)
      : Math.min(limits.farStallMaxMs, Math.max(limits.farStallMinMs, expectedMs))
    if (this.#nowMs - peer.lastBlockAtMs < waitMs) return
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
    for (const address of taken) this.#addresses.add(address, event.given, event.where ?? "unknown", this.#nowMs)
    this.#dial()
  }

  // Between sites.

  #learnSite({ peer: number, news }: CoreEvent<Block> & { kind: "site-news" }): void {
    const peer = this.#peers.get(number)
    if (peer === undefined) return
    try {
      this.#useless(peer, "news of the site")
      // What another site says of ours, or of itself, is nothing to go by.
      if (!peer.near) return
      for (const piece of news.crossing) this.#requirePiece(piece)
    } catch (error) {
      if (!(error instanceof GridError)) throw error
      return this.#disconnect(peer, "misbehaved", error.detail)
    }
    const { crossings } = this.#nearness
    if (this.#nearness.heard(peer, news, this.#nowMs) && crossings.own.size > 0) this.#tellSite(peer, null)
    for (const address of this.#nearness.wantedAddresses) {
      if (this.#givenBySite.size < this.#limits.siteAddresses) this.#givenBySite.add(formatAddress(address))
      this.#addresses.add(address, this.#givenBySite.has(formatAddress(address)), "near", this.#nowMs)
    }
  }

  #tellSite(peer: PeerState, members: SiteNews["members"]): void {
    const { crossings, wan } = this.#nearness
    // Who has everything fetches nothing; it may send.
    if (!peer.near || (peer.have.complete && wan.bytesPerSecond === null)) return
    const crossing = [...crossings.own].slice(0, this.#limits.claims)
    this.#effects.push({ kind: "tell-site", peer: peer.number, news: { members, crossing, budgetBytesPerSecond: wan.own } })
  }

  /** Other gateways are not to begin what this one has begun. */
  #tellCrossings(): void {
    this.#nearness.crossings.changed = false
    for (const peer of this.#peers.values()) if (this.#nearness.isGateway(peer)) this.#tellSite(peer, null)
  }

  #tendSite(): void {
    const nearness = this.#nearness
    const { fetching, crossings } = nearness
    nearness.tick(this.#peers.values(), this.complete, this.#nowMs)
    if (!nearness.fetching) for (const piece of crossings.own) if (this.#board.partial(piece)?.unasked ?? true) crossings.end(piece)
    if (fetching !== nearness.fetching) for (const peer of this.#peers.values()) this.#tellInterest(peer)
    const news = nearness.news(this.#nowMs)
    const rules = nearness.rules && this.#nowMs - this.#ruleToldAtMs >= this.#limits.ruleToldMs
    if (rules) this.#ruleToldAtMs = this.#nowMs
    if (news !== null || rules) for (const peer of this.#peers.values()) this.#tellSite(peer, news)
    this.#sendAcross()
    for (const peer of nearness.uselessFar(this.#peers.values(), this.#nowMs)) this.#disconnect(peer, "far", "brings nothing from its site")
  }

  /** What had to wait for the site's budget: who waited longest goes first. */
  #sendAcross(): void {
    if (this.#nearness.wan.bytesPerSecond === null) return
    const waiting = [...this.#peers.values()].filter((peer) => !peer.near && peer.uploads.length > 0)
    for (const peer of waiting.sort((a, b) => a.lastServedAtMs - b.lastServedAtMs)) this.#upload(peer)
  }

  #dialFar(): void {
    let missing = this.#nearness.missingFar(this.#peers.values(), this.#addresses.halfOpenFar, this.#nowMs)
    for (; missing > 0 && this.#addresses.halfOpen < this.#limits.halfOpen; missing -= 1) {
      const address = this.#addresses.next("far", this.#nowMs)
      if (address === null) return
      this.#effects.push({ kind: "dial", address })
    }
  }

  #exchangePeers(peer: PeerState): void {
    if (!peer.exchangesPeers) return
    peer.lastExchangeAtMs = this.#nowMs
    const added: PeerState[] = []
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
      if (place < most) added[place] = other
    }
    const [near, far]: [Address[], Address[]] = [[], []]
    for (const { listen, site } of added) {
      if (listen === null) continue
      ;(site === peer.site ? near : far).push(listen)
      peer.toldOf.set(formatAddress(listen), listen)
    }
    for (const [name, address] of peer.toldOf) {
      if (present.has(name) || dropped.length >= most) continue
      peer.toldOf.delete(name)
      dropped.push(address)
    }
    if (added.length + dropped.length > 0) this.#effects.push({ kind: "exchange-peers", peer: peer.number, near, far, dropped })
  }

  #dial(): void {
    if (this.complete || !this.#taking) return
    this.#dialFar()
    const halfOpenNear = this.#addresses.halfOpen - this.#addresses.halfOpenFar
    let dialled = halfOpenNear
    for (const peer of this.#peers.values()) if (peer.near && peer.dialled !== null) dialled += 1
    let connections = this.#nearness.near + halfOpenNear
    while (this.#addresses.halfOpen < this.#limits.halfOpen && connections < this.#limits.peers) {
      const enough = dialled >= this.#limits.dialledWanted && connections >= this.#limits.connectionsWanted
      if (enough && dialled >= this.#limits.givenWanted) return
      // The rest in their time: were all made at once, the first to come would know, and be full of, one another alone.
      if (!enough && dialled >= this.#limits.dialledWanted && connections >= this.#limits.connectionsFirst) {
        if (this.#nowMs < this.#dialAgainAtMs) return
        this.#dialAgainAtMs = this.#nowMs + this.#limits.dialPauseMs
      }
      const address = this.#addresses.next(enough ? "given" : "any", this.#nowMs)
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
