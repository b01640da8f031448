/** Plays one scenario in a virtual swarm. */
import { pieceBytesFor, BLOCK_BYTES } from "#core/torrent.ts"
import { seededRandom } from "#swarm/core/random.ts"
import { comesLater, planHosts, type LabHost } from "../lab/hosts.ts"
import { idealSecondsAt, type Scenario } from "../scenario.ts"
import { LOOK_MS, Seeding, WATCHED_MS, type SeedingPolicy } from "../seeding.ts"
import { RateRecorder } from "./rate-recorder.ts"
import type { SimulatedHost, SimulationResult } from "./result.ts"
import { Trace } from "./trace.ts"
import { HOST_PORT, type VirtualHost } from "./virtual-host.ts"
import { VirtualSwarm } from "./virtual-swarm.ts"

export type PlayOptions = {
  /** null: as small as the size of the run allows. */
  readonly blockBytes: number | null
  /** Other hosts that each is told of at its start, as discovery would. */
  readonly found: number
  readonly trace: boolean
  /** When clients that have the file leave; null: not before the end. */
  readonly until: SeedingPolicy | null
  /** Simulated; null: many times the ideal after the last one came. */
  readonly limitSeconds: number | null
}

export type Progress = {
  readonly simulatedSeconds: number
  readonly wallSeconds: number
  /** Share of all bytes that all hosts want, 0 to 1. */
  readonly done: number
}

/** Blocks of a run, of all hosts together, that are simulated one by one; where there would be more, a block is a quarter of a piece, half of one, or all of it. */
const BLOCKS_MAX = 10_000_000
const COARSE_BLOCKS_PER_PIECE = [4, 2, 1]
/** Every step of a swarm of this size is checked, and of larger ones one in so many. */
const CHECKED_HOSTS_MAX = 200
const CHECK_EVERY = 1_009
const PROGRESS_MS = 1_000
const LIMIT_IDEALS = 20
const LIMIT_SECONDS_MIN = 60

export function blockBytesFor(scenario: Pick<Scenario, "hosts" | "contentBytes">, pieceBytes: number): number {
  const coarse = COARSE_BLOCKS_PER_PIECE.map((count) => Math.max(BLOCK_BYTES, pieceBytes / count))
  const fits = (blockBytes: number) => (scenario.hosts * scenario.contentBytes) / blockBytes <= BLOCKS_MAX
  return [BLOCK_BYTES, ...coarse].find(fits) ?? pieceBytes
}

/** @throws {InvariantViolation} */
export function playScenario(scenario: Scenario, options: PlayOptions, report: (progress: Progress) => void): SimulationResult {
  const startedAt = performance.now()
  const cpuBefore = process.threadCpuUsage()
  const pieceBytes = scenario.pieceBytes ?? pieceBytesFor(scenario.contentBytes)
  const blockBytes = options.blockBytes ?? blockBytesFor(scenario, pieceBytes)
  const trace = options.trace ? new Trace() : null
  const swarm = new VirtualSwarm({
    contentBytes: scenario.contentBytes,
    pieceBytes,
    blockBytes,
    seed: scenario.seed,
    delayMs: scenario.delayMs,
    loss: scenario.loss,
    ...(scenario.wideAreaBytesPerSecond === null ? {} : { wideAreaBytesPerSecond: scenario.wideAreaBytesPerSecond }),
    wideAreaDelayMs: scenario.wideAreaDelayMs,
    checkEvery: scenario.hosts <= CHECKED_HOSTS_MAX ? 1 : CHECK_EVERY,
    ...(trace === null ? {} : { trace }),
  })
  const plans = planHosts(scenario)
  const started = startHosts(swarm, scenario, plans, options.found)
  const recorder = new RateRecorder(swarm, scenario)
  const sent = sentEachSecond(swarm)
  const leaving = options.until === null ? null : new Leaving(swarm, options.until, scenario.contentBytes)
  const lastStartMs = Math.max(...plans.map(({ startMs }) => startMs))
  const limitMs =
    lastStartMs + (options.limitSeconds ?? Math.max(LIMIT_SECONDS_MIN, LIMIT_IDEALS * idealSecondsAt(scenario, scenario.sites - 1))) * 1_000
  const wantedBytes = scenario.hosts * scenario.contentBytes
  let reportAt = startedAt + PROGRESS_MS
  let countdown = PROGRESS_EVENTS
  const done = () => {
    countdown -= 1
    if (countdown === 0) {
      countdown = PROGRESS_EVENTS
      const now = performance.now()
      if (now >= reportAt) {
        reportAt = now + PROGRESS_MS
        const keptBytes = swarm.hosts.reduce((sum, host) => sum + host.books.keptBytes, 0)
        report({ simulatedSeconds: swarm.nowMs / 1_000, wallSeconds: (now - startedAt) / 1_000, done: keptBytes / wantedBytes })
      }
    }
    return swarm.allDone() && started.waiting === 0
  }
  const finished = swarm.run(done, limitMs)
  const endMs = swarm.nowMs
  const { linksPerHost, rates } = recorder.stop()
  const wireBytes = swarm.hosts.reduce((sum, { up }) => sum + up.blockBytes + up.smallBytes, 0)
  const smallBytes = swarm.hosts.reduce((sum, { up }) => sum + up.smallBytes, 0)
  if (finished) {
    if (leaving !== null) swarm.run(() => leaving.allLeft, WATCHED_MS)
    swarm.finish()
  }
  const cpu = process.threadCpuUsage(cpuBefore)
  return {
    scenario,
    pieceBytes,
    pieceCount: swarm.cutting.shape.pieceCount,
    blockBytes,
    found: options.found,
    until: options.until,
    watchedSeconds: swarm.nowMs / 1_000,
    outcome: finished ? "finished" : "time-limit",
    seconds: endMs / 1_000,
    wallSeconds: (performance.now() - startedAt) / 1_000,
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
    residentBytes: process.resourceUsage().maxRSS * 1_024,
    eventCount: swarm.eventCount,
    stepCount: swarm.stepCount,
    smallShare: smallBytes / Math.max(1, wireBytes),
    linksPerHost,
    sites: swarm.sites.map(({ number, sentBytes, receivedBytes, sentPayloadBytes, receivedPayloadBytes }) => ({
      number,
      sentBytes,
      receivedBytes,
      sentPayloadBytes,
      receivedPayloadBytes,
      sentBytesPerSecond: sent[number] ?? [],
    })),
    hosts: plans.map((plan) => reportOf(plan, started.hosts.get(plan.number) ?? null, leaving)),
    rates,
    digest: trace?.digest() ?? null,
  }
}

/** By site, filled while the swarm runs. */
function sentEachSecond(swarm: VirtualSwarm): readonly number[][] {
  const rows = swarm.sites.map((): number[] => [])
  const before = swarm.sites.map(() => 0)
  const sample = () => {
    for (const { number, sentBytes } of swarm.sites) {
      rows[number]?.push(Math.round(sentBytes - (before[number] ?? 0)))
      before[number] = sentBytes
    }
    swarm.at(swarm.nowMs + 1_000, sample)
  }
  if (swarm.sites.length > 1) swarm.at(swarm.nowMs + 1_000, sample)
  return rows
}

/** The clock on the wall is read once in so many events. */
const PROGRESS_EVENTS = 4_096

/** `waiting`: hosts that are yet to come. */
type Started = { readonly hosts: Map<number, VirtualHost>; waiting: number }

/** As the lab: everyone is there and waits, then learns where the origins are; some die and some come midway. */
function startHosts(swarm: VirtualSwarm, scenario: Scenario, plans: readonly LabHost[], found: number): Started {
  const random = seededRandom(scenario.seed * 13 + 5)
  const origins = plans.filter((plan) => plan.role === "origin")
  const started: Started = { hosts: new Map(), waiting: plans.filter(comesLater).length }
  const add = (plan: LabHost) => {
    const host = swarm.add({
      name: `${plan.role} ${plan.number}`,
      role: plan.member,
      site: plan.site,
      // Servers are told; from them clients hear it.
      ...(plan.member === "server" && scenario.wideAreaBudgetBytesPerSecond !== null
        ? { wanBytesPerSecondLimit: scenario.wideAreaBudgetBytesPerSecond }
        : {}),
      holds: plan.role === "origin" ? "all" : "nothing",
      upBytesPerSecond: plan.upBytesPerSecond,
      downBytesPerSecond: plan.downBytesPerSecond,
      host: plan.host,
    })
    started.hosts.set(plan.number, host)
    return host
  }
  const begin = (plan: LabHost) => {
    const host = started.hosts.get(plan.number) ?? add(plan)
    if (plan.role === "origin") return
    if (scenario.window) swarm.read(host)
    if (found > 0) swarm.happen(host, { kind: "addresses", from: null, given: false, addresses: others(host) })
    swarm.tell(
      host,
      origins.map(({ host: address }) => ({ host: address, port: HOST_PORT })),
    )
  }
  const others = (host: VirtualHost) => {
    const present = swarm.hosts.filter((other) => other !== host && other.role === "client" && !other.gone)
    const chosen = Array.from({ length: Math.min(found, present.length) }, () => present[random.below(present.length)])
    return chosen.flatMap((other) => other?.address ?? [])
  }
  for (const plan of plans) if (!comesLater(plan)) add(plan)
  for (const plan of plans) if (!comesLater(plan)) begin(plan)
  const beginLater = (plan: LabHost) => {
    begin(plan)
    started.waiting -= 1
  }
  for (const plan of plans) if (plan.startMs > 0) swarm.at(plan.startMs, () => beginLater(plan))
  for (let site = 0; site < scenario.sites; site += 1)
    swarm.at((idealSecondsAt(scenario, site) * 1_000) / 2, () => {
      for (const plan of plans) {
        if (plan.site !== site) continue
        const host = started.hosts.get(plan.number)
        if ((plan.fate === "killed" || plan.fate === "leaving") && host !== undefined) swarm.kill(host)
        if (plan.fate === "late") beginLater(plan)
      }
      if (site > 0) for (const host of gateways(swarm, site, scenario.killGateways)) swarm.kill(host)
    })
  return started
}

/** Hosts of the site that had most from others. */
function gateways(swarm: VirtualSwarm, site: number, count: number): VirtualHost[] {
  const present = swarm.hosts.filter((host) => host.site.number === site && host.wanted && !host.gone)
  return present.sort((a, b) => b.books.crossedBytes - a.books.crossedBytes).slice(0, count)
}

/** Clients that have the file leave when the policy says so. All look at the same moments, as is worst for those who are not to leave at once. */
class Leaving {
  readonly #swarm: VirtualSwarm
  readonly #policy: SeedingPolicy
  readonly #contentBytes: number
  readonly #seeding = new Map<VirtualHost, Seeding>()
  readonly leftAtMs = new Map<VirtualHost, number>()

  constructor(swarm: VirtualSwarm, policy: SeedingPolicy, contentBytes: number) {
    this.#swarm = swarm
    this.#policy = policy
    this.#contentBytes = contentBytes
    swarm.at(swarm.nowMs + LOOK_MS, () => this.#look())
  }

  get allLeft(): boolean {
    return this.#swarm.hosts.every((host) => !isClient(host) || host.gone)
  }

  #look(): void {
    const { nowMs } = this.#swarm
    for (const host of this.#swarm.hosts) {
      if (!isClient(host) || host.gone || host.doneAtMs === null) continue
      const seeding = this.#seeding.get(host) ?? new Seeding(this.#policy, this.#contentBytes, host.doneAtMs)
      this.#seeding.set(host, seeding)
      if (!seeding.leaves(host.core.demand, nowMs)) continue
      this.leftAtMs.set(host, nowMs)
      this.#swarm.kill(host)
    }
    this.#swarm.at(nowMs + LOOK_MS, () => this.#look())
  }
}

function isClient(host: VirtualHost): boolean {
  return host.wanted && host.role === "client"
}

function reportOf(plan: LabHost, host: VirtualHost | null, leaving: Leaving | null): SimulatedHost {
  const { number, role, site } = plan
  const statistics = host?.core.statistics
  const leftAtMs = host === null ? null : (leaving?.leftAtMs.get(host) ?? null)
  return {
    number,
    role,
    site,
    // Who was a gateway is known when it dies.
    fate: host?.gone === true && leftAtMs === null && plan.fate === "usual" ? "killed" : plan.fate,
    startedAtSeconds: (host?.startedAtMs ?? 0) / 1_000,
    seconds: host === null || host.doneAtMs === null ? null : (host.doneAtMs - host.startedAtMs) / 1_000,
    leftAtSeconds: leftAtMs === null ? null : leftAtMs / 1_000,
    downloadedBytes: statistics?.downloadedBytes ?? 0,
    uploadedBytes: statistics?.uploadedBytes ?? 0,
    duplicateBytes: statistics?.duplicateBytes ?? 0,
  }
}
