/** `npm run bench:simulate`: the simulator. Plays one file to up to tens of thousands of hosts in memory and tells how long each took. `--help` lists the options. */
import { mkdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { seedingTable } from "./seeding-figures.ts"
import { comparedScenarios, comparisonTable, measuredRuns } from "./simulator/compare.ts"
import { simulatorFigures } from "./simulator/figures.ts"
import { readSimulatorOptions, simulatorHelp, type SimulatorOptions } from "./simulator/options.ts"
import type { Progress } from "./simulator/play.ts"
import { playInWorker, RunBroken } from "./simulator/play-in-worker.ts"
import { simulationFigures, type SimulationResult } from "./simulator/result.ts"
import { simulationTable } from "./simulator/table.ts"

const args = process.argv.slice(2)

async function main(options: SimulatorOptions): Promise<void> {
  const measured = options.comparePath === null ? [] : measuredRuns(await readFile(options.comparePath, "utf8"))
  const scenarios = measured.length === 0 ? options.scenarios : comparedScenarios(measured)
  const results: SimulationResult[] = []
  const runs = scenarios.flatMap((scenario) => options.policies.map((until) => ({ scenario, until })))
  for (const { scenario, until } of runs) {
    const result = await playInWorker(scenario, { ...options, until }, options.progress ? showProgress : () => undefined)
    if (options.progress) process.stderr.write("\n")
    results.push(result)
    if (runs.length > 1) console.log(simulationTable([result]))
  }
  console.log(simulationTable(results))
  if (options.policies.some((until) => until !== null))
    console.log(seedingTable(results.map((result) => ({ result, originCopies: originCopies(result) }))))
  if (measured.length > 0) console.log(comparisonTable(measured, results))
  if (options.jsonPath !== null) await writeFile(options.jsonPath, JSON.stringify({ results }))
  if (options.figuresDirectory !== null) await writeFigures(options.figuresDirectory, results)
  if (results.some(({ outcome }) => outcome !== "finished")) process.exitCode = 1
}

function originCopies(result: SimulationResult): number {
  return simulationFigures(result).originCopies.reduce((sum, each) => sum + each, 0)
}

async function writeFigures(directory: string, results: readonly SimulationResult[]): Promise<void> {
  await mkdir(directory, { recursive: true })
  for (const { name, svg } of simulatorFigures(results)) await writeFile(join(directory, name), svg)
}

function showProgress({ simulatedSeconds, wallSeconds, done }: Progress): void {
  const left = done > 0 ? `${(wallSeconds / done - wallSeconds).toFixed(0)} s left` : "no bytes yet"
  const rate = (simulatedSeconds / wallSeconds).toFixed(3)
  process.stderr.write(`\r${simulatedSeconds.toFixed(2)} s simulated, ${rate} of real time, ${(done * 100).toFixed(1)} % done, ${left}   `)
}

try {
  const options = readSimulatorOptions(args)
  if (options === null) console.log(simulatorHelp)
  else await main(options)
} catch (error) {
  if (!(error instanceof Error)) throw error
  process.exitCode = error instanceof RunBroken ? 1 : 2
  console.error(error instanceof RunBroken ? `${error.message}\nagain with: npm run bench:simulate -- ${args.join(" ")}` : error.message)
}
