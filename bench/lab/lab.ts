/** Everything that was asked for, run by run, and what came out of it. */
import { existsSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { reasonOf } from "#core/errors.ts"
import { idealSeconds } from "../scenario.ts"
import { seedingTable } from "../seeding-figures.ts"
import { makeContent } from "./content.ts"
import { clearLeftovers, labName } from "./leftovers.ts"
import { availableMemoryBytes, describeMachine, type Machine } from "./machine.ts"
import type { LabOptions } from "./options.ts"
import { figuresOf, medianRun, type RunResult } from "./result.ts"
import { runTransport } from "./run.ts"
import { describeShaping } from "./shaping.ts"
import { resultTable } from "./table.ts"
import { transportOf } from "./transports/all.ts"
import type { Transport } from "./transports/transport.ts"

export type Comparison = {
  readonly hosts: number
  readonly transport: string
  readonly settings: string
  /** In the order in which they were made; at least one. */
  readonly runs: readonly RunResult[]
}

export type LabResult = {
  readonly machine: Machine
  readonly shaping: string
  readonly congestion: string
  readonly offload: boolean
  readonly skipped: readonly string[]
  /** Runs of which nothing counts. */
  readonly failures: readonly string[]
  /** One for each number of hosts and transport. */
  readonly comparisons: readonly Comparison[]
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
  const { scenarios } = options
  const [{ contentBytes, pieceBytes, downBytesPerSecond }] = scenarios
  const root = existsSync(SHARED_MEMORY) ? SHARED_MEMORY : tmpdir()
  await clearLeftovers(root)
  const transports = options.transports.map(transportOf)
  const [installed, skipped] = partition(transports)
  for (const { hosts } of scenarios) {
    const memoryBytes = installed.map((transport) => memoryOf(transport, hosts, contentBytes))
    requireMemory(Math.max(0, ...memoryBytes), hosts)
  }
  await using ending = new AsyncDisposableStack()
  const directory = ending.adopt(await mkdtemp(join(root, labName(process.pid, ""))), (path) => rm(path, { recursive: true, force: true }))
  const content = await makeContent({ contentBytes, pieceBytes }, directory)
  const shaping = describeShaping(downBytesPerSecond)
  say(`${contentBytes} bytes in ${content.torrent.pieceCount} pieces: ${idealSeconds(scenarios[0]).toFixed(2)} s at the links' rate`)
  say(`links: ${shaping}; TCP ${options.congestion}, segmentation offload ${options.offload ? "on" : "off"}`)
  const comparisons: Comparison[] = []
  const failures: string[] = []
  for (const scenario of scenarios) {
    const able = installed.filter((transport) => {
      const refusal = transport.refuses(scenario)
      if (refusal !== null) skipped.push(`${transport.name} (${refusal})`)
      return refusal === null
    })
    const played = able.map((transport) => ({ transport, runs: [] as RunResult[] }))
    // In turns, so that what disturbs the machine for a while disturbs all alike.
    for (let run = 1; run <= options.repeat; run += 1)
      for (const { transport, runs } of played) {
        say(`\n${scenario.hosts} hosts, ${transport.name} (${transport.settings}), run ${run} of ${options.repeat}`)
        try {
          const result = await runTransport({ transport, content, directory }, scenario, { ...options, signal })
          runs.push(result)
          say(resultTable([result]))
          if (options.until !== null) say(seedingTable([{ result, originCopies: figuresOf(result).originCopies }]))
        } catch (error) {
          signal.throwIfAborted()
          failures.push(`${transport.name} with ${scenario.hosts} hosts: ${reasonOf(error)}`)
          say(`failed: ${reasonOf(error)}`)
        }
      }
    const { hosts } = scenario
    for (const { transport, runs } of played)
      if (runs.length > 0) comparisons.push({ hosts, transport: transport.name, settings: transport.settings, runs })
  }
  for (const { hosts } of scenarios) {
    say(`\n${hosts} hosts, medians of ${options.repeat}`)
    say(resultTable(comparisons.filter((each) => each.hosts === hosts).map(({ runs }) => medianRun(runs))))
  }
  for (const each of skipped) say(`skipped: ${each}`)
  for (const each of failures) say(`failed: ${each}`)
  return { machine: describeMachine(), shaping, congestion: options.congestion, offload: options.offload, skipped, failures, comparisons }
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
