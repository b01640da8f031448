/** What is asked of a sequence, and the figures of many. */
import { clock, type SequenceResult } from "./sequence.ts"

const MOVED_BY_NEEDED_MAX = 1.2
/** Of the bound that sequence.ts sets: above it is a storm. */
const STORM_RATIO_MAX = 1

export function faultsOf(result: SequenceResult): string[] {
  const faults: string[] = []
  if (result.movedByNeeded > MOVED_BY_NEEDED_MAX) faults.push(`moved ${result.movedByNeeded.toFixed(3)} times what was needed`)
  if (result.worstStormRatio > STORM_RATIO_MAX)
    faults.push(`after a return or heal ${result.worstStormRatio.toFixed(2)} times the bound moved without need: a storm`)
  return faults
}

export function figuresOf(results: readonly SequenceResult[]): string[] {
  const sum = (of: (result: SequenceResult) => number) => results.reduce((total, result) => total + of(result), 0)
  const events: Record<string, number> = {}
  for (const result of results) for (const [name, count] of Object.entries(result.events)) events[name] = (events[name] ?? 0) + count
  return [
    `events: ${Object.entries(events)
      .map(([name, count]) => `${name} ${count}`)
      .join(", ")}`,
    line(
      "moved / needed",
      results.map((result) => result.movedByNeeded),
      ratio,
    ),
    `${"moved / needed, all sequences together".padEnd(44)} ${ratio(
      sum(({ tally }) => tally.movedBytes) /
        Math.max(
          1,
          sum(({ tally }) => tally.neededBytes),
        ),
    )}`,
    line(
      "moved, a sequence",
      results.map(({ tally }) => tally.movedBytes),
      gibs,
    ),
    line(
      "moved for balance, a sequence",
      results.map(({ tally }) => tally.balanceBytes),
      gibs,
    ),
    line(
      "from the last event to all goals met",
      results.flatMap(({ toGoalMs }) => toGoalMs),
      clock,
    ),
    line(
      "unneeded after a return or heal, worst",
      results.map(({ worstStormBytes }) => worstStormBytes),
      gibs,
    ),
    line(
      "the same by the bound, above 1 a storm",
      results.map(({ worstStormRatio }) => worstStormRatio),
      ratio,
    ),
    line(
      "copies, a sequence",
      results.map(({ tally }) => tally.copies),
      plain,
    ),
    line(
      "unneeded copies, a sequence",
      results.map(({ tally }) => tally.unneededCopies),
      plain,
    ),
    line(
      "copies fetched again after an own drop",
      results.map(({ tally }) => tally.refetched),
      plain,
    ),
    line(
      "drops, a sequence",
      results.map(({ tally }) => tally.drops),
      plain,
    ),
    line(
      "audits, a sequence",
      results.map(({ tally }) => tally.audits),
      plain,
    ),
    line(
      "images destroyed by wipes, lies and leaving",
      results.map(({ tally }) => tally.destroyed),
      plain,
    ),
    line(
      "simulated",
      results.map(({ simulatedMs }) => simulatedMs),
      clock,
    ),
  ]
}

function line(what: string, numbers: readonly number[], shown: (number: number) => string): string {
  const sorted = [...numbers].sort((a, b) => a - b)
  const at = (share: number) => shown(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0)
  return `${what.padEnd(44)} min ${at(0)}, median ${at(0.5)}, 99th percentile ${at(0.99)}, max ${shown(sorted.at(-1) ?? 0)}`
}

function plain(number: number): string {
  return String(Math.round(number))
}

function gibs(bytes: number): string {
  return `${(bytes / 1024 ** 3).toFixed(1)} GiB`
}

function ratio(number: number): string {
  return number.toFixed(3)
}
