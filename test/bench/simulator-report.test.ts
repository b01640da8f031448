import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { text } from "node:stream/consumers"
import { test } from "node:test"
import { comparisonTable, measuredRuns } from "../../bench/simulator/compare.ts"
import { simulatorFigures } from "../../bench/simulator/figures.ts"
import { readSimulatorOptions } from "../../bench/simulator/options.ts"
import { playScenario } from "../../bench/simulator/play.ts"
import type { SimulationResult } from "../../bench/simulator/result.ts"
import { simulationTable } from "../../bench/simulator/table.ts"
import { runOf } from "./lab-results.ts"

function played(...args: readonly string[]): SimulationResult[] {
  const options = readSimulatorOptions(["--size", "1MiB", "--rate", "20mbit", ...args])
  assert.ok(options)
  return options.scenarios.map((scenario) => playScenario(scenario, { ...options, until: options.policies[0] ?? null }, () => undefined))
}

/** As if the lab had measured `factor` times what was simulated. */
function labJson(result: SimulationResult, factor: number): string {
  const seconds = result.hosts.flatMap((host) => (host.seconds === null ? [] : [host.seconds * factor]))
  const comparisons = ["rsync", "imagegrid"].map((transport) => ({
    transport,
    runs: [runOf(transport, seconds, { scenario: result.scenario })],
  }))
  return JSON.stringify({ comparisons })
}

test("the table tells each origin's copies, slow and late hosts, and the digest of the trace", () => {
  const table = simulationTable(played("--hosts", "6", "--origins", "2", "--slow", "1", "--late", "1", "--trace"))
  for (const expected of [
    /ratio +median +first +origin copies +dup % +control % +links/,
    /copies of each origin: [\d.]+ [\d.]+\n/,
    /1 slow: /,
    /1 late: /,
    /trace of \d+ events: [0-9a-f]{64}/,
  ])
    assert.match(table, expected)
})

test("the error of a prediction is told by its sign and size, of runs with imagegrid alone", () => {
  const results = played("--hosts", "4")
  const [result] = results
  assert.ok(result)
  const measured = measuredRuns(labJson(result, 1.25))
  assert.equal(measured.length, 1)
  assert.match(comparisonTable(measured, results), /-20\.0 %/)
  assert.throws(() => measuredRuns(`{"comparisons":[{"transport":"rsync","runs":[]}]}`), /imagegrid; this has none/)
})

test("a sweep has a figure of time against hosts, and one of rates for each number of hosts", () => {
  const figures = simulatorFigures(played("--sweep", "2,4"))
  assert.deepEqual(
    figures.map(({ name }) => name),
    ["simulated-time-against-hosts.svg", "simulated-rates-2.svg", "simulated-rates-4.svg"],
  )
  for (const { svg } of figures) assert.match(svg, /^<svg /)
})

test("options that make no sense are refused with what was expected", () => {
  for (const [args, expected] of [
    [["--block", "1000"], /multiple of 16384/],
    [["--found", "many"], /--found takes whole numbers/],
    [["--limit", "0"], /--limit takes whole numbers from 1/],
    [["--sweep", "4,none"], /--hosts is such as 16/],
  ] as const)
    assert.throws(() => readSimulatorOptions(args), expected)
  assert.equal(readSimulatorOptions(["--help"]), null)
})

test("the program writes what it prints as JSON and figures, and the same again", async () => {
  const directory = await mkdtemp(join(tmpdir(), "imagegrid-simulate-"))
  try {
    const json = join(directory, "result.json")
    const figures = join(directory, "figures")
    const words = ["--hosts", "4", "--size", "1MiB", "--rate", "20mbit", "--trace", "--json", json, "--figures", figures]
    const digests: (string | null | undefined)[] = []
    for (let round = 0; round < 2; round += 1) {
      const child = spawn(process.execPath, [join(import.meta.dirname, "../../bench/simulate.ts"), ...words], {
        stdio: ["ignore", "pipe", "inherit"],
      })
      const [output, [code]] = await Promise.all([text(child.stdout), once(child, "exit")])
      assert.equal(code, 0)
      const { results } = JSON.parse(await readFile(json, "utf8")) as { results: SimulationResult[] }
      digests.push(results[0]?.digest)
      assert.ok(output.includes(results[0]?.digest ?? "none"))
    }
    assert.equal(digests[0], digests[1])
    assert.deepEqual(await readdir(figures), ["simulated-rates-4.svg"])
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})
