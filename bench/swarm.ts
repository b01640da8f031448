/** `npm run bench:swarm`: the lab. Gives one file to many hosts over shaped links, by several transports, and tells how long each took. `--help` lists the options. */
import { existsSync } from "node:fs"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { idealSeconds } from "./scenario.ts"
import { makeContent } from "./lab/content.ts"
import { describeMachine } from "./lab/machine.ts"
import { deadNamespaces, listNamespaces, removeNamespaces } from "./lab/namespaces.ts"
import { labHelp, readLabOptions, type LabOptions } from "./lab/options.ts"
import { figuresOf, type RunResult } from "./lab/result.ts"
import { runTransport } from "./lab/run.ts"
import { describeShaping } from "./lab/shaping.ts"
import { resultTable } from "./lab/table.ts"
import { transportOf } from "./lab/transports/all.ts"

const SHARED_MEMORY = "/dev/shm"

async function main(options: LabOptions, signal: AbortSignal): Promise<void> {
  await removeNamespaces(deadNamespaces(await listNamespaces()))
  const { scenario } = options
  await using ending = new AsyncDisposableStack()
  const directory = ending.adopt(
    await mkdtemp(join(existsSync(SHARED_MEMORY) ? SHARED_MEMORY : tmpdir(), `imagegrid-lab-${process.pid}-`)),
    (path) => rm(path, { recursive: true, force: true }),
  )
  const content = await makeContent(scenario, directory)
  console.log(`${scenario.contentBytes} bytes in ${content.torrent.pieceCount} pieces; ideal ${idealSeconds(scenario).toFixed(2)} s`)
  console.log(describeShaping(scenario.downBytesPerSecond))
  const results: RunResult[] = []
  for (const hosts of options.sweep)
    for (const name of options.transports) {
      const transport = transportOf(name)
      const missing = transport.missing()
      if (missing !== null) {
        console.log(`skipped: ${name} (${missing} is not installed)`)
        continue
      }
      const runs: RunResult[] = []
      for (let run = 0; run < options.repeat; run += 1) {
        const result = await runTransport({ transport, content, directory }, { ...scenario, hosts }, { ...options, signal })
        runs.push(result)
        console.log(resultTable([result]))
      }
      results.push(medianRun(runs))
    }
  console.log(resultTable(results))
  if (options.jsonPath !== null) await writeFile(options.jsonPath, JSON.stringify({ machine: describeMachine(), scenario, results }))
}

/** The run of the median ratio; one that did not finish counts as the slowest. */
function medianRun(runs: readonly RunResult[]): RunResult {
  const ratio = (run: RunResult) => figuresOf(run).ratio ?? Number.POSITIVE_INFINITY
  const sorted = [...runs].sort((a, b) => (ratio(a) < ratio(b) ? -1 : 1))
  const median = sorted[(sorted.length - 1) >> 1]
  if (median === undefined) throw new RangeError("no runs")
  return median
}

const controller = new AbortController()
for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => controller.abort(new Error(`ended by ${name}`)))
const options = readLabOptions(process.argv.slice(2))
if (options === null) console.log(labHelp)
else if (process.getuid?.() !== 0) {
  console.error("bench:swarm makes network namespaces and shapes links: run it as root")
  process.exitCode = 77
} else await main(options, controller.signal)
