/**
 * A grid of servers, each with a real RepairCore, in virtual time. The network is simple: a server is reachable or not, documents come a moment later, a fetch
 * takes its bytes by the lesser of both ends' shares at its start and needs a live, reachable server that truly holds the image.
 */
import { memberId, type MemberId } from "#core/identifiers.ts"
import { isTooManyGone, livenessLimits } from "#grid/core/liveness.ts"
import { Ranking, standing, type Goal, type RosterServer } from "#grid/core/placement.ts"
import { RepairCore } from "#grid/core/repair.ts"
import type { ImageUnit, RepairEffect, RepairEvent, ServerState } from "#grid/core/repair-events.ts"
import type { RepairLimits } from "#grid/core/repair-limits.ts"
import { seededRandom, type Random } from "#swarm/core/random.ts"
import { EventQueue } from "../../bench/simulator/event-queue.ts"
import { shortfall, type TrueImage, type TrueServer } from "./truth.ts"

const PUBLISH_AFTER_MS = 5_000
const HEARD_AFTER_MS = 1_000
const SYNC_AFTER_MS = 2_000
const FETCH_FAILS_AFTER_MS = 20_000
const AUDIT_TAKES_MS = 1_000
/** A core that asks to be woken at once is woken a moment later. */
const WAKE_LEAST_MS = 250

const kinds = { wake: 0, publish: 1, sync: 2, fetched: 3, unfetchable: 4, audited: 5 } as const

type Change = { readonly image: TrueImage; readonly added: boolean }

type Fetch = {
  readonly id: number
  readonly fetcher: SimServer
  readonly image: TrueImage
  readonly why: "goal" | "balance"
  source: SimServer | null
  startedAtMs: number
  bytesPerMs: number
  bytesLeft: number
}

export class SimServer {
  readonly number: number
  readonly memberId: MemberId
  readonly site: number
  readonly bytesPerMs: number
  readonly weight: number
  core: RepairCore | null = null
  incarnation = 0
  /** Reached by those of the same group alone. */
  group = 0
  joinedMs = 0
  deadSinceMs: number | null = 0
  inRoster = false
  draining = false
  isDrained = false
  full = false
  stuck = false
  roomBytes = 0
  /** What it says that it holds; what it truly holds is in each image's `holders`. */
  readonly claimed = new Set<TrueImage>()
  readonly log: Change[] = []
  publishedLength = 0
  state: ServerState = { phase: "serving", isFull: false, doubts: [] }
  slanders: readonly MemberId[] = []
  stateVersion = 0
  /** By number of the other: how much of its log, and which of its states, came here. */
  readonly heardLog: number[] = []
  readonly heardState: number[] = []
  /** When it was last heard by anyone who told, for those that cannot be reached. */
  readonly lastHeardMs: number[] = []
  /** By number of the other: whether it is reached, and when it was last reached by anyone who could tell. */
  readonly reached: boolean[] = []
  readonly reachedMs: number[] = []
  publishPlanned = false
  wakePlannedMs = Infinity
  readonly fetches = new Map<TrueImage, Fetch>()
  uploads = 0

  constructor(number: number, site: number, bytesPerMs: number, weight: number) {
    this.number = number
    this.memberId = memberOf(number)
    this.site = site
    this.bytesPerMs = bytesPerMs
    this.weight = weight
  }

  get alive(): boolean {
    return this.deadSinceMs === null
  }
}

export function memberOf(number: number): MemberId {
  return memberId(((number + 1) * 2_654_435_761).toString(16).padStart(32, "0"))
}

/** Names repeat from sequence to sequence, so that their hashes are made once. */
const standings = new Map<string, Map<MemberId, number>>()
function rememberedStanding(image: string, server: MemberId): number {
  let ofImage = standings.get(image)
  if (ofImage === undefined) standings.set(image, (ofImage = new Map()))
  let known = ofImage.get(server)
  if (known === undefined) ofImage.set(server, (known = standing(image, server)))
  return known
}

export class Violation extends Error {
  override readonly name = "Violation"
}

export type Tally = {
  movedBytes: number
  neededBytes: number
  balanceBytes: number
  copies: number
  unneededCopies: number
  /** Fetched again by a server that had dropped it of itself. */
  refetched: number
  drops: number
  audits: number
  destroyed: number
}

export class World {
  nowMs = 0
  readonly random: Random
  readonly servers: SimServer[] = []
  readonly images = new Map<string, TrueImage>()
  readonly tally: Tally = {
    movedBytes: 0,
    neededBytes: 0,
    balanceBytes: 0,
    copies: 0,
    unneededCopies: 0,
    refetched: 0,
    drops: 0,
    audits: 0,
    destroyed: 0,
  }
  /** For whoever looks into a sequence. */
  onUnneeded: (fetcher: SimServer, image: TrueImage) => void = () => {}
  readonly #queue = new EventQueue()
  readonly #fetches: (Fetch | null)[] = []
  readonly #audits: { auditor: SimServer; incarnation: number; target: SimServer; image: TrueImage }[] = []
  #roster: readonly RosterServer[] = []
  #rankings = new Map<readonly RosterServer[], Ranking>()
  #nextImage = 0

  readonly #limits: Partial<RepairLimits>

  constructor(seed: number, limits: Partial<RepairLimits> = {}) {
    this.#limits = limits
    this.random = seededRandom(seed)
  }

  /** The ranking of the roster that is signed now. */
  get ranking(): Ranking {
    return this.#rankings.get(this.#roster) ?? new Ranking(this.#roster, rememberedStanding)
  }

  serverAt(ranking: Ranking, position: number): SimServer {
    const member = ranking.servers[position]?.memberId
    const server = this.servers.find((other) => other.memberId === member)
    if (server === undefined) throw new RangeError(`there is no server at position ${position}`)
    return server
  }

  /** Moved though the goal did not ask for it. */
  get unneededBytes(): number {
    return this.tally.movedBytes - this.tally.neededBytes
  }

  chance(percent: number): boolean {
    return this.random.below(100) < percent
  }

  pick<Item>(items: readonly Item[]): Item | null {
    return items.length === 0 ? null : (items[this.random.below(items.length)] ?? null)
  }

  alive(): SimServer[] {
    return this.servers.filter((server) => server.alive && server.inRoster)
  }

  rosterServers(): SimServer[] {
    return this.servers.filter((server) => server.inRoster)
  }

  reaches(a: SimServer, b: SimServer): boolean {
    return a.alive && b.alive && a.group === b.group
  }

  // Servers

  addServer(site: number, bytesPerMs: number, weight: number, roomBytes: number): SimServer {
    const server = new SimServer(this.servers.length, site, bytesPerMs, weight)
    server.roomBytes = roomBytes
    this.servers.push(server)
    server.inRoster = true
    server.joinedMs = this.nowMs
    return server
  }

  /** A new signed roster; every server of it that lives hears of it at once. */
  signRoster(): void {
    this.#roster = this.servers
      .filter((server) => server.inRoster)
      .map(({ memberId: member, site, weight }) => ({ memberId: member, site: `site-${site}`, weight }))
    this.#rankings = new Map([[this.#roster, new Ranking(this.#roster, rememberedStanding)]])
    for (const server of this.alive()) {
      this.#step(server, { kind: "roster", servers: this.#roster })
      this.#queue.push(this.nowMs + SYNC_AFTER_MS, kinds.sync, server.number, server.incarnation)
    }
  }

  /** Starts a server that is not running, with whatever its disk holds. */
  start(server: SimServer): void {
    server.deadSinceMs = null
    this.#noteReach()
    server.incarnation += 1
    server.uploads = 0
    server.heardLog.length = 0
    server.heardState.length = 0
    server.lastHeardMs.length = 0
    server.core = new RepairCore(
      {
        self: server.memberId,
        random: seededRandom(this.random.below(2 ** 31)),
        rankingOf: (roster) => this.#rankings.get(roster) ?? new Ranking(roster, rememberedStanding),
      },
      { repair: this.#limits },
    )
    server.state = { phase: "serving", isFull: false, doubts: [] }
    server.stateVersion += 1
    server.wakePlannedMs = Infinity
    this.#step(server, { kind: "roster", servers: this.#roster })
    this.#step(server, { kind: "images", added: this.#units([...this.images.values()].filter(({ isRetired }) => !isRetired)), retired: [] })
    this.#step(server, { kind: "own", added: [...server.claimed].map(({ id }) => id), removed: [] })
    this.#tellRoom(server)
    if (server.draining) this.#step(server, { kind: "drain", draining: true })
    this.#queue.push(this.nowMs + SYNC_AFTER_MS, kinds.sync, server.number, server.incarnation)
    this.#planPublish(server)
  }

  kill(server: SimServer): void {
    if (!server.alive) return
    for (const other of this.servers) if (other !== server && this.reaches(server, other)) this.#tellSilent(other, server, this.nowMs)
    server.deadSinceMs = this.nowMs
    this.#noteReach()
    server.core = null
    server.publishPlanned = false
    for (const fetch of server.fetches.values()) this.#abandon(fetch)
    this.#resource(server)
  }

  /** Its disk is empty from now on. */
  wipe(server: SimServer): void {
    const wasAlive = server.alive
    this.kill(server)
    for (const image of server.claimed) {
      this.#lose(server, image)
      server.log.push({ image, added: false })
    }
    server.claimed.clear()
    if (wasAlive) this.start(server)
  }

  /** It is switched off and taken out of the roster. */
  leave(server: SimServer): void {
    this.kill(server)
    server.inRoster = false
    for (const image of server.claimed) this.#lose(server, image)
    server.claimed.clear()
    this.signRoster()
  }

  /** It loses some of what it goes on to say that it holds. */
  lie(server: SimServer, percent: number): number {
    let count = 0
    for (const image of server.claimed)
      if (this.chance(percent) && image.holders.has(server.number)) {
        this.#lose(server, image)
        image.falseClaims.add(server.number)
        count += 1
      }
    this.#resource(server)
    return count
  }

  /** It looks at its disk, and says what it lacks. */
  mend(server: SimServer): void {
    const lacked = [...server.claimed].filter((image) => !image.holders.has(server.number))
    for (const image of lacked) {
      server.claimed.delete(image)
      image.falseClaims.delete(server.number)
      server.log.push({ image, added: false })
    }
    this.#step(server, { kind: "own", added: [], removed: lacked.map(({ id }) => id) })
    this.#planPublish(server)
  }

  slander(server: SimServer, victims: readonly MemberId[]): void {
    server.slanders = victims
    server.stateVersion += 1
    this.#planPublish(server)
  }

  drain(server: SimServer, draining: boolean): void {
    server.draining = draining
    server.isDrained = false
    this.#step(server, { kind: "drain", draining })
  }

  /** Whether other files take all of its disk. */
  fill(server: SimServer, full: boolean): void {
    server.full = full
    this.#tellRoom(server)
  }

  /** Servers in one group reach each other alone. */
  cut(group: readonly SimServer[], number: number): void {
    const before = this.#reachability()
    for (const server of group) server.group = number
    this.#noteReach()
    for (const [a, b] of before) if (!this.reaches(a, b)) this.#tellSilent(a, b, this.nowMs)
    for (const server of this.servers) if (server.alive) this.#resource(server)
  }

  heal(): void {
    for (const server of this.servers) server.group = 0
    this.#noteReach()
    for (const server of this.alive()) this.#queue.push(this.nowMs + SYNC_AFTER_MS, kinds.sync, server.number, server.incarnation)
  }

  // Images

  /** New images that `publisher` holds. */
  publish(publisher: SimServer, count: number, describe: (number: number) => { sealedBytes: number; goal: Goal }): void {
    const fresh: TrueImage[] = []
    for (let left = count; left > 0; left -= 1) fresh.push(this.#newImage(describe(this.#nextImage)))
    for (const server of this.alive()) this.#step(server, { kind: "images", added: this.#units(fresh), retired: [] })
    for (const image of fresh) this.#give(publisher, image)
    publisher.roomBytes -= fresh.reduce((sum, { sealedBytes }) => sum + sealedBytes, 0)
    this.#step(publisher, { kind: "own", added: fresh.map(({ id }) => id), removed: [] })
    this.#tellRoom(publisher)
    this.#planPublish(publisher)
  }

  /** The images that are there before the first server starts. */
  found(
    count: number,
    describe: (number: number) => { sealedBytes: number; goal: Goal },
    holdersOf: (image: TrueImage) => readonly SimServer[],
  ): void {
    for (let left = count; left > 0; left -= 1) {
      const image = this.#newImage(describe(this.#nextImage))
      for (const server of holdersOf(image)) {
        this.#give(server, image)
        server.roomBytes -= image.sealedBytes
        server.publishedLength = server.log.length
      }
    }
  }

  retire(images: readonly TrueImage[]): void {
    for (const image of images) {
      image.isRetired = true
      for (const server of this.servers) {
        const fetch = server.fetches.get(image)
        if (fetch !== undefined) this.#abandon(fetch)
      }
    }
    for (const server of this.alive()) this.#step(server, { kind: "images", added: [], retired: images.map(({ id }) => id) })
    for (const image of images) {
      this.images.delete(image.id)
      for (const server of this.servers) if (!server.alive) server.claimed.delete(image)
    }
  }

  // Time

  run(untilMs: number): void {
    while (this.#queue.nextMs <= untilMs && this.#queue.next()) {
      this.nowMs = this.#queue.atMs
      const { kind, a, b } = this.#queue
      const server = this.servers[a]
      if (kind === kinds.fetched || kind === kinds.unfetchable) {
        const fetch = this.#fetches[a]
        if (
          fetch !== undefined &&
          fetch !== null &&
          (kind === kinds.unfetchable || fetch.startedAtMs + fetch.bytesLeft / fetch.bytesPerMs <= this.nowMs + 1)
        )
          this.#settleFetch(fetch, kind === kinds.fetched)
      } else if (kind === kinds.audited) this.#settleAudit(a)
      else if (server?.alive !== true) continue
      else if (kind === kinds.publish) this.#hearFrom(server)
      else if (kind === kinds.sync && b === server.incarnation) this.#sync(server)
      else if (kind === kinds.wake && server.wakePlannedMs <= this.nowMs) {
        server.wakePlannedMs = Infinity
        this.#step(server, { kind: "tick" })
      }
    }
    this.nowMs = untilMs
  }

  // Questions

  seenFrom(viewer: SimServer | null): TrueServer[] {
    return this.servers.map((server) => ({
      number: server.number,
      site: server.site,
      inRoster: server.inRoster,
      draining: server.draining,
      full: server.state.isFull || server.stuck,
      silentMs:
        viewer === null
          ? this.nowMs - (server.deadSinceMs ?? this.nowMs)
          : server === viewer || this.reaches(viewer, server)
            ? 0
            : this.nowMs - (viewer.reachedMs[server.number] ?? server.joinedMs),
    }))
  }

  /** Whether so many are silent that the rule has nothing repaired. */
  heldBack(seen: readonly TrueServer[]): boolean {
    const roster = seen.filter(({ inRoster }) => inRoster)
    return isTooManyGone(roster.filter(({ silentMs }) => silentMs >= livenessLimits.lastCopyOutAfterMs).length, roster.length)
  }

  /** Nobody is silent without being out yet, and no group is cut off: what is to be counted will not change by itself. */
  isStill(): boolean {
    return this.seenFrom(null).every(
      ({ inRoster, silentMs, number }) =>
        !inRoster || ((silentMs === 0 || silentMs > livenessLimits.outAfterMs) && this.servers[number]?.group === 0),
    )
  }

  /** Images that are under their goal though somebody lives to serve them and somebody to take them. */
  underGoal(): TrueImage[] {
    const seen = this.seenFrom(null)
    const counts = seen.map(({ inRoster, draining, silentMs }) => inRoster && !draining && silentMs === 0)
    const could = seen.map(({ full }, number) => counts[number] === true && !full)
    return [...this.images.values()].filter((image) => {
      if (this.#isPlainlyMet(image, counts, could)) return false
      if (![...image.holders].some((number) => this.servers[number]?.alive === true)) return false
      const { copies, sites, pins } = shortfall(image, seen, { withDropped: false, heldBack: false })
      return copies + sites + pins > 0
    })
  }

  /** Met by live servers alone, and no pinned server is without it. */
  #isPlainlyMet(image: TrueImage, counts: readonly boolean[], could: readonly boolean[]): boolean {
    let copies = 0
    let sites = 0
    for (const number of image.holders) {
      if (counts[number] !== true || image.refuse.has(number)) continue
      copies += 1
      sites |= 1 << (this.servers[number]?.site ?? 0)
    }
    for (const pin of image.pins) if (could[pin] === true && !image.holders.has(pin) && !image.falseClaims.has(pin)) return false
    let siteCount = 0
    for (; sites !== 0; sites &= sites - 1) siteCount += 1
    return copies >= image.goal.copies && siteCount >= image.goal.sites
  }

  bytesInFlight(): number {
    let bytes = 0
    for (const server of this.servers) for (const fetch of server.fetches.values()) bytes += fetch.image.sealedBytes
    return bytes
  }

  // The network

  #newImage({ sealedBytes, goal }: { sealedBytes: number; goal: Goal }): TrueImage {
    const number = this.#nextImage
    this.#nextImage += 1
    const numbersOf = (members: readonly MemberId[]) =>
      new Set(this.servers.filter((server) => members.includes(server.memberId)).map((server) => server.number))
    const image: TrueImage = {
      id: `main/image-${number}:1`,
      number,
      sealedBytes,
      goal,
      pins: numbersOf(goal.pins),
      refuse: numbersOf(goal.refuse),
      holders: new Set(),
      dropped: new Set(),
      falseClaims: new Set(),
      isRetired: false,
    }
    this.images.set(image.id, image)
    return image
  }

  #units(images: readonly TrueImage[]): ImageUnit[] {
    return images.map(({ id, sealedBytes, goal }) => ({ image: id, sealedBytes, goal }))
  }

  #give(server: SimServer, image: TrueImage): void {
    image.holders.add(server.number)
    image.dropped.delete(server.number)
    server.claimed.add(image)
    server.log.push({ image, added: true })
  }

  #lose(server: SimServer, image: TrueImage): void {
    image.holders.delete(server.number)
    image.dropped.delete(server.number)
    image.falseClaims.delete(server.number)
    if (image.holders.size === 0) this.tally.destroyed += 1
  }

  /** To be called when somebody may have come into reach, or have gone. */
  #noteReach(): void {
    for (const a of this.servers)
      for (const b of this.servers) {
        const reached = this.reaches(a, b)
        if (reached || a.reached[b.number] === true) a.reachedMs[b.number] = this.nowMs
        a.reached[b.number] = reached
      }
    for (const b of this.servers) {
      const byGroup = new Map<number, number>()
      for (const a of this.servers)
        if (a.alive) byGroup.set(a.group, Math.max(byGroup.get(a.group) ?? 0, a.reachedMs[b.number] ?? b.joinedMs))
      for (const a of this.servers) if (a.alive) a.reachedMs[b.number] = byGroup.get(a.group) ?? 0
    }
  }

  #reachability(): [SimServer, SimServer][] {
    return this.servers.flatMap((a) => this.servers.filter((b) => a !== b && this.reaches(a, b)).map((b): [SimServer, SimServer] => [a, b]))
  }

  #tellRoom(server: SimServer): void {
    this.#step(server, { kind: "space", roomBytes: server.full ? 0 : server.roomBytes })
  }

  #planPublish(server: SimServer): void {
    if (server.publishPlanned || !server.alive) return
    server.publishPlanned = true
    this.#queue.push(this.nowMs + PUBLISH_AFTER_MS + HEARD_AFTER_MS, kinds.publish, server.number, 0)
  }

  /** All whom a server reaches hear of its newest documents. */
  #hearFrom(server: SimServer): void {
    server.publishPlanned = false
    server.publishedLength = server.log.length
    for (const hearer of this.servers)
      if (hearer !== server && this.reaches(hearer, server)) this.#bring(hearer, server, server.publishedLength)
  }

  /** A server comes together with all whom it reaches: each takes the other's newest documents, and those of the others that the other has. */
  #sync(hearer: SimServer): void {
    const reached = this.servers.filter((other) => other !== hearer && this.reaches(hearer, other))
    hearer.publishedLength = hearer.log.length
    for (const about of this.servers) {
      if (about === hearer) continue
      const known = reached.includes(about)
        ? about.publishedLength
        : Math.max(...reached.map((other) => other.heardLog[about.number] ?? -1))
      if (known >= 0) this.#bring(hearer, about, known)
      const heardMs = Math.max(...reached.map((other) => other.lastHeardMs[about.number] ?? 0))
      if (!reached.includes(about) && heardMs > (hearer.lastHeardMs[about.number] ?? Infinity)) this.#tellSilent(hearer, about, heardMs)
    }
    for (const other of reached) {
      this.#bring(other, hearer, hearer.publishedLength)
      this.#tellOfAbsent(other, hearer)
      this.#step(hearer, { kind: "heard", server: other.memberId })
      this.#step(other, { kind: "heard", server: hearer.memberId })
    }
  }

  /** What `from` knows of those whom neither reaches. */
  #tellOfAbsent(hearer: SimServer, from: SimServer): void {
    for (const about of this.servers) {
      if (about === hearer || about === from || this.reaches(from, about)) continue
      const length = from.heardLog[about.number]
      if (length !== undefined) this.#bring(hearer, about, length)
      const heardMs = from.lastHeardMs[about.number]
      if (heardMs !== undefined && heardMs > (hearer.lastHeardMs[about.number] ?? Infinity)) this.#tellSilent(hearer, about, heardMs)
    }
  }

  #bring(hearer: SimServer, about: SimServer, length: number): void {
    const from = hearer.heardLog[about.number]
    if (from === undefined || from < length) {
      const net = new Map<TrueImage, boolean>()
      for (let at = from ?? 0; at < length; at += 1) {
        const change = about.log[at]
        if (change === undefined || change.image.isRetired) continue
        net.set(change.image, change.added)
      }
      const [added, removed]: [string[], string[]] = [[], []]
      for (const [image, isAdded] of net) (isAdded ? added : removed).push(image.id)
      hearer.heardLog[about.number] = length
      this.#step(hearer, { kind: "holdings", server: about.memberId, added, removed })
    }
    if (this.reaches(hearer, about) && hearer.heardState[about.number] !== about.stateVersion) {
      hearer.heardState[about.number] = about.stateVersion
      const state = { ...about.state, doubts: [...new Set([...about.state.doubts, ...about.slanders])] }
      this.#step(hearer, { kind: "state", server: about.memberId, state })
    }
  }

  #tellSilent(server: SimServer, other: SimServer, sinceMs: number): void {
    server.lastHeardMs[other.number] = sinceMs
    this.#step(server, { kind: "silent", server: other.memberId, sinceMs })
  }

  #step(server: SimServer, event: RepairEvent): void {
    const { core } = server
    if (core === null) return
    for (const effect of core.step(event, this.nowMs)) this.#carryOut(server, effect)
    const wakeMs = Math.max(core.wakeAtMs(), this.nowMs + WAKE_LEAST_MS)
    if (wakeMs >= server.wakePlannedMs) return
    server.wakePlannedMs = wakeMs
    this.#queue.push(wakeMs, kinds.wake, server.number, 0)
  }

  #carryOut(server: SimServer, effect: RepairEffect): void {
    const image = "image" in effect ? this.images.get(effect.image) : undefined
    switch (effect.kind) {
      case "fetch":
        if (image !== undefined) this.#fetch(server, image, effect.why)
        break
      case "cancel": {
        const fetch = image === undefined ? undefined : server.fetches.get(image)
        if (fetch !== undefined) this.#abandon(fetch)
        break
      }
      case "drop":
        if (image !== undefined) this.#drop(server, image, effect.why)
        break
      case "audit":
        if (image !== undefined) this.#audit(server, effect.server, image)
        break
      case "publish-state":
        server.state = effect.state
        server.stateVersion += 1
        this.#planPublish(server)
        break
      case "drained":
        server.isDrained = true
        break
    }
  }

  #fetch(fetcher: SimServer, image: TrueImage, why: "goal" | "balance"): void {
    const fetch: Fetch = {
      id: this.#fetches.length,
      fetcher,
      image,
      why,
      source: null,
      startedAtMs: this.nowMs,
      bytesPerMs: 0,
      bytesLeft: image.sealedBytes,
    }
    this.#fetches.push(fetch)
    fetcher.fetches.set(image, fetch)
    this.#findSource(fetch)
  }

  #findSource(fetch: Fetch): void {
    const { fetcher, image } = fetch
    let best: SimServer | null = null
    for (const number of image.holders) {
      const holder = this.servers[number]
      if (holder === undefined || !this.reaches(fetcher, holder)) continue
      if (best === null || holder.uploads < best.uploads) best = holder
    }
    fetch.source = fetcher.stuck ? null : best
    fetch.startedAtMs = this.nowMs
    if (fetch.source === null) {
      fetch.bytesPerMs = 0
      this.#queue.push(this.nowMs + FETCH_FAILS_AFTER_MS, kinds.unfetchable, fetch.id, 0)
      return
    }
    fetch.source.uploads += 1
    fetch.bytesPerMs = Math.min(fetcher.bytesPerMs / Math.max(1, fetcher.fetches.size), fetch.source.bytesPerMs / fetch.source.uploads)
    this.#queue.push(this.nowMs + fetch.bytesLeft / fetch.bytesPerMs, kinds.fetched, fetch.id, 0)
  }

  /** What it got so far moved, whatever comes of it. */
  #halt(fetch: Fetch): void {
    const bytes = Math.min(fetch.bytesLeft, (this.nowMs - fetch.startedAtMs) * fetch.bytesPerMs)
    if (fetch.why === "goal") this.tally.movedBytes += bytes
    else this.tally.balanceBytes += bytes
    fetch.bytesLeft -= bytes
    if (fetch.source !== null) fetch.source.uploads = Math.max(0, fetch.source.uploads - 1)
    fetch.source = null
    fetch.bytesPerMs = 0
  }

  #abandon(fetch: Fetch): void {
    this.#halt(fetch)
    this.#fetches[fetch.id] = null
    fetch.fetcher.fetches.delete(fetch.image)
  }

  /** Fetches from a server that cannot serve them any more go on from another. */
  #resource(source: SimServer): void {
    for (const server of this.servers)
      for (const fetch of server.fetches.values()) {
        if (fetch.source !== source) continue
        if (this.reaches(server, source) && fetch.image.holders.has(source.number)) continue
        this.#halt(fetch)
        this.#findSource(fetch)
      }
  }

  #settleFetch(fetch: Fetch, isDone: boolean): void {
    const { fetcher, image, source } = fetch
    // Another source was found after this moment was planned.
    if (isDone && source === null) return
    if (!isDone && source !== null) return
    this.#abandon(fetch)
    if (!isDone) {
      this.#step(fetcher, { kind: "fetch-failed", image: image.id })
      return
    }
    this.tally.copies += 1
    if (fetch.why === "goal") {
      const seen = this.seenFrom(fetcher)
      const short = shortfall(image, seen, { withDropped: true, heldBack: this.heldBack(seen) })
      if (short.copies + short.sites + short.pins > 0) this.tally.neededBytes += image.sealedBytes
      else {
        this.tally.unneededCopies += 1
        this.onUnneeded(fetcher, image)
      }
    }
    if (image.dropped.has(fetcher.number)) this.tally.refetched += 1
    this.#give(fetcher, image)
    fetcher.roomBytes -= image.sealedBytes
    this.#step(fetcher, { kind: "fetched", image: image.id })
    this.#planPublish(fetcher)
  }

  #drop(server: SimServer, image: TrueImage, why: "surplus" | "retired"): void {
    server.roomBytes += image.sealedBytes
    server.claimed.delete(image)
    server.log.push({ image, added: false })
    this.#planPublish(server)
    const wasTrue = image.holders.delete(server.number)
    image.falseClaims.delete(server.number)
    if (why === "retired" || !wasTrue) return
    this.tally.drops += 1
    if (!server.state.isFull) image.dropped.add(server.number)
    this.#checkDrop(server, image)
    this.#resource(server)
  }

  /** After a drop the goal is met by true copies at servers that are reachable from where it was dropped. */
  #checkDrop(server: SimServer, image: TrueImage): void {
    const keepers = [...image.holders]
      .flatMap((number) => this.servers[number] ?? [])
      .filter((keeper) => this.reaches(server, keeper) && keeper.inRoster && !keeper.draining && !image.refuse.has(keeper.number))
    const allowed = this.rosterServers().filter(({ number }) => !image.refuse.has(number))
    const copies = Math.min(image.goal.copies, allowed.length)
    const sites = Math.min(image.goal.sites, new Set(allowed.map(({ site }) => site)).size)
    if (keepers.length >= copies && new Set(keepers.map(({ site }) => site)).size >= sites && !image.pins.has(server.number)) return
    throw new Violation(`server ${server.number} dropped ${image.id} and ${keepers.length} of ${copies} true copies are within reach`)
  }

  #audit(auditor: SimServer, member: MemberId, image: TrueImage): void {
    const target = this.servers.find((server) => server.memberId === member)
    if (target === undefined) return
    this.tally.audits += 1
    const id = this.#audits.push({ auditor, incarnation: auditor.incarnation, target, image }) - 1
    this.#queue.push(this.nowMs + AUDIT_TAKES_MS, kinds.audited, id, 0)
  }

  #settleAudit(id: number): void {
    const audit = this.#audits[id]
    if (audit === undefined || audit.auditor.incarnation !== audit.incarnation) return
    const { auditor, target, image } = audit
    const isHeld = image.holders.has(target.number)
    const answer = isHeld ? (target.draining ? "leaving" : "passed") : "failed"
    const outcome = this.reaches(auditor, target) ? answer : "unanswered"
    this.#step(auditor, { kind: "audited", server: target.memberId, image: image.id, outcome })
  }
}
