/** Predicted against measured: the scenarios that the lab ran with imagegrid, played again. */
import type { LabResult } from "../lab/lab.ts"
import { figuresOf, medianRun, type RunResult } from "../lab/result.ts"
import type { Scenario } from "../scenario.ts"
import { simulationFigures, type SimulationResult } from "./result.ts"
import { textTable } from "./table.ts"

/** The median of the lab's runs of each scenario. @throws {RangeError} when the file holds none */
export function measuredRuns(json: string): RunResult[] {
  const lab = JSON.parse(json) as Partial<LabResult>
  const comparisons = (lab.comparisons ?? []).filter(({ transport }) => transport === "imagegrid")
  if (comparisons.length === 0) throw new RangeError("--compare takes JSON that bench:swarm wrote of runs with imagegrid; this has none")
  return comparisons.map(({ runs }) => medianRun(runs))
}

export function comparedScenarios(measured: readonly RunResult[]): Scenario[] {
  return measured.map(({ scenario }) => scenario)
}

/** One line for each scenario. */
export function comparisonTable(measured: readonly RunResult[], predicted: readonly SimulationResult[]): string {
  const rows = measured.map((run, index) => {
    const lab = figuresOf(run)
    const result = predicted[index]
    const simulated = result === undefined ? null : simulationFigures(result)
    const predictedRatio = simulated?.ratio ?? null
    const error = lab.ratio === null || predictedRatio === null ? null : predictedRatio / lab.ratio - 1
    return [
      String(run.scenario.hosts),
      ratio(lab.ratio),
      ratio(predictedRatio),
      error === null ? "-" : `${error >= 0 ? "+" : ""}${(error * 100).toFixed(1)} %`,
      lab.originCopies.toFixed(2),
      simulated === null ? "-" : simulated.originCopies.reduce((sum, each) => sum + each, 0).toFixed(2),
      lab.cpuBound ? "the lab was CPU-bound" : "",
    ]
  })
  const titles = ["hosts", "measured ratio", "predicted", "error", "measured copies", "predicted", ""]
  return textTable([titles, ...rows])
    .map((line) => line.trimEnd())
    .join("\n")
}

function ratio(value: number | null): string {
  return value === null ? "-" : value.toFixed(3)
}
