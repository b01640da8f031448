/** One core, and peers whose part the test plays. */
import { BLOCK_BYTES } from "#core/torrent.ts"
import { Bitfield } from "#swarm/core/bitfield.ts"
import type { WindowSize } from "#swarm/core/board.ts"
import type { CoreEffect, CoreEvent } from "#swarm/core/events.ts"
import type { Limits } from "#swarm/core/limits.ts"
import type { BlockSpan, Message } from "#swarm/core/messages.ts"
import { seededRandom } from "#swarm/core/random.ts"
import { TorrentCore } from "#swarm/core/torrent-core.ts"

type Effect = CoreEffect<string>

export const PIECE_BYTES = 4 * BLOCK_BYTES

export class Bench {
  readonly core: TorrentCore<string>
  readonly effects: Effect[] = []
  nowMs = 0
  /** For tests that play the operating system: effects seen so far. */
  uploadsPlayed = 0

  constructor(
    options: {
      readonly pieces: number
      readonly held?: "all" | readonly number[]
      readonly seed?: number
      readonly window?: WindowSize
      readonly own?: string
    } & Partial<Limits>,
  ) {
    const { pieces, held = [], seed = 1, window = null, own = "member 0", ...limits } = options
    const shape = { pieceCount: pieces, pieceBytes: PIECE_BYTES, contentBytes: pieces * PIECE_BYTES }
    const field = held === "all" ? Bitfield.full(pieces) : new Bitfield(pieces)
    if (held !== "all") for (const piece of held) field.set(piece)
    this.core = new TorrentCore(
      { own: { key: own, server: false, site: "here" }, shape, held: field, random: seededRandom(seed), nowMs: 0, window },
      limits,
    )
  }

  step(event: CoreEvent<string>): readonly Effect[] {
    const effects = this.core.step(event, this.nowMs)
    this.effects.push(...effects)
    return effects
  }

  connect(
    peer: number,
    pieces: "all" | "none" | readonly number[],
    options: {
      readonly role?: "server" | "client"
      readonly site?: string
      readonly unchokes?: boolean
      readonly takesDontHave?: boolean
    } = {},
  ): void {
    this.step({
      kind: "connected",
      peer,
      key: `member ${peer}`,
      role: options.role ?? "client",
      site: options.site ?? "here",
      dialled: null,
    })
    if (options.takesDontHave === true) this.introduce(peer)
    if (typeof pieces === "string") this.say(peer, { type: pieces === "all" ? "have-all" : "have-none" })
    else {
      const field = new Bitfield(this.core.held.pieceCount)
      for (const piece of pieces) field.set(piece)
      this.say(peer, { type: "bitfield", bits: field.bytes })
    }
    if (options.unchokes !== false) this.say(peer, { type: "unchoke" })
  }

  introduce(peer: number): void {
    this.step({ kind: "introduced", peer, listen: null, exchangesPeers: false, takesDontHave: true, requestQueueLimit: 250 })
  }

  say(peer: number, message: Message<string>): readonly Effect[] {
    return this.step({ kind: "message", peer, message })
  }

  /** The peer sends what it was asked for; pieces that are complete are verified at once. */
  bring(peer: number, span: BlockSpan): void {
    const effects = this.say(peer, { type: "block", ...span, block: `from ${peer}` })
    for (const effect of effects) if (effect.kind === "verify") this.step({ kind: "piece-stored", piece: effect.piece, wrongBlocks: [] })
  }

  pass(ms: number): void {
    for (const end = this.nowMs + ms; this.nowMs < end;) {
      this.nowMs += 100
      this.step({ kind: "tick" })
    }
  }

  /** Requests made of a peer and neither answered here nor withdrawn. */
  asked(peer: number): BlockSpan[] {
    const spans = new Map<string, BlockSpan>()
    for (const effect of this.effects) {
      if (effect.kind === "keep-block") spans.delete(`${effect.piece} ${effect.offset}`)
      if (effect.kind !== "send" || effect.peer !== peer) continue
      const { message } = effect
      if (message.type === "request") spans.set(`${message.piece} ${message.offset}`, message)
      if (message.type === "cancel") spans.delete(`${message.piece} ${message.offset}`)
    }
    return [...spans.values()].map(({ piece, offset, length }) => ({ piece, offset, length }))
  }

  /** Pieces that the core has proposed to a peer. */
  proposed(peer: number): number[] {
    return this.effects.flatMap((effect) =>
      effect.kind === "send" && effect.peer === peer && effect.message.type === "suggest" ? [effect.message.piece] : [],
    )
  }

  /** Pieces of which a peer was told that they are held no more. */
  toldForgotten(peer: number): number[] {
    return this.effects.flatMap((effect) => (effect.kind === "dont-have" && effect.peer === peer ? [effect.piece] : []))
  }

  sent(peer: number): string[] {
    return this.effects.flatMap((effect) => (effect.kind === "send" && effect.peer === peer ? [effect.message.type] : []))
  }

  /** Plays all peers until nothing is asked any more. */
  finish(peers: readonly number[]): void {
    for (let more = true; more;) {
      more = false
      for (const peer of peers)
        for (const span of this.asked(peer)) {
          more = true
          this.bring(peer, span)
        }
    }
  }
}
