/** What it costs that hosts go on seeding, and what others have of it: the same figures of the lab's runs and of the simulator's. */
import { spread } from "./lab/result.ts"
import { idealSeconds, type Scenario } from "./scenario.ts"
import { seedingPolicyName, type SeedingPolicy } from "./seeding.ts"
import { textTable } from "./simulator/table.ts"

export type SeedingResult = {
  readonly scenario: Scenario
  readonly until: SeedingPolicy | null
  /** From the start of the run until all had left who would, or were watched no more. */
  readonly watchedSeconds: number
  readonly hosts: readonly {
    readonly role: "origin" | "host"
    readonly startedAtSeconds: number
    readonly seconds: number | null
    readonly leftAtSeconds: number | null
  }[]
}

export type SeedingFigures = {
  /** Of the half of the hosts that had the file last, from its own start to its own end: the median, and the one that 99 % of them do not exceed. */
  readonly later: { readonly median: number; readonly p99: number } | null
  /** Of all hosts together, from when each had the file to when it left or was watched no more. */
  readonly seedingSeconds: number
  /** Hosts that did not leave while they were watched. */
  readonly stayed: number
}

export function seedingFigures({ hosts, watchedSeconds }: Pick<SeedingResult, "hosts" | "watchedSeconds">): SeedingFigures {
  const done = hosts.flatMap(({ role, startedAtSeconds, seconds, leftAtSeconds }) =>
    role === "origin" || seconds === null ? [] : [{ seconds, leftAtSeconds, doneAtSeconds: startedAtSeconds + seconds }],
  )
  const later = done
    .toSorted((a, b) => a.doneAtSeconds - b.doneAtSeconds)
    .slice(done.length >> 1)
    .map(({ seconds }) => seconds)
    .toSorted((a, b) => a - b)
  const p99 = later[Math.ceil(later.length * 0.99) - 1]
  return {
    later: p99 === undefined ? null : { median: spread(later)?.median ?? p99, p99 },
    seedingSeconds: done.reduce((sum, { doneAtSeconds, leftAtSeconds }) => sum + (leftAtSeconds ?? watchedSeconds) - doneAtSeconds, 0),
    stayed: done.filter(({ leftAtSeconds }) => leftAtSeconds === null).length,
  }
}

/** A line for each run whose hosts left by a policy; times by size / rate. */
export function seedingTable(runs: readonly { readonly result: SeedingResult; readonly originCopies: number }[]): string {
  const rows = runs.flatMap(({ result, originCopies }) => {
    if (result.until === null) return []
    const { later, seedingSeconds, stayed } = seedingFigures(result)
    const ideal = idealSeconds(result.scenario)
    const ratio = (seconds: number | undefined) => (seconds === undefined ? "-" : (seconds / ideal).toFixed(3))
    const { hosts, seed } = result.scenario
    const cost = [seedingSeconds.toFixed(0), (seedingSeconds / hosts).toFixed(1), String(stayed), originCopies.toFixed(2)]
    return [[String(hosts), String(seed), seedingPolicyName(result.until), ratio(later?.median), ratio(later?.p99), ...cost]]
  })
  const titles = ["hosts", "seed", "until", "later half: median", "p99", "seeding s", "a host", "stayed", "origin copies"]
  return textTable([titles, ...rows]).join("\n")
}
