/** The lab's command line. */
import { parseArgs } from "node:util"
import { readScenario, scenarioHelp, scenarioOptions, type Scenario } from "../scenario.ts"
import { readSeedingPolicy, seedingHelp, type SeedingPolicy } from "../seeding.ts"
import { transportNames } from "./transports/all.ts"

export type LabOptions = {
  /** One after the other; they differ in the number of hosts alone. */
  readonly scenarios: readonly [Scenario, ...Scenario[]]
  readonly transports: readonly string[]
  readonly repeat: number
  /** When hosts that have the file leave; null: not before the end. */
  readonly until: SeedingPolicy | null
  readonly limitSeconds: number | null
  readonly restSeconds: number
  readonly congestion: string
  readonly offload: boolean
  readonly jsonPath: string | null
  readonly figuresDirectory: string | null
}

export const labHelp = `Usage: npm run bench:swarm -- [options]        (as root)

Gives one file to many hosts, each in a network of its own behind a link of its own, and tells how long it took.

${scenarioHelp}
  --transport LIST    of ${transportNames.join(", ")} (imagegrid)
  --sweep LIST        several numbers of hosts, one after the other: 4,8,16
  --repeat N          runs of each; the median counts (1)
  --until POLICY      when hosts that have the file leave: ${seedingHelp}; without it not before the end; imagegrid alone
  --limit SECONDS     ends a run that takes longer (by transport: 10 s and many times the ideal)
  --rest SECONDS      waits at most so long, before each run, for other work to end (10)
  --congestion NAME   of TCP (cubic)
  --offload           lets the kernel pass on several segments of a connection as one (less CPU; headers are charged all the same)
  --json FILE         everything that was measured
  --figures DIR       figures as SVG
  --help              this

Example: npm run bench:swarm -- --hosts 16 --rate 30mbit --size 64MiB --transport imagegrid,libtorrent,udpcast,rsync,webtorrent`

/** null: help is wanted. @throws {RangeError} or {TypeError} or {GridError} with what was expected */
export function readLabOptions(args: readonly string[]): LabOptions | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...scenarioOptions,
      transport: { type: "string", default: "imagegrid" },
      sweep: { type: "string" },
      repeat: { type: "string", default: "1" },
      until: { type: "string" },
      limit: { type: "string" },
      rest: { type: "string", default: "10" },
      congestion: { type: "string", default: "cubic" },
      offload: { type: "boolean", default: false },
      json: { type: "string" },
      figures: { type: "string" },
      help: { type: "boolean", default: false },
    },
  })
  if (values.help) return null
  if (values["kill-gateways"] !== "0") throw new RangeError("--kill-gateways is the simulator's: the lab does not see who fetches what")
  if (values["wan-delay"] !== "0ms")
    throw new RangeError("--wan-delay is the simulator's: between the lab's sites bytes wait in queues alone")
  const [hosts, ...more] = values.sweep === undefined ? [values.hosts] : values.sweep.split(",")
  const scenarioOf = (hostCount = values.hosts) => readScenario({ ...values, hosts: hostCount })
  const transports = values.transport.split(",")
  for (const name of transports)
    if (!transportNames.includes(name)) throw new RangeError(`--transport takes ${transportNames.join(", ")}, not ${JSON.stringify(name)}`)
  if (values.until !== undefined && transports.some((name) => name !== "imagegrid"))
    throw new RangeError("--until is imagegrid's: of others it is not known who needs them")
  return {
    scenarios: [scenarioOf(hosts), ...more.map(scenarioOf)],
    transports: [...new Set(transports)],
    repeat: count("--repeat", values.repeat),
    until: values.until === undefined ? null : readSeedingPolicy(values.until),
    limitSeconds: values.limit === undefined ? null : count("--limit", values.limit),
    restSeconds: count("--rest", values.rest, 0),
    congestion: congestion(values.congestion),
    offload: values.offload,
    jsonPath: values.json ?? null,
    figuresDirectory: values.figures ?? null,
  }
}

function count(option: string, text: string, least = 1): number {
  if (!/^\d{1,6}$/.test(text) || Number(text) < least)
    throw new RangeError(`${option} takes whole numbers from ${least}, not ${JSON.stringify(text.slice(0, 40))}`)
  return Number(text)
}

/** It becomes a word of a command: letters alone. */
function congestion(text: string): string {
  if (!/^[a-z]{1,15}$/.test(text))
    throw new RangeError(`--congestion is such as cubic, reno or bbr, not ${JSON.stringify(text.slice(0, 40))}`)
  return text
}
