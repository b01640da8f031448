/** What came out of one simulated run, and the figures made of it. */
import type { Fate } from "../lab/hosts.ts"
import { spread } from "../lab/result.ts"
import { idealSeconds, type Scenario } from "../scenario.ts"
import type { SeedingPolicy } from "../seeding.ts"

export type SimulatedHost = {
  readonly number: number
  readonly role: "origin" | "host"
  readonly site: number
  readonly fate: Fate
  /** From the start of the run to its own start. */
  readonly startedAtSeconds: number
  /** From its own start until it had the whole file; null when it never had. */
  readonly seconds: number | null
  /** From the start of the run until it left by itself; null when it did not. */
  readonly leftAtSeconds: number | null
  /** Payload. */
  readonly downloadedBytes: number
  readonly uploadedBytes: number
  readonly duplicateBytes: number
}

export type SimulatedRates = {
  readonly intervalSeconds: number
  /** Payload kept by the mean of all hosts, and sent by the mean origin, in each interval. */
  readonly meanBytesPerSecond: readonly number[]
  readonly originBytesPerSecond: readonly number[]
  /** Of some hosts, evenly chosen. */
  readonly hosts: readonly { readonly number: number; readonly bytesPerSecond: readonly number[] }[]
}

/** What went over a site's links to the others, frames and all, and the payload in it. */
export type SimulatedSite = {
  readonly number: number
  readonly sentBytes: number
  readonly receivedBytes: number
  readonly sentPayloadBytes: number
  readonly receivedPayloadBytes: number
  /** Of all that it sent, in each second. */
  readonly sentBytesPerSecond: readonly number[]
}

export type SimulationResult = {
  readonly scenario: Scenario
  readonly pieceBytes: number
  readonly pieceCount: number
  readonly blockBytes: number
  /** Other hosts that each was told of at its start. */
  readonly found: number
  readonly until: SeedingPolicy | null
  /** `time-limit`: some hosts had not finished when it was ended. */
  readonly outcome: "finished" | "time-limit"
  /** Simulated, until the last one had the file, and until all had left who would. */
  readonly seconds: number
  readonly watchedSeconds: number
  readonly wallSeconds: number
  readonly cpuSeconds: number
  /** The most that the process held. */
  readonly residentBytes: number
  readonly eventCount: number
  readonly stepCount: number
  /** Of the bytes on the wire, acknowledgements aside. */
  readonly smallShare: number
  /** Mean of all hosts and samples. */
  readonly linksPerHost: number
  readonly hosts: readonly SimulatedHost[]
  readonly sites: readonly SimulatedSite[]
  readonly rates: SimulatedRates
  /** Of the whole trace, where it was asked for. */
  readonly digest: string | null
}

export type SimulationFigures = {
  readonly finished: number
  readonly expected: number
  /** Of hosts on the usual links that were there from start to end, by size / rate; null where none finished. */
  readonly ratios: { readonly first: number; readonly median: number; readonly last: number } | null
  /** As the lab's: null when not all of them finished. */
  readonly ratio: number | null
  /** Copies of the file that left each origin. */
  readonly originCopies: readonly number[]
  readonly duplicateShare: number
  /** Seconds of all hosts for each second of the simulation. */
  readonly speed: number
}

export function hostsOf(result: SimulationResult, fate: Fate): SimulatedHost[] {
  return result.hosts.filter((host) => host.role === "host" && host.fate === fate)
}

export function finishedSeconds(hosts: readonly SimulatedHost[]): number[] {
  return hosts.flatMap((host) => host.seconds ?? [])
}

export function simulationFigures(result: SimulationResult): SimulationFigures {
  const { contentBytes } = result.scenario
  const ideal = idealSeconds(result.scenario)
  const usual = hostsOf(result, "usual")
  const times = finishedSeconds(usual)
  const ratios = spread(times.map((seconds) => seconds / ideal))
  const living = result.hosts.filter((host) => host.role === "host" && host.fate !== "killed")
  const sum = (of: (host: SimulatedHost) => number) => result.hosts.reduce((total, host) => total + of(host), 0)
  return {
    finished: finishedSeconds(living).length,
    expected: living.length,
    ratios,
    ratio: ratios === null || times.length < usual.length ? null : ratios.last,
    originCopies: result.hosts.filter(({ role }) => role === "origin").map((host) => host.uploadedBytes / contentBytes),
    duplicateShare:
      sum((host) => host.duplicateBytes) /
      Math.max(
        1,
        sum((host) => host.downloadedBytes),
      ),
    speed: (result.hosts.length * result.seconds) / result.wallSeconds,
  }
}
