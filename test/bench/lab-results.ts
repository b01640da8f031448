/** Runs as the lab reports them, for tests of what is made of them. */
import type { Fate } from "../../bench/lab/hosts.ts"
import type { PeerReport } from "../../bench/lab/peer-protocol.ts"
import type { HostResult, RunResult } from "../../bench/lab/result.ts"
import { readScenario, scenarioOptions, type Scenario } from "../../bench/scenario.ts"

export type Option = keyof typeof scenarioOptions

/** The scenario that the command line gives with these options and no others. */
export function scenarioWith(options: Partial<Record<Option, string>> = {}): Scenario {
  const defaults = Object.fromEntries(
    Object.entries(scenarioOptions).flatMap(([name, option]) => ("default" in option ? [[name, option.default]] : [])),
  )
  return readScenario({ ...defaults, ...options })
}

export function report(fields: Partial<PeerReport> = {}): PeerReport {
  return { downloadedBytes: 0, uploadedBytes: 0, duplicateBytes: 0, cpuSeconds: 0, residentBytes: 0, contentPath: null, ...fields }
}

export function hostResult(fields: Partial<HostResult> = {}): HostResult {
  return {
    number: 2,
    role: "host",
    site: 0,
    fate: "usual",
    startedAtSeconds: 0,
    seconds: 10,
    leftAtSeconds: null,
    report: report(),
    wireSentBytes: 0,
    wireReceivedBytes: 0,
    ...fields,
  }
}

/** A run of one origin and hosts that took so many seconds. */
export function runOf(transport: string, seconds: readonly (number | null)[], fields: Partial<RunResult> = {}): RunResult {
  const scenario = scenarioWith({ hosts: String(seconds.length), size: "10000000", rate: "8mbit" })
  const origin = hostResult({ number: 1, role: "origin", seconds: null, report: report({ uploadedBytes: 12_000_000, cpuSeconds: 1 }) })
  const hosts = seconds.map((each, index) =>
    hostResult({
      number: index + 2,
      seconds: each,
      report: report({ downloadedBytes: 10_100_000, duplicateBytes: 100_000, cpuSeconds: 2 }),
    }),
  )
  return {
    transport,
    scenario,
    outcome: seconds.includes(null) ? "time-limit" : "finished",
    seconds: Math.max(...seconds.map((each) => each ?? 99)),
    until: null,
    watchedSeconds: Math.max(...seconds.map((each) => each ?? 99)),
    machineBusy: 0.5,
    machineBusyBefore: 0,
    hosts: [origin, ...hosts],
    sites: [],
    rates: { atSeconds: [], receivedBytesPerSecond: [], sentBytesPerSecond: [] },
    ...fields,
  }
}

/** The same run with a fate for each of its first hosts. */
export function withFates(run: RunResult, fates: readonly Fate[]): RunResult {
  const hosts = run.hosts.map((host, index) => ({ ...host, fate: host.role === "host" ? (fates[index - 1] ?? host.fate) : host.fate }))
  return { ...run, hosts }
}
