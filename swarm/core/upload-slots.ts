/**
 * Who is served. One from whom every piece has to come serves few at a time, so that each has a whole piece soon and passes it on, each for a short turn while
 * others wait: as many as fill the uplink while one hears that it has its turn and asks. All others serve everyone they know, which is few: a turn would cost two
 * waits behind full links. Where the peers' own links are the narrower ones more are served, which is found by trying.
 */
import type { Limits } from "./limits.ts"
import type { PeerState } from "./peer-state.ts"
import type { Random } from "./random.ts"
import { ReactiveRate } from "./rate.ts"

/** Peers in no order, any of which is added, taken out and drawn in constant time. */
class Waiting {
  readonly #peers: PeerState[] = []
  readonly #places = new Map<PeerState, number>()

  get count(): number {
    return this.#peers.length
  }

  add(peer: PeerState): void {
    if (this.#places.has(peer)) return
    this.#places.set(peer, this.#peers.length)
    this.#peers.push(peer)
  }

  delete(peer: PeerState): void {
    const place = this.#places.get(peer)
    if (place === undefined) return
    this.#places.delete(peer)
    const last = this.#peers.pop()
    if (last === undefined || last === peer) return
    this.#peers[place] = last
    this.#places.set(last, place)
  }

  /** Of so many drawn at random the one that has least. */
  draw(draws: number, random: Random): PeerState | null {
    let chosen: PeerState | null = null
    for (let draw = 0; draw < draws && this.#peers.length > 0; draw += 1) {
      const peer = this.#peers[random.below(this.#peers.length)]
      if (peer !== undefined && (chosen === null || peer.have.count < chosen.have.count)) chosen = peer
    }
    return chosen
  }
}

/** Interested peers without a slot: those that made something of a turn before, and the others. */
class WaitingRoom {
  readonly proven = new Waiting()
  readonly others = new Waiting()

  get count(): number {
    return this.proven.count + this.others.count
  }
}

export class UploadSlots {
  readonly #limits: Limits
  readonly #random: Random
  /** Of the own site; of other sites, who come after. */
  readonly #near = new WaitingRoom()
  readonly #far = new WaitingRoom()
  /** Of other sites somebody was served last, or nobody waited. */
  #farServedAtMs: number
  #nowMs: number
  /** Of those that made nothing of a turn yet, those that have a slot. */
  readonly #trying = new Set<PeerState>()
  readonly #rate: ReactiveRate
  readonly #pieceBytes: number
  /** From us every piece has to come. */
  #origin: boolean
  /** For so many times the peers that would fill the uplink alone. */
  #factor = 1
  #taken = 0
  #nearServed = 0
  /** The fastest that all were together, of late. */
  #peakBytesPerSecond = 0
  /** What was sent since the last trial began or ended, and whether all slots were taken all the time. */
  #sentBytes = 0
  #sinceMs: number
  #busy = true
  #lastBytesPerSecond = 0
  /** While a trial is on: what the factor was, and how fast all were together. */
  #trial: { readonly factor: number; readonly bytesPerSecond: number } | null = null
  /** The last trial was of more, and they were faster. */
  #grows = false
  #restUntilMs = 0
  /** Every piece was sent or is on its way: the last of them arrive sooner with fewer beside them. */
  allGiven = false

  constructor(
    limits: Limits,
    parts: { readonly pieceBytes: number; readonly origin: boolean; readonly random: Random; readonly nowMs: number },
  ) {
    this.#limits = limits
    this.#random = parts.random
    this.#rate = new ReactiveRate(parts.nowMs)
    this.#sinceMs = parts.nowMs
    this.#nowMs = parts.nowMs
    this.#farServedAtMs = parts.nowMs
    this.#pieceBytes = parts.pieceBytes
    this.#origin = parts.origin
  }

  get taken(): number {
    return this.#taken
  }

  /** Whether the peer's slot, when it becomes free, is of use to another, or one too many. */
  wantedOf(peer: PeerState): boolean {
    if (this.#near.count > 0 || (peer.near ? this.#nearServed : this.#taken) > this.#slots) return true
    return !peer.near && (this.#far.count > 0 || !this.#hasPlaceForFar)
  }

  /** Bytes of one turn while others wait; it ends with the piece in which they are reached. */
  get turnBytes(): number {
    return (this.#rate.bytesPerSecond * this.#limits.slotMs) / 1000
  }

  wait(peer: PeerState): void {
    const room = peer.near ? this.#near : this.#far
    ;(peer.usedTurns > 0 ? room.proven : room.others).add(peer)
  }

  waitNoMore(peer: PeerState): void {
    const room = peer.near ? this.#near : this.#far
    room.proven.delete(peer)
    room.others.delete(peer)
  }

  /**
   * Gives a free slot to one of those who wait; null when there is none of either. A quarter of the slots is for those who made something of a turn before, while they wait:
   * many who come and waste theirs can't take all. Of few drawn at random it is the one that has least.
   */
  give(): PeerState | null {
    const farDue = this.#isFarDue
    if (this.#taken >= this.#slots && !farDue) return null
    const kept = Math.max(1, Math.floor(this.#slots / 4))
    const room = farDue || (this.#near.count === 0 && this.#hasPlaceForFar) ? this.#far : this.#near
    const toOthers = room.others.count > 0 && (room.proven.count === 0 || this.#trying.size < Math.max(1, this.#slots - kept))
    const pool = toOthers ? room.others : room.proven
    const chosen = pool.draw(this.#limits.slotDraws, this.#random)
    if (chosen === null) return null
    pool.delete(chosen)
    if (toOthers) this.#trying.add(chosen)
    if (chosen.near) this.#nearServed += 1
    else this.#farServedAtMs = this.#nowMs
    this.#taken += 1
    return chosen
  }

  /** From now on every piece has to come from us. */
  becomeOrigin(): void {
    this.#origin = true
  }

  takeBack(peer: PeerState): void {
    this.#trying.delete(peer)
    this.#taken -= 1
    if (peer.near) this.#nearServed -= 1
  }

  sent(bytes: number): void {
    this.#rate.add(bytes)
    this.#sentBytes += bytes
  }

  /** To be called at each tick. */
  tick(nowMs: number): void {
    this.#rate.settle(nowMs)
    this.#peakBytesPerSecond = Math.max(
      this.#rate.bytesPerSecond,
      this.#peakBytesPerSecond * 2 ** ((this.#nowMs - nowMs) / this.#limits.peakHalvesMs),
    )
    this.#nowMs = nowMs
    if (this.#far.count === 0) this.#farServedAtMs = nowMs
    if (this.#taken < this.#slots || this.#waitingCount === 0) this.#busy = false
    if (nowMs - this.#sinceMs < this.#limits.slotTrialMs) return
    const bytesPerSecond = (this.#sentBytes * 1000) / (nowMs - this.#sinceMs)
    if (!this.#busy) this.#end(1, nowMs)
    else if (this.#trial !== null) this.#judge(this.#trial, bytesPerSecond, nowMs)
    else if (nowMs >= this.#restUntilMs && this.#tellsSomething(bytesPerSecond)) this.#try(bytesPerSecond)
    this.#lastBytesPerSecond = bytesPerSecond
    this.#sentBytes = 0
    this.#sinceMs = nowMs
    this.#busy = true
  }

  get #waitingCount(): number {
    return this.#near.count + this.#far.count
  }

  /** What an origin sends across while peers of its own site want all of its uplink, they lack: they pass it on themselves. */
  get #hasPlaceForFar(): boolean {
    return !this.#origin || this.#nearServed === 0 || this.#rate.bytesPerSecond < this.#peakBytesPerSecond / 2
  }

  get #isFarDue(): boolean {
    return this.#far.count > 0 && this.#nowMs - this.#farServedAtMs >= this.#limits.slotFarMs
  }

  get #slots(): number {
    const { slotsFillMs, originSlotsMin, originSlotsMax, sharerSlots } = this.#limits
    if (!this.#origin) return this.#factor * sharerSlots
    // What a turn's last piece needs to arrive is part of the turn (TorrentCore.#closeTurn): slots hold all that is on its way.
    if (this.allGiven) return this.#factor * originSlotsMin
    const fill = Math.ceil((this.#rate.bytesPerSecond * slotsFillMs) / 1000 / this.#pieceBytes)
    return this.#factor * Math.min(originSlotsMax, Math.max(originSlotsMin, fill))
  }

  /**
   * Nothing is learned while the rate changes by itself, as at the start of a torrent, nor where what the operating system takes at once of those who come new
   * is much of all that is sent.
   */
  #tellsSomething(bytesPerSecond: number): boolean {
    const steady = Math.abs(bytesPerSecond - this.#lastBytesPerSecond) < bytesPerSecond / 8
    return steady && this.#sentBytes > this.#slots * this.#limits.slotTrialBytes
  }

  /** Half as many, where there are more than would fill the uplink, else twice as many. */
  #try(bytesPerSecond: number): void {
    this.#trial = { factor: this.#factor, bytesPerSecond }
    this.#factor = this.#factor > 1 && !this.#grows ? this.#factor / 2 : Math.min(this.#limits.slotFactorMax, 2 * this.#factor)
  }

  #judge(before: { readonly factor: number; readonly bytesPerSecond: number }, bytesPerSecond: number, nowMs: number): void {
    const grew = this.#factor > before.factor
    this.#grows = grew && bytesPerSecond > before.bytesPerSecond * 1.5
    const kept = grew ? this.#grows : bytesPerSecond > before.bytesPerSecond * 0.85
    if (!kept) return this.#end(before.factor, nowMs)
    this.#trial = null
  }

  #end(factor: number, nowMs: number): void {
    this.#factor = factor
    this.#trial = null
    this.#grows = false
    this.#restUntilMs = nowMs + this.#limits.slotRestMs
  }
}
