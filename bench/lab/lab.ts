/** Everything that was asked for, run by run, and what came out of it. */
import { existsSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { idealSeconds } from "../scenario.ts"
import { makeContent } from "./content.ts"
import { clearLeftovers, labName } from "./leftovers.ts"
import { availableMemoryBytes, describeMachine, type Machine } from "./machine.ts"
import type { LabOptions } from "./options.ts"
import { medianRun, type RunResult } from "./result.ts"
import { runTransport } from "./run.ts"
import { describeShaping } from "./shaping.ts"
import { resultTable } from "./table.ts"
import { transportOf } from "./transports/all.ts"
import type { Transport } from "./transports/transport.ts"

export type LabResult = {
  readonly machine: Machine
  readonly shaping: string
  readonly congestion: string
  readonly offload: boolean
  readonly skipped: readonly string[]
  /** For each number of hosts and transport, all runs in the order in which they were made. */
  readonly comparisons: readonly {
    readonly hosts: number
    readonly transport: string
    readonly settings: string
    readonly runs: readonly RunResult[]
  }[]
}

const SHARED_MEMORY = "/dev/shm"
/** Of the memory that is free, what a lab may take. */
const MEMORY_SHARE = 0.9

/**
 * Leaves nothing behind, whether it ends well or not.
 * @throws {RangeError} when the machine lacks the memory
 * @throws the signal's reason
 */
export async function playLab(options: LabOptions, say: (text: string) => void, signal: AbortSignal): Promise<LabResult> {
  const { scenario } = options
  const root = existsSync(SHARED_MEMORY) ? SHARED_MEMORY : tmpdir()
  await clearLeftovers(root)
  const transports = options.transports.map(transportOf)
  const [installed, skipped] = partition(transports)
  for (const hosts of options.sweep)
    requireMemory(Math.max(...installed.map((transport) => memoryOf(transport, hosts, scenario.contentBytes))), hosts)
  await using ending = new AsyncDisposableStack()
  const directory = ending.adopt(await mkdtemp(join(root, labName(process.pid, ""))), (path) => rm(path, { recursive: true, force: true }))
  const content = await makeContent(scenario, directory)
  const shaping = describeShaping(scenario.downBytesPerSecond)
  say(`${scenario.contentBytes} bytes in ${content.torrent.pieceCount} pieces: ${idealSeconds(scenario).toFixed(2)} s at the links' rate`)
  say(`links: ${shaping}; TCP ${options.congestion}, segmentation offload ${options.offload ? "on" : "off"}`)
  const comparisons = []
  for (const hosts of options.sweep)
    for (const transport of installed) {
      const played = { ...scenario, hosts }
      const refusal = transport.refuses(played)
      if (refusal !== null) {
        skipped.push(`${transport.name} (${refusal})`)
        continue
      }
      const runs: RunResult[] = []
      for (let run = 1; run <= options.repeat; run += 1) {
        const result = await runTransport({ transport, content, directory }, played, { ...options, signal })
        runs.push(result)
        say(`\n${hosts} hosts, ${transport.name} (${transport.settings})${options.repeat > 1 ? `, run ${run} of ${options.repeat}` : ""}`)
        say(resultTable([result]))
      }
      comparisons.push({ hosts, transport: transport.name, settings: transport.settings, runs })
    }
  for (const hosts of options.sweep) {
    say(`\n${hosts} hosts${options.repeat > 1 ? `, medians of ${options.repeat}` : ""}`)
    say(resultTable(comparisons.filter((each) => each.hosts === hosts).map(({ runs }) => medianRun(runs))))
  }
  for (const each of skipped) say(`skipped: ${each}`)
  return { machine: describeMachine(), shaping, congestion: options.congestion, offload: options.offload, skipped, comparisons }
}

function partition(transports: readonly Transport[]): [Transport[], string[]] {
  const installed: Transport[] = []
  const skipped: string[] = []
  for (const transport of transports) {
    const missing = transport.missing()
    if (missing === null) installed.push(transport)
    else skipped.push(`${transport.name} (${missing} is not installed)`)
  }
  return [installed, skipped]
}

/** The file once for all, and once for each host; and the processes. */
function memoryOf(transport: Transport, hosts: number, contentBytes: number): number {
  return (hosts + 2) * contentBytes + (hosts + 1) * transport.residentBytesPerHost
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1)
}

function requireMemory(neededBytes: number, hosts: number): void {
  const freeBytes = availableMemoryBytes()
  if (neededBytes > freeBytes * MEMORY_SHARE)
    throw new RangeError(
      `${hosts} hosts need about ${gigabytes(neededBytes)} GB of memory and ${gigabytes(freeBytes)} GB are free: play fewer hosts or a smaller file`,
    )
}
