/** Who is who in a scenario: each host's address, link and fate, decided by the seed before anything runs. */
import { seededRandom, shuffle, type Random } from "#swarm/core/random.ts"
import type { Scenario } from "../scenario.ts"

/** A slow host's link has this share of the others' rate. */
const SLOW_SHARE = 0.1

/** `killed` and `leaving` die midway; `late` starts midway. */
export type Fate = "usual" | "slow" | "late" | "killed" | "leaving"

export type LabHost = {
  /** From 1; origins come first. */
  readonly number: number
  readonly role: "origin" | "host"
  /** As which it is admitted. */
  readonly member: "server" | "client"
  /** From 0, where the origins are. */
  readonly site: number
  readonly fate: Fate
  /** From the start of the run to its own; who is late starts midway whatever stands here. */
  readonly startMs: number
  /** IPv4. */
  readonly host: string
  readonly upBytesPerSecond: number
  readonly downBytesPerSecond: number
}

/** It is not there from the start. */
export function comesLater({ fate, startMs }: LabHost): boolean {
  return fate === "late" || startMs > 0
}

/** Origins, then hosts. Same scenario, same answer. */
export function planHosts(scenario: Scenario): LabHost[] {
  const order = Array.from({ length: scenario.hosts }, (_, index) => index)
  shuffle(order, 0, order.length, seededRandom(scenario.seed))
  const fates = new Map<number, Fate>()
  const give = (fate: Fate, count: number) => {
    for (const index of order.splice(0, count)) fates.set(index, fate)
  }
  give("slow", scenario.slow)
  give("late", scenario.late)
  give("killed", Math.round(scenario.hosts * scenario.kill))
  const origins = Array.from({ length: scenario.origins }, (_, index): LabHost => {
    const rate = scenario.originBytesPerSecond
    const fate = index < scenario.leave ? "leaving" : "usual"
    const number = index + 1
    return {
      number,
      role: "origin",
      member: "server",
      site: 0,
      fate,
      startMs: 0,
      host: addressOf(number),
      upBytesPerSecond: rate,
      downBytesPerSecond: rate,
    }
  })
  const random = seededRandom(scenario.seed * 3 + 1)
  const starts = Array.from({ length: scenario.hosts }, (_, index) => index)
  shuffle(starts, 0, starts.length, random)
  const hosts = Array.from({ length: scenario.hosts }, (_, index): LabHost => {
    const fate = fates.get(index) ?? "usual"
    const share = fate === "slow" ? SLOW_SHARE : 1
    const number = scenario.origins + index + 1
    const site = siteOf(index, scenario)
    return {
      number,
      role: "host",
      member: site > 0 && index - Math.ceil((site * scenario.hosts) / scenario.sites) < scenario.replicas ? "server" : "client",
      site,
      fate,
      startMs: startOf(starts.indexOf(index), scenario, random),
      host: addressOf(number),
      upBytesPerSecond: scenario.upBytesPerSecond * share,
      downBytesPerSecond: scenario.downBytesPerSecond * share,
    }
  })
  return [...origins, ...hosts]
}

/** Of those who come one by one the first is there at once. */
function startOf(turn: number, { arrivals, hosts }: Scenario, random: Random): number {
  if (arrivals.kind === "waves") return Math.floor((turn * arrivals.count) / hosts) * arrivals.everyMs
  if (arrivals.kind === "together" || turn === 0) return 0
  return random.below(arrivals.ms)
}

/** Hosts that follow one another are at one site. */
function siteOf(index: number, { sites, hosts }: Scenario): number {
  return Math.floor((index * sites) / hosts)
}

/** All hosts of a lab are in 10.77.0.0/16, on a network that nothing else can reach. */
export const LAB_NETWORK = "10.77.0.0/16"

function addressOf(number: number): string {
  return `10.77.${number >> 8}.${number & 255}`
}
