/** The simulator's command line. */
import { parseArgs } from "node:util"
import { BLOCK_BYTES } from "#core/torrent.ts"
import { byteCount } from "../../cli/values.ts"
import { readScenario, scenarioHelp, scenarioOptions, type Scenario } from "../scenario.ts"
import { readSeedingPolicy, seedingHelp } from "../seeding.ts"
import type { PlayOptions } from "./play.ts"

export type SimulatorOptions = Omit<PlayOptions, "until"> & {
  /** One run of each scenario for each. */
  readonly policies: readonly PlayOptions["until"][]
  /** One for each number of hosts. */
  readonly scenarios: readonly Scenario[]
  readonly progress: boolean
  readonly comparePath: string | null
  readonly jsonPath: string | null
  readonly figuresDirectory: string | null
}

export const simulatorHelp = `Usage: npm run bench:simulate -- [options]

Plays a swarm in memory: the product's own core decides for each host, links and clock are a model's. The same seed gives the same run.

${scenarioHelp}
  --sweep LIST        several numbers of hosts, one after the other: 100,1000,10000
  --block BYTES       asked for at a time (16 KiB; a quarter of a piece to a whole one in very large runs)
  --found N           other hosts that discovery tells each of at its start (0)
  --until LIST        when clients that have the file leave, one run each: ${seedingHelp}; without it not before the end
  --limit SECONDS     of simulated time (20 times the ideal, after the last one came)
  --trace             prints a digest of all that happened
  --progress          tells on standard error how far it is
  --compare FILE      JSON of bench:swarm: plays what was measured there and tells the error
  --json FILE         everything that came out
  --figures DIR       figures as SVG
  --help              this

Example: npm run bench:simulate -- --hosts 10000 --size 2100MB --rate 1gbit --progress`

/** null: help is wanted. @throws {RangeError} or {TypeError} or {GridError} with what was expected */
export function readSimulatorOptions(args: readonly string[]): SimulatorOptions | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...scenarioOptions,
      sweep: { type: "string" },
      block: { type: "string" },
      found: { type: "string", default: "0" },
      until: { type: "string" },
      limit: { type: "string" },
      trace: { type: "boolean", default: false },
      progress: { type: "boolean", default: false },
      compare: { type: "string" },
      json: { type: "string" },
      figures: { type: "string" },
      help: { type: "boolean", default: false },
    },
  })
  if (values.help) return null
  const counts = values.sweep?.split(",") ?? [values.hosts]
  return {
    scenarios: counts.map((hosts) => readScenario({ ...values, hosts })),
    blockBytes: values.block === undefined ? null : blockBytes(values.block),
    found: wholeNumber("--found", values.found, 0),
    policies: values.until?.split(",").map(readSeedingPolicy) ?? [null],
    limitSeconds: values.limit === undefined ? null : wholeNumber("--limit", values.limit, 1),
    trace: values.trace,
    progress: values.progress,
    comparePath: values.compare ?? null,
    jsonPath: values.json ?? null,
    figuresDirectory: values.figures ?? null,
  }
}

function blockBytes(text: string): number {
  const bytes = byteCount("--block", text)
  if (bytes < BLOCK_BYTES || bytes % BLOCK_BYTES !== 0) throw new RangeError(`--block is a multiple of ${BLOCK_BYTES}, not ${bytes}`)
  return bytes
}

function wholeNumber(option: string, text: string, least: number): number {
  const number = Number(text)
  if (!/^\d{1,6}$/.test(text) || number < least)
    throw new RangeError(`${option} takes whole numbers from ${least}, not ${JSON.stringify(text.slice(0, 40))}`)
  return number
}
