/**
 * What one image asks of this server: is its goal met, is it for this server to take, may this server's copy go. No time and no queue here: every answer is a function
 * of what is known.
 */
import { choose } from "../placement.ts"
import type { PreparedGoal } from "./images.ts"
import type { Knowledge } from "./knowledge.ts"
import { bitCount, hasBit, lowestIn, type ServerBits } from "./server-bits.ts"

const NOBODY = -1

/** What `assess` found; one object, written over by the next call. */
export type Assessment = {
  /** Copies that count of servers heard within the last minute. */
  liveCopies: number
  /** Servers heard within the last minute that have it and are not this one. */
  sources: number
  isMet: boolean
  /** Somebody is there who could make a copy that is missing. */
  hasTaker: boolean
  /** This server is among those that are to make the missing copies. */
  isOwnToTake: boolean
}

/** `without`: as if that server did not hold it. `patience`: of those who should take it and took nothing at all for long, so many are passed over. */
type Asked = { readonly without?: number; readonly patience?: number }

export class Duties {
  readonly #known: Knowledge
  /** Sites seen in the current call, by their number: the number of that call. */
  #siteSeen = new Uint32Array(0)
  #call = 0
  readonly #assessment: Assessment = { liveCopies: 0, sources: 0, isMet: true, hasTaker: false, isOwnToTake: false }
  // What the current call was asked.
  #image = 0
  #without = NOBODY
  #patience = 0

  constructor(known: Knowledge) {
    this.#known = known
  }

  /** The answer is good until the next call. */
  assess(image: number, { without = NOBODY, patience = 0 }: Asked = {}): Assessment {
    this.#image = image
    this.#without = without
    this.#patience = patience
    const { claims, fellows, own } = this.#known
    const { recent, counted, draining, isRepairHeld } = fellows
    const goal = this.#known.images.goalOf(image)
    const result = this.#assessment
    let [liveCopies, sources] = [0, 0]
    for (let word = 0; word < claims.words; word += 1) {
      const live = this.#claimsIn(word) & (recent[word] ?? 0)
      sources += bitCount(live)
      liveCopies += bitCount(live & ~(draining[word] ?? 0) & ~(goal.refuse[word] ?? 0))
    }
    result.liveCopies = liveCopies
    result.sources = sources - (own !== null && claims.has(own, image) ? 1 : 0)
    this.#judge(goal, counted, goal.copies, goal.sites)
    // With one live copy left the next is made at once, and the others that are silent are waited for.
    if (liveCopies === 1 && goal.copies > 1 && !isRepairHeld && !result.isOwnToTake) {
      const { isMet, hasTaker } = result
      this.#judge(goal, recent, 2, Math.min(2, goal.sites))
      result.isMet &&= isMet
      result.hasTaker ||= hasTaker
    }
    return result
  }

  /**
   * Those who keep the image when this server's copy goes; null when it may not. Only servers heard of late count, and together they meet the goal. Whoever is chosen
   * among all who really hold it is chosen among any part of them (placement.ts), so no two servers can rely on each other, whatever each of them sees.
   */
  keepersWithoutOwn(image: number): readonly number[] | null {
    const { claims, fellows, images, own, ranking } = this.#known
    const goal = images.goalOf(image)
    if (own === null || hasBit(goal.pins, own)) return null
    const able = new Uint32Array(claims.words)
    let othersCount = 0
    for (let word = 0; word < claims.words; word += 1) {
      const bits = claims.word(image, word) & (fellows.recent[word] ?? 0) & ~(fellows.draining[word] ?? 0) & ~(goal.refuse[word] ?? 0)
      able[word] = bits
      othersCount += bitCount(bits)
    }
    if (hasBit(able, own)) othersCount -= 1
    if (othersCount < goal.copies) return null
    const order: number[] = []
    for (const server of images.rankedOf(image)) if (hasBit(able, server)) order.push(server)
    const pins = order.filter((server) => hasBit(goal.pins, server)).sort((a, b) => a - b)
    const keepers = choose(order, ranking.siteOf, goal, pins)
    const siteCount = new Set(keepers.map((server) => ranking.siteOf[server])).size
    if (keepers.includes(own) || keepers.length < goal.copies || siteCount < goal.sites) return null
    return keepers
  }

  /** Whether the image belongs here when all is well, whoever else holds it. */
  isHome(image: number): boolean {
    const { images, own, ranking } = this.#known
    const goal = images.goalOf(image)
    if (own === null) return false
    const pins = [...ranking.servers.keys()].filter((server) => hasBit(goal.pins, server))
    const order = [...images.rankedOf(image)].filter((server) => !hasBit(goal.refuse, server))
    return choose(order, ranking.siteOf, goal, pins).includes(own)
  }

  /** Whether there are so many copies on so many sites, counted those of `able`, and whether this server is to take one that is missing. */
  #judge(goal: PreparedGoal, able: ServerBits, copies: number, sites: number): void {
    const { claims, fellows } = this.#known
    let [count, siteCount, pinsMissing] = [0, 0, false]
    this.#beginCall()
    for (let word = 0; word < claims.words; word += 1) {
      const held = this.#claimsIn(word)
      const pinsToCome = goal.pins[word] === 0 ? 0 : this.#pinsToCome(goal, held, word)
      if (pinsToCome !== 0) pinsMissing = true
      const counts = held & (able[word] ?? 0) & ~(fellows.draining[word] ?? 0) & ~(goal.refuse[word] ?? 0)
      for (let bits = counts | pinsToCome; bits !== 0; bits &= bits - 1) {
        count += 1
        if (this.#isNewSite(lowestIn(bits, word))) siteCount += 1
      }
    }
    const result = this.#assessment
    const [copiesLeft, sitesLeft] = [Math.max(0, copies - count), Math.max(0, sites - siteCount)]
    result.isMet = copiesLeft === 0 && sitesLeft === 0 && !pinsMissing
    result.hasTaker = pinsMissing || this.#hasTaker(goal, copiesLeft, sitesLeft)
    result.isOwnToTake = !result.isMet && this.#isOwnToTake(goal, copiesLeft, sitesLeft)
  }

  /** Whether anybody may be given what is missing. Sites are those of the current call that have it. */
  #hasTaker(goal: PreparedGoal, copies: number, sites: number): boolean {
    if (copies === 0 && sites === 0) return false
    const { claims, fellows } = this.#known
    for (let word = 0; word < claims.words; word += 1) {
      const able = (fellows.eligible[word] ?? 0) & ~this.#claimsIn(word) & ~(goal.refuse[word] ?? 0)
      for (let bits = able; bits !== 0; bits &= bits - 1) {
        const server = lowestIn(bits, word)
        if (server !== this.#without && (copies > 0 || !this.#isSeen(server)) && !this.#known.isDoubted(server, this.#image)) return true
      }
    }
    return false
  }

  /** Walks the ranking as `choose` does (placement.ts), over those who lack the image and may be given more. */
  #isOwnToTake(goal: PreparedGoal, copies: number, sites: number): boolean {
    const { claims, fellows, images, own } = this.#known
    const { eligible, idle } = fellows
    const image = this.#image
    if (own === null || claims.has(own, image) || !hasBit(eligible, own) || hasBit(goal.refuse, own)) return false
    if (hasBit(goal.pins, own)) return true
    let [copiesLeft, sitesLeft] = [copies, sites]
    let [passed, idlePassed, ownPassed, skips] = [0, 0, NOBODY, this.#patience]
    const ranked = images.rankedOf(image)
    for (let rank = 0; rank < ranked.length; rank += 1) {
      const server = ranked[rank] ?? NOBODY
      if (copiesLeft <= 0 && sitesLeft === 0) return false
      if (server === this.#without || !hasBit(eligible, server) || hasBit(goal.refuse, server) || hasBit(goal.pins, server)) continue
      if (claims.has(server, image) || this.#known.isDoubted(server, image)) continue
      const isNew = !this.#isSeen(server)
      if (!isNew && copiesLeft <= sitesLeft) {
        if (server === own) ownPassed = passed - Math.min(skips, idlePassed)
        if (hasBit(idle, server)) idlePassed += 1
        passed += 1
        continue
      }
      if (skips > 0 && hasBit(idle, server)) {
        skips -= 1
        continue
      }
      if (server === own) return true
      if (isNew) {
        this.#isNewSite(server)
        sitesLeft = Math.max(0, sitesLeft - 1)
      }
      copiesLeft -= 1
    }
    // The sites ran out: copies that were kept for them go to those passed over.
    return ownPassed !== NOBODY && ownPassed < copiesLeft
  }

  /** Pinned servers of this word that lack it and can be trusted to take it. */
  #pinsToCome(goal: PreparedGoal, held: number, word: number): number {
    const { eligible, idle } = this.#known.fellows
    let coming = (goal.pins[word] ?? 0) & (eligible[word] ?? 0) & ~held
    for (let bits = coming; bits !== 0; bits &= bits - 1)
      if (this.#known.isDoubted(lowestIn(bits, word), this.#image)) coming &= ~(bits & -bits)
    if (this.#without >>> 5 === word && this.#without !== NOBODY) coming &= ~(1 << (this.#without & 31))
    return this.#patience > 0 ? coming & ~(idle[word] ?? 0) : coming
  }

  #claimsIn(word: number): number {
    const held = this.#known.claims.word(this.#image, word)
    return this.#without !== NOBODY && this.#without >>> 5 === word ? held & ~(1 << (this.#without & 31)) : held
  }

  #beginCall(): void {
    const serverCount = this.#known.ranking.servers.length
    if (this.#siteSeen.length <= serverCount) this.#siteSeen = new Uint32Array(serverCount + 1)
    this.#call += 1
    if (this.#call === 2 ** 32) {
      this.#siteSeen.fill(0)
      this.#call = 1
    }
  }

  #isSeen(server: number): boolean {
    return this.#siteSeen[this.#known.ranking.siteOf[server] ?? 0] === this.#call
  }

  #isNewSite(server: number): boolean {
    if (this.#isSeen(server)) return false
    this.#siteSeen[this.#known.ranking.siteOf[server] ?? 0] = this.#call
    return true
  }
}
