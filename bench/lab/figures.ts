/** The lab's results as figures: time against the number of hosts, and the rate of every host over time. */
import { lineChart, type Series } from "../figures/line-chart.ts"
import { idealSeconds } from "../scenario.ts"
import type { LabResult } from "./lab.ts"
import { medianRun, type RunResult } from "./result.ts"

export type FigureFile = { readonly name: string; readonly svg: string }

export function labFigures(result: LabResult): FigureFile[] {
  const medians = result.comparisons.map(({ runs }) => medianRun(runs))
  const counts = new Set(medians.map(({ scenario }) => scenario.hosts))
  const rates = medians.map((run) => ({ name: `rates-${run.transport}-${run.scenario.hosts}.svg`, svg: ratesChart(run) }))
  return counts.size > 1 ? [{ name: "time-against-hosts.svg", svg: timeChart(medians) }, ...rates] : rates
}

/** Runs that did not finish have no point. */
function timeChart(medians: readonly RunResult[]): string {
  const [some] = medians
  const transports = new Map<string, [number, number][]>()
  const counts = new Set<number>()
  for (const run of medians) {
    const points = transports.get(run.transport) ?? []
    transports.set(run.transport, points)
    counts.add(run.scenario.hosts)
    if (run.outcome === "finished") points.push([run.scenario.hosts, run.seconds])
  }
  const ideal = some === undefined ? 0 : idealSeconds(some.scenario)
  const series = [...transports].filter(([, points]) => points.length > 0).map(([name, points]): Series => ({ name, points }))
  return lineChart({
    title: `Time until every host has the file, ${describe(some)}`,
    xLabel: "hosts",
    yLabel: "time (s)",
    series: [...series, { name: "size / rate", points: [...counts].map((hosts): [number, number] => [hosts, ideal]) }],
  })
}

function ratesChart(run: RunResult): string {
  const rows = run.rates.receivedBytesPerSecond.filter((_, index) => run.hosts[index]?.role === "host")
  const points = (at: (interval: number) => number) =>
    run.rates.atSeconds.map((seconds, interval): [number, number] => [seconds, megabits(at(interval))])
  const mean = points((interval) => rows.reduce((sum, row) => sum + (row[interval] ?? 0), 0) / Math.max(1, rows.length))
  return lineChart({
    title: `What each of ${run.scenario.hosts} hosts receives with ${run.transport}, ${describe(run)}`,
    xLabel: "time (s)",
    yLabel: "rate (Mbit/s)",
    series: [
      ...rows.map((row, host): Series => ({ name: `host ${host + 1}`, points: points((interval) => row[interval] ?? 0), faint: true })),
      { name: "mean", points: mean },
    ],
  })
}

function megabits(bytesPerSecond: number): number {
  return (bytesPerSecond * 8) / 1e6
}

function describe(run: RunResult | undefined): string {
  if (run === undefined) return ""
  const { contentBytes, downBytesPerSecond } = run.scenario
  return `${(contentBytes / 2 ** 20).toFixed(0)} MiB, ${megabits(downBytesPerSecond)} Mbit/s links`
}
