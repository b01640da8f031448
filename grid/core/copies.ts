/**
 * Who holds which image, as far as this server may believe it, and what follows for one image: is its goal met, would this server take it, may this
 * server's copy go. No time and no queue here: every answer is a function of the sets in `fellows` and of the claims.
 */
import { choose, type Goal, type Ranking } from "./placement.ts"
import { hasBit, setBit, type Fellows, type ServerBits } from "./fellows.ts"
import type { ImageId, ImageUnit } from "./repair-events.ts"

const ABSENT = -1

/** A goal against one roster: clipped to what the roster can give. */
type PreparedGoal = { readonly copies: number; readonly sites: number; readonly pins: ServerBits; readonly refuse: ServerBits }

/** What `assess` found; one object, written over by the next call. */
export type Assessment = {
  /** Copies that count of servers heard within the last minute. */
  liveCopies: number
  /** Servers heard within the last minute that have it and are not this one. */
  sources: number
  isMet: boolean
  /** This server is among those that are to make the missing copies. */
  isOwnToTake: boolean
}

type Options = { readonly without: number; readonly patience: number }
type Need = Options & { readonly copiesLeft: number; readonly sitesLeft: number }

export class CopyTable {
  readonly #fellows: Fellows
  #ranking: Ranking
  #self = ABSENT
  #words = 1
  readonly #numbers = new Map<ImageId, number>()
  readonly #units: (ImageUnit | null)[] = []
  readonly #goals: PreparedGoal[] = []
  readonly #ranked: (Uint16Array | null)[] = []
  readonly #free: number[] = []
  #claims = new Uint32Array(0)
  #prepared = new WeakMap<Goal, PreparedGoal>()
  /** Sites seen in the current call. */
  #siteSeen = new Uint32Array(0)
  #call = 0
  readonly #assessment: Assessment = { liveCopies: 0, sources: 0, isMet: true, isOwnToTake: false }
  /** Whether this server's word on this image is not believed. */
  isDoubted: (server: number, image: number) => boolean = () => false

  constructor(fellows: Fellows, ranking: Ranking) {
    this.#fellows = fellows
    this.#ranking = ranking
  }

  get size(): number {
    return this.#numbers.size
  }

  numberOf(image: ImageId): number | undefined {
    return this.#numbers.get(image)
  }

  /** Numbers of all images. */
  numbers(): Iterable<number> {
    return this.#numbers.values()
  }

  unitOf(image: number): ImageUnit {
    const unit = this.#units[image]
    if (unit === undefined || unit === null) throw new RangeError(`there is no image of number ${image}`)
    return unit
  }

  /** Claims move over to the new positions. `self` is null when this server is not in the roster. */
  setRanking(ranking: Ranking, self: number | null): void {
    const before = { ranking: this.#ranking, claims: this.#claims, words: this.#words }
    this.#ranking = ranking
    this.#self = self ?? ABSENT
    this.#words = Math.max(1, Math.ceil(ranking.servers.length / 32))
    this.#claims = new Uint32Array(Math.max(64, this.#units.length) * this.#words)
    this.#siteSeen = new Uint32Array(ranking.servers.length + 1)
    this.#prepared = new WeakMap()
    const moved = before.ranking.servers.map(({ memberId }) => ranking.positionOf(memberId))
    for (const image of this.#numbers.values()) {
      this.#ranked[image] = null
      this.#goals[image] = this.#prepare(this.unitOf(image).goal)
      for (let word = 0; word < before.words; word += 1)
        for (let bits = before.claims[image * before.words + word] ?? 0; bits !== 0; bits &= bits - 1) {
          const to = moved[word * 32 + 31 - Math.clz32(bits & -bits)]
          if (to !== undefined) this.claim(to, image)
        }
    }
  }

  /** The number of the image, which it keeps when only its goal changes. */
  add(unit: ImageUnit): number {
    const known = this.#numbers.get(unit.image)
    const number = known ?? this.#free.pop() ?? this.#units.length
    this.#numbers.set(unit.image, number)
    this.#units[number] = unit
    this.#goals[number] = this.#prepare(unit.goal)
    if (known === undefined) this.#ranked[number] = null
    if ((number + 1) * this.#words > this.#claims.length) {
      const grown = new Uint32Array(Math.max(64 * this.#words, this.#claims.length * 2))
      grown.set(this.#claims)
      this.#claims = grown
    }
    return number
  }

  /** The number is used again for another image. */
  remove(image: number): void {
    const { image: id } = this.unitOf(image)
    this.#numbers.delete(id)
    this.#ranking.forget(id)
    this.#units[image] = null
    this.#ranked[image] = null
    this.#claims.fill(0, image * this.#words, (image + 1) * this.#words)
    this.#free.push(image)
  }

  claim(server: number, image: number): void {
    const at = image * this.#words + (server >>> 5)
    this.#claims[at] = (this.#claims[at] ?? 0) | (1 << (server & 31))
  }

  unclaim(server: number, image: number): void {
    const at = image * this.#words + (server >>> 5)
    this.#claims[at] = (this.#claims[at] ?? 0) & ~(1 << (server & 31))
  }

  isClaimed(server: number, image: number): boolean {
    return ((this.#claims[image * this.#words + (server >>> 5)] ?? 0) & (1 << (server & 31))) !== 0
  }

  /** Images that this server is believed to hold. */
  claimedBy(server: number): number[] {
    const found: number[] = []
    const [words, bit] = [this.#words, 1 << (server & 31)]
    const claims = this.#claims
    for (let image = 0, at = server >>> 5; image < this.#units.length; image += 1, at += words)
      if (((claims[at] ?? 0) & bit) !== 0 && this.#units[image] !== null) found.push(image)
    return found
  }

  /** Servers heard of late that are believed to hold it, but this one. */
  recentHolders(image: number): number[] {
    return this.#bitsOf(image, (word) => this.#fellows.recent[word] ?? 0).filter((server) => server !== this.#self)
  }

  /**
   * `without`: as if that server did not hold it. `patience`: of those who should take it and took nothing at all for long, so many are passed over. The answer
   * is good until the next call.
   */
  assess(image: number, { without = ABSENT, patience = 0 }: { without?: number; patience?: number } = {}): Assessment {
    const { recent, counted, draining, isRepairHeld } = this.#fellows
    const goal = this.#goals[image]
    const result = this.#assessment
    if (goal === undefined) throw new RangeError(`there is no image of number ${image}`)
    let [liveCopies, sources] = [0, 0]
    const base = image * this.#words
    for (let word = 0; word < this.#words; word += 1) {
      const claims = this.#claimsWithout(base, word, without)
      const live = claims & (recent[word] ?? 0)
      sources += bitCount(live)
      liveCopies += bitCount(live & ~(draining[word] ?? 0) & ~(goal.refuse[word] ?? 0))
    }
    result.liveCopies = liveCopies
    result.sources = sources - (this.#self !== ABSENT && this.isClaimed(this.#self, image) ? 1 : 0)
    const options = { without, patience }
    this.#judge(image, goal, counted, goal.copies, goal.sites, options)
    // With one live copy left the next is made at once, and the others that are silent are waited for.
    if (liveCopies === 1 && goal.copies > 1 && !isRepairHeld && !result.isOwnToTake) {
      const { isMet } = result
      this.#judge(image, goal, recent, 2, Math.min(2, goal.sites), options)
      result.isMet &&= isMet
    }
    return result
  }

  /** Whether there are so many copies on so many sites, counted those of `able`, and whether this server is to take one that is missing. */
  #judge(image: number, goal: PreparedGoal, able: ServerBits, copies: number, sites: number, options: Options): void {
    const { draining } = this.#fellows
    const base = image * this.#words
    let [count, siteCount, pinsMissing] = [0, 0, false]
    const call = this.#nextCall()
    for (let word = 0; word < this.#words; word += 1) {
      const claims = this.#claimsWithout(base, word, options.without)
      const pinsToCome = this.#pinsToCome(image, goal, claims, word, options)
      if (pinsToCome !== 0) pinsMissing = true
      const counts = claims & (able[word] ?? 0) & ~(draining[word] ?? 0) & ~(goal.refuse[word] ?? 0)
      for (let bits = counts | pinsToCome; bits !== 0; bits &= bits - 1) {
        count += 1
        if (this.#isNewSite(word * 32 + 31 - Math.clz32(bits & -bits), call)) siteCount += 1
      }
    }
    const result = this.#assessment
    const [copiesLeft, sitesLeft] = [Math.max(0, copies - count), Math.max(0, sites - siteCount)]
    result.isMet = copiesLeft === 0 && sitesLeft === 0 && !pinsMissing
    result.isOwnToTake = !result.isMet && this.#isOwnToTake(image, goal, { ...options, copiesLeft, sitesLeft }, call)
  }

  /**
   * Those who keep the image when this server's copy goes; null when it may not. Only servers heard of late count, and together they meet the goal. Whoever is chosen
   * among all who really hold it is chosen among any part of them (placement.ts), so no two servers can rely on each other, whatever each of them sees.
   */
  keepersWithoutOwn(image: number): readonly number[] | null {
    const goal = this.#goals[image]
    const { recent, draining } = this.#fellows
    if (goal === undefined || this.#self === ABSENT || hasBit(goal.pins, this.#self)) return null
    const able = this.#bitsOf(image, (word) => (recent[word] ?? 0) & ~(draining[word] ?? 0) & ~(goal.refuse[word] ?? 0))
    const others = able.filter((server) => server !== this.#self)
    if (others.length < goal.copies) return null
    const pins = able.filter((server) => hasBit(goal.pins, server))
    const holders = new Set(able)
    const order = [...this.#rankedOf(image)].filter((server) => holders.has(server))
    const keepers = choose(order, this.#ranking.siteOf, goal, pins)
    const siteCount = new Set(keepers.map((server) => this.#ranking.siteOf[server])).size
    if (keepers.includes(this.#self) || keepers.length < goal.copies || siteCount < goal.sites) return null
    return keepers
  }

  /** Whether the image belongs here when all is well, whoever else holds it. */
  isHome(image: number): boolean {
    const goal = this.#goals[image]
    if (goal === undefined || this.#self === ABSENT) return false
    const pins = [...this.#ranking.servers.keys()].filter((server) => hasBit(goal.pins, server))
    const order = [...this.#rankedOf(image)].filter((server) => !hasBit(goal.refuse, server))
    return choose(order, this.#ranking.siteOf, goal, pins).includes(this.#self)
  }

  #isOwnToTake(image: number, goal: PreparedGoal, { without, patience, ...need }: Need, call: number): boolean {
    const self = this.#self
    const { eligible, idle } = this.#fellows
    if (self === ABSENT || this.isClaimed(self, image) || !hasBit(eligible, self) || hasBit(goal.refuse, self)) return false
    if (hasBit(goal.pins, self)) return true
    let { copiesLeft, sitesLeft } = need
    let [passed, idlePassed, ownPassed, skips] = [0, 0, ABSENT, patience]
    for (const server of this.#rankedOf(image)) {
      if (copiesLeft <= 0 && sitesLeft === 0) return false
      if (server === without || !hasBit(eligible, server) || hasBit(goal.refuse, server) || hasBit(goal.pins, server)) continue
      if (this.isClaimed(server, image) || this.isDoubted(server, image)) continue
      const isNew = !this.#isSeen(server, call)
      if (!isNew && copiesLeft <= sitesLeft) {
        if (server === self) ownPassed = passed - Math.min(skips, idlePassed)
        if (hasBit(idle, server)) idlePassed += 1
        passed += 1
        continue
      }
      if (skips > 0 && hasBit(idle, server)) {
        skips -= 1
        continue
      }
      if (server === self) return true
      if (isNew) {
        this.#isNewSite(server, call)
        sitesLeft = Math.max(0, sitesLeft - 1)
      }
      copiesLeft -= 1
    }
    // The sites ran out: copies that were kept for them go to those passed over.
    return ownPassed !== ABSENT && ownPassed < copiesLeft
  }

  /** Pinned servers of this word that lack it and can be trusted to take it. */
  #pinsToCome(image: number, goal: PreparedGoal, claims: number, word: number, { without, patience }: Options): number {
    let coming = (goal.pins[word] ?? 0) & (this.#fellows.eligible[word] ?? 0) & ~claims
    for (let bits = coming; bits !== 0; bits &= bits - 1)
      if (this.isDoubted(word * 32 + 31 - Math.clz32(bits & -bits), image)) coming &= ~(bits & -bits)
    if (without !== ABSENT && without >>> 5 === word) coming &= ~(1 << (without & 31))
    return patience > 0 ? coming & ~(this.#fellows.idle[word] ?? 0) : coming
  }

  #claimsWithout(base: number, word: number, without: number): number {
    const claims = this.#claims[base + word] ?? 0
    return without !== ABSENT && without >>> 5 === word ? claims & ~(1 << (without & 31)) : claims
  }

  #bitsOf(image: number, mask: (word: number) => number): number[] {
    const servers: number[] = []
    for (let word = 0; word < this.#words; word += 1)
      for (let bits = (this.#claims[image * this.#words + word] ?? 0) & mask(word); bits !== 0; bits &= bits - 1)
        servers.push(word * 32 + 31 - Math.clz32(bits & -bits))
    return servers
  }

  #nextCall(): number {
    this.#call += 1
    if (this.#call === 2 ** 32) {
      this.#siteSeen.fill(0)
      this.#call = 1
    }
    return this.#call
  }

  #isSeen(server: number, call: number): boolean {
    return this.#siteSeen[this.#ranking.siteOf[server] ?? 0] === call
  }

  #isNewSite(server: number, call: number): boolean {
    if (this.#isSeen(server, call)) return false
    this.#siteSeen[this.#ranking.siteOf[server] ?? 0] = call
    return true
  }

  #rankedOf(image: number): Uint16Array {
    const known = this.#ranked[image]
    if (known !== undefined && known !== null) return known
    const ranked = this.#ranking.of(this.unitOf(image).image)
    this.#ranked[image] = ranked
    return ranked
  }

  /** Goals that many images share are prepared once. */
  #prepare(goal: Goal): PreparedGoal {
    const known = this.#prepared.get(goal)
    if (known !== undefined) return known
    const [pins, refuse] = [new Uint32Array(this.#words), new Uint32Array(this.#words)]
    for (const [members, bits] of [
      [goal.refuse, refuse],
      [goal.pins, pins],
    ] as const)
      for (const member of members) {
        const position = this.#ranking.positionOf(member)
        if (position !== undefined && !hasBit(refuse, position)) setBit(bits, position)
      }
    const allowed = [...this.#ranking.servers.keys()].filter((server) => !hasBit(refuse, server))
    const prepared = {
      copies: Math.min(goal.copies, allowed.length),
      sites: Math.min(goal.sites, new Set(allowed.map((server) => this.#ranking.siteOf[server])).size),
      pins,
      refuse,
    }
    this.#prepared.set(goal, prepared)
    return prepared
  }
}

function bitCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555)
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333)
  return (((bits + (bits >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24
}
