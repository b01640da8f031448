/** The simulator's results as figures: time against the number of hosts, and the rate of hosts over time. */
import { lineChart } from "../figures/line-chart.ts"
import { idealSeconds } from "../scenario.ts"
import { simulationFigures, type SimulationResult } from "./result.ts"

export type FigureFile = { readonly name: string; readonly svg: string }

export function simulatorFigures(results: readonly SimulationResult[]): FigureFile[] {
  const rates = results.map((result) => ({ name: `simulated-rates-${result.scenario.hosts}.svg`, svg: ratesChart(result) }))
  return results.length > 1 ? [{ name: "simulated-time-against-hosts.svg", svg: timeChart(results) }, ...rates] : rates
}

/** Runs that did not finish have no point. */
function timeChart(results: readonly SimulationResult[]): string {
  const points = results.flatMap((result): [number, number][] => {
    const { ratio } = simulationFigures(result)
    return ratio === null ? [] : [[result.scenario.hosts, ratio * idealSeconds(result.scenario)]]
  })
  const ideal = results.map(({ scenario }): [number, number] => [scenario.hosts, idealSeconds(scenario)])
  return lineChart({
    title: `Time until every host has the file, simulated, ${describe(results[0])}`,
    xLabel: "hosts",
    yLabel: "time (s)",
    series: [
      { name: "imagegrid", points },
      { name: "size / rate", points: ideal },
    ],
  })
}

function ratesChart(result: SimulationResult): string {
  const { intervalSeconds, meanBytesPerSecond, originBytesPerSecond, hosts } = result.rates
  const points = (rates: readonly number[]) =>
    rates.map((bytesPerSecond, index): [number, number] => [(index + 1) * intervalSeconds, megabits(bytesPerSecond)])
  return lineChart({
    title: `What each of ${result.scenario.hosts} hosts receives, simulated, ${describe(result)}`,
    xLabel: "time (s)",
    yLabel: "rate (Mbit/s)",
    series: [
      ...hosts.map(({ number, bytesPerSecond }) => ({ name: `host ${number}`, points: points(bytesPerSecond), faint: true })),
      { name: "mean", points: points(meanBytesPerSecond) },
      { name: "an origin sends", points: points(originBytesPerSecond) },
    ],
  })
}

function megabits(bytesPerSecond: number): number {
  return (bytesPerSecond * 8) / 1e6
}

function describe(result: SimulationResult | undefined): string {
  if (result === undefined) return ""
  const { contentBytes, downBytesPerSecond } = result.scenario
  return `${(contentBytes / 2 ** 20).toFixed(0)} MiB, ${megabits(downBytesPerSecond)} Mbit/s links`
}
