/**
 * What a torrent's core knows of sites: whom of its peers it may ask, and for what. Members of the own site are asked as if there were no others; those of
 * other sites by the own site's gateways alone (gateways.ts), and for nothing that the own site has or fetches already (crossings.ts).
 */
import type { Address } from "#core/address.ts"
import type { PieceChoice } from "./board.ts"
import { Crossings } from "./crossings.ts"
import type { SiteNews } from "./events.ts"
import { Gateways, type SiteMember } from "./gateways.ts"
import type { Limits } from "./limits.ts"
import type { PeerState } from "./peer-state.ts"
import { Starvation, type Waiting } from "./starvation.ts"
import { WanBudget } from "./wan-budget.ts"

/** This member itself. */
export type Own = Pick<SiteMember, "key" | "server"> & { readonly site: string }

export class Nearness {
  readonly crossings: Crossings
  readonly wan: WanBudget
  readonly #own: Own
  readonly #gateways: Gateways
  readonly #starvation: Starvation
  readonly #limits: Limits
  #near = 0
  #far = 0
  #nearHolders = 0
  #crossedAtMs = Number.NEGATIVE_INFINITY

  constructor(
    parts: {
      readonly own: Own
      readonly wan?: WanBudget
      readonly pieceCount: number
      readonly nowMs: number
    },
    limits: Limits,
  ) {
    this.#own = parts.own
    this.wan = parts.wan ?? new WanBudget(null, limits, parts.nowMs)
    this.#limits = limits
    this.crossings = new Crossings(parts.pieceCount, limits)
    this.#gateways = new Gateways(parts.own, limits)
    this.#starvation = new Starvation(limits, parts.nowMs)
  }

  /** What the site may send to others is this member's to say. */
  get rules(): boolean {
    return this.#own.server && this.wan.own !== null
  }

  /** Connected members of the own site. */
  get near(): number {
    return this.#near
  }

  /** Peers of other sites are asked. */
  get fetching(): boolean {
    return this.#gateways.fetching
  }

  /** Connections to other sites that are wanted. */
  get farWanted(): number {
    return this.#gateways.reaching ? this.#limits.farWanted : 0
  }

  /** Connections that one who downloads takes of its own site. */
  get nearTaken(): number {
    return this.#gateways.reaching && this.#far > 0 ? this.#limits.gatewayTaken : this.#limits.connectionsTaken
  }

  isNear(site: string): boolean {
    return site === this.#own.site
  }

  /** Members of the site to be connected to. */
  get wantedAddresses(): readonly Address[] {
    return this.#gateways.addresses
  }

  isGateway({ near, key }: PeerState): boolean {
    return near && this.#gateways.isGateway(key)
  }

  mayAsk({ near }: PeerState): boolean {
    return near || this.#gateways.fetching
  }

  /** Which pieces the peer may be asked for; null: all. */
  choiceOf(peer: PeerState, nowMs: number): PieceChoice | null {
    if (peer.near) return null
    const { idleSinceMs, toldAtMs } = peer
    const gateways = this.#gateways
    const { starved } = this.#starvation
    const { gatewayTurnMs } = this.#limits
    return {
      // The longer it had nothing of this one's own to give, the more of the others' is asked of it.
      turnMax: idleSinceMs === null ? 0 : Math.min(gateways.count, Math.floor((nowMs - idleSinceMs) / gatewayTurnMs)),
      turnOf: (piece) => {
        if ((!starved && this.#nearHolders > 0) || !this.crossings.allows(piece, starved, nowMs)) return null
        if (this.crossings.own.has(piece)) return 0
        const turn = gateways.turnFor(piece)
        // All may have heard of it at once: whose it is has time to say so.
        return nowMs - (toldAtMs.get(piece) ?? 0) < turn * gatewayTurnMs ? null : turn
      },
    }
  }

  /** The peer told of a piece that it came to have. */
  told({ near, toldAtMs }: PeerState, piece: number, nowMs: number): void {
    if (near || !this.#gateways.reaching) return
    toldAtMs.set(piece, nowMs)
    const lapsedMs = nowMs - this.#gateways.count * this.#limits.gatewayTurnMs
    for (const [each, atMs] of toldAtMs) {
      if (atMs > lapsedMs) return
      toldAtMs.delete(each)
    }
  }

  /** A block of the piece was asked of the peer; null: there was none. */
  asked(peer: PeerState, piece: number | null, nowMs: number): void {
    if (peer.near) return
    if (piece === null) peer.idleSinceMs ??= nowMs
    else {
      this.crossings.begin(piece)
      if (this.#gateways.turnFor(piece) === 0) peer.idleSinceMs = null
    }
  }

  /** Connections to make to members of other sites, beside those that are being made. */
  missingFar(peers: Iterable<PeerState>, halfOpenFar: number, nowMs: number): number {
    const { farWanted } = this
    if (farWanted === 0) return 0
    let missing = farWanted - halfOpenFar
    let idle = 0
    for (const peer of peers) {
      if (missing <= 0) return 0
      if (peer.near) continue
      // Who lets us wait may go on doing so: another is tried beside it.
      const serves = peer.useful > 0 && !peer.chokes
      if (serves || (peer.dialled !== null && nowMs - peer.connectedAtMs < this.#limits.settledMs)) missing -= 1
      else if (peer.dialled !== null) idle += 1
    }
    return Math.min(missing, 2 * farWanted - idle)
  }

  /**
   * Connections to other sites that this end made and has no use for, though they had time: who fetches tries others in their place. Of who does not, one alone stays, to a holder of
   * everything: it hears of other members of this site.
   */
  uselessFar(peers: Iterable<PeerState>, nowMs: number): PeerState[] {
    if (this.#far === 0) return []
    const { settledMs, farIdleMs } = this.#limits
    let kept = 0
    return [...peers].filter((peer) => {
      if (peer.near || peer.dialled === null || peer.interested || nowMs - peer.connectedAtMs < 2 * settledMs) return false
      if (this.#gateways.reaching)
        return (peer.chokes || peer.stalled) && nowMs - Math.max(peer.connectedAtMs, peer.lastBlockAtMs) >= farIdleMs
      kept += peer.have.complete ? 1 : 0
      return peer.asked.size === 0 && (!peer.have.complete || kept > 1)
    })
  }

  // What happens.

  came({ near }: PeerState): void {
    if (near) this.#near += 1
    else this.#far += 1
  }

  went(peer: PeerState, nowMs: number): void {
    if (!peer.near) this.#far -= 1
    else {
      this.#near -= 1
      if (peer.have.complete) this.#nearHolders -= 1
      this.crossings.forget(peer.number)
      this.#gateways.lost(peer.key, nowMs)
    }
  }

  /** The peer has everything now. */
  completed({ near }: PeerState): void {
    if (near) this.#nearHolders += 1
  }

  /** It sent a block that was of use. */
  fed({ near }: PeerState, nowMs: number): void {
    if (near) this.#starvation.fed()
    else this.#crossedAtMs = nowMs
  }

  /** News of the own site. True when the teller has become a gateway by it. */
  heard(peer: PeerState, { members, crossing, budgetBytesPerSecond }: SiteNews, nowMs: number): boolean {
    const was = this.isGateway(peer)
    const told = (members ?? []).slice(0, this.#limits.siteMembersTold)
    // Of itself it does not say where it is: we see it.
    this.#gateways.heard(told, { key: peer.key, address: peer.listen }, nowMs)
    for (const { key, sentBytesPerSecond, quietMs } of told)
      if (key !== this.#own.key) this.wan.hear(key, sentBytesPerSecond, nowMs - quietMs)
    if (peer.role === "server" && budgetBytesPerSecond !== null) this.wan.rule(peer.key, budgetBytesPerSecond, nowMs)
    this.crossings.claim(peer.number, crossing, nowMs)
    return !was && this.isGateway(peer)
  }

  tick(peers: Iterable<PeerState>, complete: boolean, nowMs: number): void {
    this.wan.tick(nowMs)
    this.#starvation.tick(complete ? "not" : this.#waitingFor(peers), nowMs)
    this.#gateways.tick({
      complete,
      nearHolders: this.#nearHolders,
      farPeers: this.#far,
      starved: this.#starvation.starved,
      alone: this.#starvation.alone,
      crossedAtMs: this.#crossedAtMs,
      nowMs,
    })
  }

  /** Who fetches leaves to the own site what connected members have; who does not, everything. */
  #waitingFor(peers: Iterable<PeerState>): Waiting {
    if (this.#near === 0) return "not"
    for (const { near, useful } of peers) if (near && useful > 0) return "for-pieces"
    return this.#gateways.fetching ? "not" : "for-others"
  }

  /** What to tell the site now; null when there is nothing new, or nobody has to do with another site. */
  news(nowMs: number): readonly SiteMember[] | null {
    return this.#far > 0 || this.#gateways.knowsAny ? this.#gateways.news(this.wan.sentBytesPerSecond(nowMs), nowMs) : null
  }

  /** The same for one who has just come. */
  members(nowMs: number): readonly SiteMember[] {
    return this.#far > 0 || this.#gateways.knowsAny ? this.#gateways.members(this.wan.sentBytesPerSecond(nowMs), nowMs) : []
  }
}
