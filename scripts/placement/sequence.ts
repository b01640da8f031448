/**
 * One random sequence of events over a grid, from a seed: what is checked after each event and what is measured. docs/reliability.md tells what the figures mean.
 */
import { choose, type Goal } from "#grid/core/placement.ts"
import { livenessLimits } from "#grid/core/liveness.ts"
import type { RepairLimits } from "#grid/core/repair-limits.ts"
import { Violation, World, memberOf, type SimServer, type Tally } from "./world.ts"

export type SequenceOptions = {
  readonly seed: number
  readonly events: number
  readonly servers: number
  readonly images: number
  /** Other limits than the product's, to see the check fail. */
  readonly limits?: Partial<RepairLimits>
}

export type SequenceResult = {
  readonly seed: number
  readonly tally: Tally
  /** Of moved bytes, those of copies that the goal asked for at that moment. */
  readonly movedByNeeded: number
  /** From an event after which nothing else came, to all goals met. */
  readonly toGoalMs: readonly number[]
  /** After each return or heal until the next event: unneeded bytes by what they may be at most. */
  readonly worstStormRatio: number
  readonly worstStormBytes: number
  readonly events: Readonly<Record<string, number>>
  readonly simulatedMs: number
}

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
/** From the last event to all goals met. */
export const GOAL_WITHIN_MS = 4 * HOUR_MS
/**
 * After a return or heal, until the next event, so much may move without need: what is in flight at that moment, and the greater of these shares of what the servers
 * hold that came back, and of what all hold. More is a storm.
 */
const STORM_SHARE_OF_RETURNED = 0.1
const STORM_SHARE_OF_ALL = 0.005
const SITES_MAX = 6
const LIAR_IMAGES_MIN = 30
/** Copies and sites; as often as they stand here. */
const PLAIN_GOALS: readonly Goal[] = (
  [
    [3, 2],
    [3, 2],
    [3, 2],
    [2, 2],
    [2, 1],
    [3, 3],
    [4, 2],
  ] as const
).map(([copies, sites]) => ({ copies, sites, pins: [], refuse: [] }))
const GIB = 1024 ** 3
/** 2.5, 10, 10 and 25 Gbit/s. */
const RATES_BYTES_PER_MS = [312_500, 1_250_000, 1_250_000, 3_125_000]
/** Of this many servers at once the operator brings some back before anything else. */
const DEAD_SHARE_MAX = 0.4

export function playSequence(options: SequenceOptions, onEvent: (line: string) => void = () => {}): SequenceResult {
  return new Sequence(options, onEvent).play()
}

class Sequence {
  readonly #options: SequenceOptions
  readonly #world: World
  readonly #onEvent: (line: string) => void
  readonly #counts: Record<string, number> = {}
  readonly #toGoalMs: number[] = []
  readonly #goals: readonly Goal[]
  #storm = { unneededBefore: 0, boundBytes: 0, open: false }
  #worstStormRatio = 0
  #worstStormBytes = 0
  #cutGroups = 0

  constructor(options: SequenceOptions, onEvent: (line: string) => void) {
    this.#options = options
    this.#onEvent = onEvent
    this.#world = new World(options.seed, options.limits)
    this.#makeServers()
    this.#goals = this.#makeGoals()
    this.#makeImages()
  }

  play(): SequenceResult {
    const world = this.#world
    for (let number = 0; number < this.#options.events; number += 1) {
      const name = this.#happen()
      this.#counts[name] = (this.#counts[name] ?? 0) + 1
      this.#onEvent(`${clock(world.nowMs)} ${number} ${name}`)
      if (world.chance(30)) this.#waitForGoals(false)
      else world.run(world.nowMs + this.#pauseMs())
      this.#closeStorm()
    }
    this.#endWell()
    this.#waitForGoals(true)
    const { tally } = world
    return {
      seed: this.#options.seed,
      tally,
      movedByNeeded: tally.neededBytes === 0 ? 1 : tally.movedBytes / tally.neededBytes,
      toGoalMs: this.#toGoalMs,
      worstStormRatio: this.#worstStormRatio,
      worstStormBytes: this.#worstStormBytes,
      events: this.#counts,
      simulatedMs: world.nowMs,
    }
  }

  #makeServers(): void {
    const world = this.#world
    const siteCount = 2 + world.random.below(SITES_MAX - 1)
    for (let number = 0; number < this.#options.servers; number += 1) this.#addServer(Math.min(this.#anySite(siteCount), siteCount - 1))
    // So that each has one.
    for (let site = 0; site < siteCount; site += 1) if (!world.servers.some((server) => server.site === site)) this.#addServer(site)
  }

  /** Sites differ in size: each is about half as likely as the one before. */
  #anySite(siteCount: number): number {
    const { random } = this.#world
    for (let site = 0; site < siteCount; site += 1) if (random.below(100) < 40) return site
    return random.below(siteCount)
  }

  #addServer(site: number): SimServer {
    const world = this.#world
    const weight = 1 + world.random.below(3)
    const rate = world.pick(RATES_BYTES_PER_MS) ?? 1
    // Its share of three copies of images of 1.5 GiB, of which some have little more than that.
    const shareBytes = (weight / 2 / this.#options.servers) * this.#options.images * 1.5 * GIB * 3
    return world.addServer(site, rate, weight, Math.ceil(shareBytes * (1.5 + world.random.below(200) / 100)))
  }

  #makeGoals(): Goal[] {
    const { random, servers } = this.#world
    const some = (count: number) => Array.from({ length: count }, () => memberOf(random.below(servers.length)))
    return [
      ...PLAIN_GOALS,
      { copies: 2, sites: 2, pins: some(1), refuse: [] },
      { copies: 3, sites: 1, pins: [], refuse: some(3) },
      { copies: 3, sites: 2, pins: some(2), refuse: some(2) },
    ]
  }

  #describe = (number: number): { sealedBytes: number; goal: Goal } => {
    const goal = this.#goals[number % this.#goals.length]
    if (goal === undefined) throw new RangeError("there are no goals")
    return { sealedBytes: Math.ceil(0.25 * GIB * 2 ** (this.#world.random.below(4_000) / 1_000)), goal }
  }

  /** All images stand where they belong before the first event. */
  #makeImages(): void {
    const world = this.#world
    world.signRoster()
    const { ranking } = world
    world.found(this.#options.images, this.#describe, (image) => {
      const order = [...ranking.of(image.id)].map((position) => world.serverAt(ranking, position))
      const sites = world.servers.map(({ site }) => site)
      const numbers = order.map(({ number }) => number).filter((number) => !image.refuse.has(number))
      const pins = [...image.pins].filter((pin) => !image.refuse.has(pin))
      return choose(numbers, sites, image.goal, pins).flatMap((number) => world.servers[number] ?? [])
    })
    for (const server of world.servers) world.start(server)
    world.run(2 * MINUTE_MS)
    this.#expect(world.tally.movedBytes === 0, "bytes moved before the first event")
  }

  #pauseMs(): number {
    const { random } = this.#world
    // Long enough for copies that are not needed to be dropped, and for images to go home.
    if (random.below(100) < 6) return HOUR_MS + random.below(12 * HOUR_MS)
    const [least, most] = [
      [0, 10_000],
      [10_000, 2 * MINUTE_MS],
      [2 * MINUTE_MS, 20 * MINUTE_MS],
      [10 * MINUTE_MS, 60 * MINUTE_MS],
    ][random.below(4)] ?? [0, 0]
    return (least ?? 0) + random.below((most ?? 0) - (least ?? 0))
  }

  /** One event that is possible now. */
  #happen(): string {
    const world = this.#world
    for (;;) {
      const roster = world.rosterServers()
      const alive = world.alive()
      const dead = roster.filter((server) => !server.alive)
      const server = world.pick(alive)
      const die = world.random.below(100)
      if (dead.length > roster.length * DEAD_SHARE_MAX) return this.#return(dead)
      if (server === null) continue
      if (die < 18) {
        world.kill(server)
        return "kill"
      }
      if (die < 20) {
        const sites = new Set(roster.map(({ site }) => site))
        const { site } = server
        if (sites.size < 3) continue
        for (const other of alive) if (other.site === site) world.kill(other)
        return "kill a site"
      }
      if (die < 40) {
        if (dead.length === 0) continue
        return this.#return(world.chance(70) ? [world.pick(dead) ?? server] : dead)
      }
      if (die < 46) {
        world.wipe(world.chance(70) ? server : (world.pick(dead) ?? server))
        return "wipe"
      }
      if (die < 56) {
        if (alive.some(({ group }) => group !== 0)) return this.#heal()
        this.#cutGroups += 1
        const bySite = world.chance(40)
        const share = 3 + world.random.below(50)
        world.cut(bySite ? roster.filter(({ site }) => site === server.site) : roster.filter(() => world.chance(share)), this.#cutGroups)
        return "partition"
      }
      if (die < 61) {
        if (alive.some(({ group }) => group !== 0)) return this.#heal()
        continue
      }
      if (die < 65) {
        if (roster.filter(({ draining }) => draining).length > 1) continue
        world.drain(server, !server.draining)
        return "drain"
      }
      if (die < 69) {
        world.fill(server, !server.full)
        return server.full ? "disk full" : "room again"
      }
      if (die < 73) {
        // A single copy is found by chance alone, which takes as many minutes as a server holds images: longer than is waited for here.
        if (server.claimed.size < LIAR_IMAGES_MIN || roster.some((other) => other.slanders.length > 0)) continue
        world.lie(server, 10 + world.random.below(90))
        world.slander(
          server,
          alive.slice(0, 3).map(({ memberId }) => memberId),
        )
        return "lie"
      }
      if (die < 77) {
        const liar = alive.find((other) => other.slanders.length > 0)
        if (liar === undefined) continue
        world.slander(liar, [])
        world.mend(liar)
        return "mend"
      }
      if (die < 86) {
        world.publish(server, 1 + world.random.below(Math.ceil(this.#options.images / 200)), this.#describe)
        return "new images"
      }
      if (die < 90) {
        world.retire([...world.images.values()].filter(() => world.chance(1)))
        return "retire"
      }
      if (die < 93) {
        server.stuck = !server.stuck
        return server.stuck ? "stuck" : "unstuck"
      }
      if (die < 96) {
        if (world.servers.length >= this.#options.servers + 8) continue
        const joining = this.#addServer(this.#anySite(SITES_MAX))
        world.start(joining)
        world.signRoster()
        return "join"
      }
      const leaving = roster.find(({ isDrained, draining, group }) => isDrained && draining && group === 0)
      if (leaving === undefined || alive.some(({ group }) => group !== 0)) continue
      world.leave(leaving)
      return "leave"
    }
  }

  #return(servers: readonly SimServer[]): string {
    this.#openStorm(servers)
    for (const server of servers) this.#world.start(server)
    return "return"
  }

  #heal(): string {
    const [cut, rest] = [true, false].map((isCut) => this.#world.alive().filter(({ group }) => (group !== 0) === isCut))
    this.#openStorm((cut?.length ?? 0) < (rest?.length ?? 0) ? (cut ?? []) : (rest ?? []))
    this.#world.heal()
    return "heal"
  }

  /** `came`: servers that come back into reach. */
  #openStorm(came: readonly SimServer[]): void {
    const share = Math.max(STORM_SHARE_OF_RETURNED * heldBy(came), STORM_SHARE_OF_ALL * heldBy(this.#world.rosterServers()))
    this.#storm = { unneededBefore: this.#world.unneededBytes, boundBytes: this.#world.bytesInFlight() + share, open: true }
  }

  /** What moved without need since a return or heal, until now. */
  #closeStorm(): void {
    const { unneededBefore, boundBytes, open } = this.#storm
    if (!open) return
    this.#storm.open = false
    const bytes = this.#world.unneededBytes - unneededBefore
    this.#worstStormBytes = Math.max(this.#worstStormBytes, bytes)
    this.#worstStormRatio = Math.max(this.#worstStormRatio, bytes / Math.max(boundBytes, GIB))
  }

  /** Waits until all goals are met; before the end only where nothing stands against it. */
  #waitForGoals(isEnd: boolean): void {
    const world = this.#world
    const roster = world.rosterServers()
    const dead = roster.filter((server) => !server.alive).length
    if (!isEnd && (dead > roster.length * livenessLimits.outShareMax || roster.some(({ group }) => group !== 0))) {
      world.run(world.nowMs + this.#pauseMs())
      return
    }
    const sinceMs = world.nowMs
    for (;;) {
      world.run(world.nowMs + MINUTE_MS)
      if (world.isStill()) {
        const under = world.underGoal()
        if (under.length === 0) break
        const [first] = under
        const afterMs = world.nowMs - sinceMs
        this.#expect(
          afterMs <= GOAL_WITHIN_MS,
          `${under.length} images under their goal after ${clock(afterMs)}, ${first?.id} held by ${[...(first?.holders ?? [])].join(", ")}`,
        )
      }
    }
    this.#toGoalMs.push(world.nowMs - sinceMs)
  }

  /** No group is cut off any more, and not more are gone than repair bears. */
  #endWell(): void {
    const world = this.#world
    world.heal()
    const dead = world.rosterServers().filter((server) => !server.alive)
    const most = Math.floor(world.rosterServers().length * livenessLimits.outShareMax)
    for (const server of dead.slice(0, Math.max(0, dead.length - most))) world.start(server)
  }

  #expect(isTrue: boolean, otherwise: string): void {
    if (!isTrue) throw new Violation(`${clock(this.#world.nowMs)}: ${otherwise}`)
  }
}

function heldBy(servers: readonly SimServer[]): number {
  let bytes = 0
  for (const server of servers) for (const { sealedBytes } of server.claimed) bytes += sealedBytes
  return bytes
}

export function clock(ms: number): string {
  const seconds = Math.round(ms / 1_000)
  return `${Math.floor(seconds / 3_600)}:${twoDigits(Math.floor(seconds / 60) % 60)}:${twoDigits(seconds % 60)}`
}

function twoDigits(number: number): string {
  return String(number).padStart(2, "0")
}
