/**
 * Who of a site fetches what the whole site lacks from other sites: few members at a time, its gateways, the best that are known to make something of it. All of them decide
 * it alike, each for itself, from what they tell one another (`SiteMember`); nobody is asked. Where a member of the site holds everything, nobody does.
 */
import type { Address } from "#core/address.ts"
import type { Limits } from "./limits.ts"

/** What members of a site tell one another of each other, themselves first of all. */
export type SiteMember = {
  /** Member id. */
  readonly key: string
  readonly server: boolean
  /** Holds everything; fetches from other sites, or stands ready to; neither. */
  readonly duty: "holds" | "fetches" | "none"
  /** Where it can be dialled; null when nobody said. */
  readonly address: Address | null
  /** So long ago it was well: of a gateway, that something came to it from another site. It is forgotten when that is too long. */
  readonly quietMs: number
  /** To other sites, where there is a budget for that; 0 when it sends nothing. */
  readonly sentBytesPerSecond: number
}

/** `goneAtMs`: the connection to it ended then; what was true before counts no more. */
type Known = { readonly member: SiteMember; readonly wellAtMs: number; readonly goneAtMs: number }

/** What the decision depends on, as it is now. */
export type Situation = {
  readonly complete: boolean
  /** Connected members of the own site that hold everything, and connected members of other sites. */
  readonly nearHolders: number
  readonly farPeers: number
  /** What others of the site are said to have does not come; nor what they are said to fetch (starvation.ts). */
  readonly starved: boolean
  readonly alone: boolean
  /** When a block of use came last from another site. */
  readonly crossedAtMs: number
  readonly nowMs: number
}

export class Gateways {
  readonly #own: Pick<SiteMember, "key" | "server">
  readonly #limits: Limits
  readonly #known = new Map<string, Known>()
  /** `standing`: about to fetch, and listening whether better ones do. */
  #state: "resting" | "standing" | "fetching" = "resting"
  /** It has rested because others fetched: when they are too few it waits for a while whether another takes their place. */
  #displaced = false
  #vacantUntilMs: number | null = null
  #stoodAtMs = 0
  #settledAtMs: number | null = null
  #complete = false
  /** Of each gateway, made of its id. */
  readonly #ownNumber: number
  #otherNumbers: readonly number[] = []
  #wellAtMs = 0
  #toldText = ""
  #toldAtMs = Number.NEGATIVE_INFINITY

  constructor(own: Pick<SiteMember, "key" | "server">, limits: Limits) {
    this.#own = own
    this.#ownNumber = numberOf(own.key)
    this.#limits = limits
  }

  /** Pieces are asked of members of other sites. */
  get fetching(): boolean {
    return this.#state === "fetching"
  }

  /** Connections to members of other sites are wanted. */
  get reaching(): boolean {
    return this.#state !== "resting"
  }

  get knowsAny(): boolean {
    return this.#known.size > 0
  }

  /** Others that fetch. */
  get count(): number {
    return this.#otherNumbers.length
  }

  /** How many other gateways have a piece before this one does: each piece has an order of them all, of which the first fetches it unless it is slow or gone. */
  turnFor(piece: number): number {
    const own = mixed(this.#ownNumber, piece)
    let turn = 0
    for (const number of this.#otherNumbers) if (mixed(number, piece) > own) turn += 1
    return turn
  }

  isGateway(key: string): boolean {
    return this.#known.get(key)?.member.duty === "fetches"
  }

  /** A member of the site told of others, or of itself. */
  heard(members: readonly SiteMember[], teller: Pick<SiteMember, "key" | "address">, nowMs: number): void {
    for (const member of members) {
      const wellAtMs = nowMs - member.quietMs
      const known = this.#known.get(member.key)
      if (member.key === this.#own.key || member.quietMs >= this.#limits.siteLapseMs) continue
      if (known === undefined ? this.#known.size >= this.#limits.siteMembersKept : wellAtMs <= Math.max(known.wellAtMs, known.goneAtMs))
        continue
      const address = (member.key === teller.key ? teller.address : member.address) ?? known?.member.address ?? null
      this.#known.set(member.key, { member: { ...member, address }, wellAtMs, goneAtMs: Number.NEGATIVE_INFINITY })
    }
  }

  /** The connection to a member of the site has ended: what others say of it counts once it is newer. */
  lost(key: string, nowMs: number): void {
    const known = this.#known.get(key)
    // What they say is as old as it took to come here.
    if (known !== undefined) this.#known.set(key, { ...known, goneAtMs: nowMs + this.#limits.siteNewsMs })
  }

  /** To be called at each tick; decides anew. */
  tick(now: Situation): void {
    const { nowMs } = now
    this.#complete = now.complete
    for (const [key, { wellAtMs }] of this.#known) if (nowMs - wellAtMs >= this.#limits.siteLapseMs) this.#known.delete(key)
    this.#decide(now)
    const idleMs = nowMs - Math.max(this.#stoodAtMs, now.crossedAtMs)
    if (this.#state === "resting" || idleMs < this.#limits.gatewayStallMs) this.#wellAtMs = nowMs
  }

  /** What the members of the site are to be told now; null when there is nothing new. `sentBytesPerSecond`: by this member, to other sites. */
  news(sentBytesPerSecond: number, nowMs: number): readonly SiteMember[] | null {
    const members = this.members(sentBytesPerSecond, nowMs)
    const { siteNewsMs, budgetNewsMs } = this.#limits
    const text = members.map((each) => `${each.key} ${each.duty} ${each.sentBytesPerSecond > 0}`).join()
    const pauseMs = sentBytesPerSecond > 0 ? budgetNewsMs : siteNewsMs
    const due = text !== this.#toldText || (members.length > 0 && nowMs - this.#toldAtMs >= pauseMs)
    if (!due) return null
    this.#toldText = text
    this.#toldAtMs = nowMs
    return members
  }

  /** Those that count, this one among them: the best gateways, a few who hold everything, and who sends to other sites. */
  members(sentBytesPerSecond: number, nowMs: number): readonly SiteMember[] {
    const all: SiteMember[] = []
    const duty = this.#complete ? "holds" : this.reaching ? "fetches" : "none"
    if (duty !== "none" || sentBytesPerSecond > 0)
      all.push({ ...this.#own, duty, address: null, quietMs: nowMs - this.#wellAtMs, sentBytesPerSecond })
    for (const { member, wellAtMs } of this.#present()) all.push({ ...member, quietMs: nowMs - wellAtMs })
    const senders = all.filter((member) => member.sentBytesPerSecond > 0).slice(0, this.#limits.sendersTold)
    const { gateways, holdersTold } = this.#limits
    return [...new Set([...this.#best(all, "fetches", gateways), ...this.#best(all, "holds", holdersTold), ...senders])]
  }

  /** Whom to be connected to: gateways know one another, else two would fetch the same; whoever lacks pieces knows who holds everything. */
  get addresses(): readonly Address[] {
    if (this.#complete) return []
    const present = this.#present().map(({ member }) => member)
    const { gateways, holdersTold } = this.#limits
    const wanted = [...this.#best(present, "holds", holdersTold), ...(this.reaching ? this.#best(present, "fetches", gateways) : [])]
    return wanted.flatMap(({ address }) => address ?? [])
  }

  #best<Member extends SiteMember>(members: readonly Member[], duty: SiteMember["duty"], most: number): Member[] {
    return members
      .filter((member) => member.duty === duty)
      .sort(byRank)
      .slice(0, most)
  }

  #present(): Known[] {
    return [...this.#known.values()].filter(({ wellAtMs, goneAtMs }) => wellAtMs > goneAtMs)
  }

  #decide(now: Situation): void {
    const { nowMs, alone } = now
    const present = this.#present().map(({ member }) => member)
    // Bounded: there are too many for a moment only, or somebody lies.
    this.#otherNumbers = this.#best(present, "fetches", 2 * this.#limits.gateways).map(({ key }) => numberOf(key))
    const held = now.nearHolders > 0 || present.some(({ duty }) => duty === "holds")
    const better = present.filter((member) => member.duty === "fetches" && byRank(member, this.#own) < 0).length
    const isNeeded = !now.complete && (alone || ((now.starved || !held) && better < this.#limits.gateways))
    if (!isNeeded) return this.#rest(held || better > 0)
    if (this.#state === "resting" && !this.#isMyTurn(present, alone, nowMs)) return
    if (this.#state === "resting") {
      this.#state = "standing"
      this.#stoodAtMs = nowMs
      this.#settledAtMs = null
    }
    if (now.farPeers === 0) return
    this.#settledAtMs ??= nowMs + this.#limits.gatewaySettleMs
    if (nowMs >= this.#settledAtMs) this.#state = "fetching"
  }

  #rest(displaced: boolean): void {
    this.#state = "resting"
    this.#displaced = displaced
    this.#vacantUntilMs = null
  }

  /** Of many who find that there are too few, one after the other stands up. */
  #isMyTurn(present: readonly SiteMember[], alone: boolean, nowMs: number): boolean {
    if (!this.#displaced || alone) return true
    if (present.filter(({ duty }) => duty === "fetches").length >= this.#limits.gateways) return true
    this.#vacantUntilMs ??= nowMs + (this.#ownNumber % this.#limits.gatewayVacantMs)
    return nowMs >= this.#vacantUntilMs
  }
}

/** FNV-1a of 32 bits. */
function numberOf(key: string): number {
  let number = 0x811c9dc5
  for (let at = 0; at < key.length; at += 1) number = Math.imul(number ^ key.charCodeAt(at), 0x01000193)
  return number >>> 0
}

/** Of a member's number and a piece, another number that looks drawn at random. */
function mixed(number: number, piece: number): number {
  let mix = Math.imul(number ^ Math.imul(piece + 1, 0x9e3779b1), 0x85ebca6b)
  mix = Math.imul(mix ^ (mix >>> 13), 0xc2b2ae35)
  return (mix ^ (mix >>> 16)) >>> 0
}

/** Servers first; of each kind in the order of their ids, so that all think alike. */
function byRank(a: Pick<SiteMember, "key" | "server">, b: Pick<SiteMember, "key" | "server">): number {
  if (a.server !== b.server) return a.server ? -1 : 1
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0
}
