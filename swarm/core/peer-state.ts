/** What the core knows of one connected peer; every list in it is bounded. */
import type { Address } from "#core/address.ts"
import type { Bitfield } from "./bitfield.ts"
import type { PeerNumber, PeerRole } from "./events.ts"
import type { BlockSpan } from "./messages.ts"
import { ReactiveRate } from "./rate.ts"
import type { PartialPiece } from "./partial-piece.ts"

export class PeerState {
  readonly number: PeerNumber
  readonly key: string
  readonly role: PeerRole
  readonly site: string
  /** Of the own site. */
  readonly near: boolean
  readonly dialled: Address | null
  readonly have: Bitfield
  readonly connectedAtMs: number
  /** The first message told what the peer has (BEP 6). */
  introducedPieces = false
  /** Where others can dial it; null until it says so. */
  listen: Address | null = null
  exchangesPeers = false
  /** It takes word of pieces that we hold no more (BEP 54). */
  takesDontHave = false
  /** How many pieces we had forgotten when it connected: what we told it says nothing of those. */
  readonly forgottenBefore: number
  /** Most requests that the peer takes at a time (`reqq` of BEP 10). */
  requestQueueLimit = 250

  /** We choke the peer. */
  choking = true
  unchokedAtMs = 0
  /** The peer wants something from us. */
  interested = false
  /** ... and then no more: interest lasts until everything is there. */
  satisfied = false
  /** It last asked for something or told of a piece that was new to it. */
  movedAtMs: number
  /** The peer chokes us. */
  chokes = true
  /** We told the peer that we want something. */
  told: "interested" | "not-interested" = "not-interested"
  /** Pieces that it has and we never had. */
  useful = 0
  /** Nothing could be asked of it when the board had this version (Board.version). */
  exhaustedAt = -1
  /** Pieces that it proposed (BEP 6 suggest), oldest first. */
  readonly suggested: number[] = []
  /** It has pieces left to propose. */
  proposes = false
  /** Until then it is asked for what it proposes and for nothing else: it has yet to send every piece once. */
  guidedUntilMs = 0
  /** Of another site: since then it has had no piece that is this gateway's own to fetch; null: it had one the last time. */
  idleSinceMs: number | null = null
  /** Of another site: pieces that it told of lately, and when, oldest first. */
  readonly toldAtMs = new Map<number, number>()
  /** The piece that it works on. */
  current: PartialPiece | null = null

  /** Blocks asked for, and when. */
  readonly asked = new Map<number, number>()
  /** Blocks asked for and withdrawn; the peer still owes an answer (BEP 6). */
  readonly withdrawn = new Set<number>()
  /** Not asked for anything before. */
  pausedUntilMs = 0
  /** It let its requests lapse and has sent no block since. */
  stalled = false
  /** Grows each time a request that had lapsed was answered after all. */
  patience = 1
  lastBlockAtMs: number
  lastHeardAtMs: number
  /** Shortest time from a request to its block: what the path itself takes. */
  shortestDelayMs = Number.POSITIVE_INFINITY
  readonly download: ReactiveRate

  /** Blocks it asked for, in order. */
  readonly uploads: BlockSpan[] = []
  /** Uploads that the operating system has not taken yet. */
  writes = 0
  /** The piece that ended its turn in a slot, until it tells that it has it. */
  lastOfTurn: number | null = null
  /** Turns of which something came; those one after another of which nothing did, and until when it waits for the next. */
  usedTurns = 0
  wastedTurns = 0
  restsUntilMs = 0
  /** Sent in this turn in a slot. */
  turnBytes = 0
  /** The piece that it was sent something of last, and how much of it without another between. */
  sentOf: { readonly piece: number; readonly bytes: number } = { piece: -1, bytes: 0 }
  /** It last had something of us, or was given its slot. */
  lastServedAtMs = 0
  /** It was last seen waiting for bytes of ours. */
  servedAtMs = 0
  writingSinceMs = 0
  readonly upload: ReactiveRate
  /** Pieces that we proposed and it has not asked for, and when. */
  readonly offers = new Map<number, number>()

  lastSentAtMs: number
  /** Messages in excess that it may still send; refilled with time. */
  tolerance: number
  /** Addresses told to it (BEP 11), by their text. */
  readonly toldOf = new Map<string, Address>()
  lastExchangeAtMs = Number.NEGATIVE_INFINITY

  constructor(
    number: PeerNumber,
    parts: {
      readonly key: string
      readonly role: PeerRole
      readonly site: string
      readonly near: boolean
      readonly dialled: Address | null
      readonly have: Bitfield
      readonly forgottenBefore: number
    },
    tolerance: number,
    nowMs: number,
  ) {
    this.number = number
    this.key = parts.key
    this.role = parts.role
    this.site = parts.site
    this.near = parts.near
    this.dialled = parts.dialled
    this.have = parts.have
    this.forgottenBefore = parts.forgottenBefore
    this.tolerance = tolerance
    this.connectedAtMs = nowMs
    this.movedAtMs = nowMs
    this.lastBlockAtMs = nowMs
    this.lastHeardAtMs = nowMs
    this.lastSentAtMs = nowMs
    this.download = new ReactiveRate(nowMs)
    this.upload = new ReactiveRate(nowMs)
  }
}
