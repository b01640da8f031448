/** What came out of one run, and the figures made of it. */
import { idealSeconds, idealSecondsAt, type Scenario } from "../scenario.ts"
import type { SeedingPolicy } from "../seeding.ts"
import type { Fate } from "./hosts.ts"
import type { LinkBytes } from "./link-counters.ts"
import type { PeerReport } from "./peer-protocol.ts"

export type HostResult = {
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
  /** null of those that were killed. */
  readonly report: PeerReport | null
  /** Over its link from the start to the end, frames with headers. */
  readonly wireSentBytes: number
  readonly wireReceivedBytes: number
}

export type RateSamples = {
  /** Ends of the intervals, since the start. */
  readonly atSeconds: readonly number[]
  /** One row a host, in the order of the hosts: received in each interval, bytes a second. */
  readonly receivedBytesPerSecond: readonly (readonly number[])[]
  readonly sentBytesPerSecond: readonly (readonly number[])[]
}

export type RunResult = {
  readonly transport: string
  readonly scenario: Scenario
  readonly until: SeedingPolicy | null
  /** From the start until all had left who would, or were watched no more. */
  readonly watchedSeconds: number
  /** `time-limit`: some hosts had not finished when it was ended. */
  readonly outcome: "finished" | "time-limit"
  /** From the start until the last had it or the run was ended. */
  readonly seconds: number
  /** Of all cores, 0 to 1, whoever used them, until the last of the usual hosts had it. */
  readonly machineBusy: number
  /** The same just before the start: other work than the run's. */
  readonly machineBusyBefore: number
  readonly hosts: readonly HostResult[]
  /** Over each site's link to the others, frames with headers; empty where there is but one site. */
  readonly sites: readonly LinkBytes[]
  readonly rates: RateSamples
}

/** Above this share of all cores the machine, and not the links, may be what limits a run. */
export const CPU_BOUND_SHARE = 0.85

/** Above this share of all cores, other work disturbs a run. */
export const DISTURBED_SHARE = 0.2

export type Figures = {
  readonly finished: number
  readonly expected: number
  /** Of those whose time counts; null when none finished. */
  readonly seconds: { readonly first: number; readonly median: number; readonly last: number } | null
  /** The last one's time by size / rate; null when not all finished. */
  readonly ratio: number | null
  /** Copies of the file that left the origins. */
  readonly originCopies: number
  readonly originCopiesFrom: "program" | "wire"
  /** Share of the payload that came; null where the program does not tell. */
  readonly duplicateShare: number | null
  /** Of all peers that could report. */
  readonly cpuSeconds: number
  readonly cpuSecondsPerGigabyte: number
  readonly cpuBound: boolean
}

/** The run of the median ratio, the slower of two; one that did not finish counts as the slowest. @throws {RangeError} for none */
export function medianRun(runs: readonly RunResult[]): RunResult {
  const ratio = (run: RunResult) => figuresOf(run).ratio ?? Number.POSITIVE_INFINITY
  const median = runs.toSorted((a, b) => (ratio(a) < ratio(b) ? -1 : 1))[runs.length >> 1]
  if (median === undefined) throw new RangeError("the median of no runs")
  return median
}

/** Those who are there from start to end on links of the usual rate: their time is the run's. */
export function usualHosts(result: RunResult): HostResult[] {
  return hostsOf(result, "usual")
}

export function hostsOf(result: RunResult, fate: Fate): HostResult[] {
  return result.hosts.filter((host) => host.role === "host" && host.fate === fate)
}

/** Of the hosts of one site with this fate, by the site's own ideal; null where none finished. */
export function siteRatios(
  { hosts, scenario }: { readonly hosts: readonly Pick<HostResult, "role" | "site" | "fate" | "seconds">[]; readonly scenario: Scenario },
  site: number,
  fate: Fate,
): Figures["seconds"] {
  const some = hosts.filter((host) => host.role === "host" && host.fate === fate && host.site === site)
  return spread(some.flatMap(({ seconds }) => (seconds === null ? [] : seconds / idealSecondsAt(scenario, site))))
}

/** First, median and last; null for none. */
export function spread(seconds: readonly number[]): Figures["seconds"] {
  const sorted = [...seconds].sort((a, b) => a - b)
  const [first, last] = [sorted[0], sorted.at(-1)]
  if (first === undefined || last === undefined) return null
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? (sorted[middle] ?? first) : ((sorted[middle - 1] ?? first) + (sorted[middle] ?? first)) / 2
  return { first, median, last }
}

export function finishedSeconds(hosts: readonly HostResult[]): number[] {
  return hosts.flatMap((host) => host.seconds ?? [])
}

export function figuresOf(result: RunResult): Figures {
  const { contentBytes } = result.scenario
  const counted = usualHosts(result)
  const seconds = spread(finishedSeconds(counted))
  const all = result.hosts.filter((host) => host.role === "host" && host.fate !== "killed")
  const origins = result.hosts.filter((host) => host.role === "origin")
  const uploads = origins.map((host) => host.report?.uploadedBytes ?? null)
  const told = uploads.every((bytes) => bytes !== null)
  const originBytes = told
    ? uploads.reduce((sum, bytes) => sum + (bytes ?? 0), 0)
    : origins.reduce((sum, host) => sum + host.wireSentBytes * PAYLOAD_SHARE, 0)
  const reports = result.hosts.flatMap((host) => host.report ?? [])
  const duplicates = reports.map((report) => report.duplicateBytes)
  const downloaded = reports.reduce((sum, report) => sum + (report.downloadedBytes ?? 0), 0)
  const cpuSeconds = reports.reduce((sum, report) => sum + report.cpuSeconds, 0)
  const finished = finishedSeconds(all).length
  return {
    finished,
    expected: all.length,
    seconds,
    ratio: seconds === null || finishedSeconds(counted).length < counted.length ? null : seconds.last / idealSeconds(result.scenario),
    originCopies: originBytes / contentBytes,
    originCopiesFrom: told ? "program" : "wire",
    duplicateShare:
      downloaded === 0 || duplicates.some((bytes) => bytes === null)
        ? null
        : duplicates.reduce((sum: number, bytes) => sum + (bytes ?? 0), 0) / downloaded,
    cpuSeconds,
    cpuSecondsPerGigabyte: cpuSeconds / ((finished * contentBytes) / 1e9),
    cpuBound: result.machineBusy > CPU_BOUND_SHARE,
  }
}

/** Of a full frame of 1,514 bytes, what is left for payload: where only the wire tells, an estimate. */
const PAYLOAD_SHARE = 1_448 / 1_514
