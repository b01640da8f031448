/** What the lab and the simulator are asked to play: the same options with the same meaning, so that their figures can be laid side by side. */
import { byteCount } from "../cli/values.ts"

/** When hosts come: all at once, in waves, or one by one at moments drawn from a time. */
export type Arrivals =
  | { readonly kind: "together" }
  | { readonly kind: "waves"; readonly count: number; readonly everyMs: number }
  | { readonly kind: "over"; readonly ms: number }

export type Scenario = {
  /** Hosts that want the file; the origins come on top. */
  readonly hosts: number
  /** Hosts that have it from the start. */
  readonly origins: number
  readonly contentBytes: number
  readonly pieceBytes: number | null
  /** Of each host's link, per direction. */
  readonly downBytesPerSecond: number
  readonly upBytesPerSecond: number
  /** Of each origin's link, both directions. */
  readonly originBytesPerSecond: number
  /** One way, between any two. */
  readonly delayMs: number
  /** Share of packets, 0 to 1. */
  readonly loss: number
  /** The origins are in the first; the hosts are spread over all of them. */
  readonly sites: number
  /** Of each site's links to the others, per direction; null: as fast as need be. */
  readonly wideAreaBytesPerSecond: number | null
  /** One way, between two of different sites, besides. */
  readonly wideAreaDelayMs: number
  /** What the members of each site are told that all of them together may send to others; null: nothing. */
  readonly wideAreaBudgetBytesPerSecond: number | null
  /** Hosts of each site but the first that are servers. */
  readonly replicas: number
  /** Hosts of each site but the first that die midway: those that had most from other sites. */
  readonly killGateways: number
  /** Share of the hosts that die midway, 0 to 1. */
  readonly kill: number
  /** Hosts whose links have a tenth of the rate. */
  readonly slow: number
  /** Hosts that start midway. */
  readonly late: number
  readonly arrivals: Arrivals
  /** Origins that die midway. */
  readonly leave: number
  /** Hosts read the file in order while it comes. */
  readonly window: boolean
  readonly seed: number
}

/** For `parseArgs` of node:util. */
export const scenarioOptions = {
  hosts: { type: "string", default: "16" },
  origins: { type: "string", default: "1" },
  size: { type: "string", default: "64MiB" },
  piece: { type: "string" },
  rate: { type: "string", default: "30mbit" },
  up: { type: "string" },
  "origin-rate": { type: "string" },
  delay: { type: "string", default: "0ms" },
  loss: { type: "string", default: "0%" },
  sites: { type: "string", default: "1" },
  wan: { type: "string" },
  "wan-delay": { type: "string", default: "0ms" },
  "wan-budget": { type: "string" },
  replicas: { type: "string", default: "0" },
  "kill-gateways": { type: "string", default: "0" },
  kill: { type: "string", default: "0%" },
  slow: { type: "string", default: "0" },
  late: { type: "string", default: "0" },
  arrive: { type: "string", default: "together" },
  leave: { type: "string", default: "0" },
  window: { type: "boolean", default: false },
  seed: { type: "string", default: "1" },
} as const

/** For `--help`. */
export const scenarioHelp = `  --hosts N           hosts that want the file (16)
  --origins N         hosts that have it from the start (1)
  --size BYTES        of the file: 64MiB, 2100MB (64MiB)
  --piece BYTES       of one piece (what publishing would choose)
  --rate RATE         of every link, each way: 30mbit, 1gbit (30mbit)
  --up RATE           of the hosts' uplinks (as --rate)
  --origin-rate RATE  of the origins' links, each way (as --rate)
  --delay TIME        between any two, one way: 5ms (0ms)
  --loss PERCENT      of packets: 0.1% (0%)
  --sites N           the origins are in the first, the hosts in all of them (1)
  --wan RATE          of each site's links to the others, each way (as fast as need be)
  --wan-delay TIME    between two of different sites, one way, besides (0ms)
  --wan-budget RATE   what members are told that all of their site may send to others (nothing)
  --replicas N        hosts of each site but the first that are servers (0)
  --kill-gateways N   hosts of each site but the first that die midway, those that had most from other sites (0)
  --kill PERCENT      of the hosts that die midway (0%)
  --slow N            hosts whose links have a tenth of the rate (0)
  --late N            hosts that start midway (0)
  --arrive WHEN       hosts come together, in waves:2:60s, or one by one over:180s (together)
  --leave N           origins that die midway (0)
  --window            hosts read the file in order while it comes
  --seed N            of all that is random (1)
  Midway is half of the time that one host of the site alone would need: size / rate / 2, size / wan / 2 at sites without origins.`

type Values = { readonly [name in keyof typeof scenarioOptions]?: string | boolean | undefined }

/** @throws {GridError} USAGE, {RangeError} with what was expected */
export function readScenario(values: Values): Scenario {
  const text = (name: keyof Values) => String(values[name])
  const rate = readRate("--rate", text("rate"))
  const scenario = {
    hosts: readCount("--hosts", text("hosts"), 1),
    origins: readCount("--origins", text("origins"), 1),
    contentBytes: byteCount("--size", text("size")),
    pieceBytes: values.piece === undefined ? null : byteCount("--piece", text("piece")),
    downBytesPerSecond: rate,
    upBytesPerSecond: values.up === undefined ? rate : readRate("--up", text("up")),
    originBytesPerSecond: values["origin-rate"] === undefined ? rate : readRate("--origin-rate", text("origin-rate")),
    delayMs: readNumber("--delay", text("delay"), /^([\d.]+)ms$/, "5ms"),
    loss: readShare("--loss", text("loss")),
    sites: readCount("--sites", text("sites"), 1),
    wideAreaBytesPerSecond: values.wan === undefined ? null : readRate("--wan", text("wan")),
    wideAreaDelayMs: readNumber("--wan-delay", text("wan-delay"), /^([\d.]+)ms$/, "20ms"),
    wideAreaBudgetBytesPerSecond: values["wan-budget"] === undefined ? null : readRate("--wan-budget", text("wan-budget")),
    replicas: readCount("--replicas", text("replicas"), 0),
    killGateways: readCount("--kill-gateways", text("kill-gateways"), 0),
    kill: readShare("--kill", text("kill")),
    slow: readCount("--slow", text("slow"), 0),
    late: readCount("--late", text("late"), 0),
    arrivals: readArrivals(text("arrive")),
    leave: readCount("--leave", text("leave"), 0),
    window: values.window === true,
    seed: readCount("--seed", text("seed"), 0),
  }
  if (scenario.slow + scenario.late >= scenario.hosts)
    throw new RangeError("--slow and --late together must leave a host of the usual kind")
  if (scenario.arrivals.kind !== "together" && scenario.late + scenario.kill > 0)
    throw new RangeError("--arrive goes with neither --late nor --kill: midway is a moment of those who come together")
  if (scenario.sites > scenario.hosts) throw new RangeError(`--sites ${scenario.sites} with ${scenario.hosts} hosts`)
  if (scenario.leave > scenario.origins) throw new RangeError(`--leave ${scenario.leave} of ${scenario.origins} origins`)
  return scenario
}

/** The time that one host alone, at the origins' site or another, would need on links without overhead: what every ratio is to. */
export function idealSeconds(scenario: Scenario, site: "origins" | "other" = "origins"): number {
  const { contentBytes, downBytesPerSecond, wideAreaBytesPerSecond } = scenario
  const crossing = site === "other" ? (wideAreaBytesPerSecond ?? downBytesPerSecond) : downBytesPerSecond
  return contentBytes / Math.min(downBytesPerSecond, crossing)
}

/** The same for a site by its number. */
export function idealSecondsAt(scenario: Scenario, site: number): number {
  return idealSeconds(scenario, site === 0 ? "origins" : "other")
}

function readArrivals(text: string): Arrivals {
  if (text === "together") return { kind: "together" }
  const [, count, every] = /^waves:(\d{1,4}):(\d{1,6})s$/.exec(text) ?? []
  if (Number(count) > 0) return { kind: "waves", count: Number(count), everyMs: Number(every) * 1_000 }
  const [, seconds] = /^over:(\d{1,6})s$/.exec(text) ?? []
  if (seconds !== undefined) return { kind: "over", ms: Number(seconds) * 1_000 }
  throw new RangeError(`--arrive is together, or such as waves:2:60s or over:180s, not ${JSON.stringify(text.slice(0, 40))}`)
}

/** `30mbit` as bytes per second. */
function readRate(option: string, text: string): number {
  const unit = text.endsWith("gbit") ? 1e9 : 1e6
  return (readNumber(option, text, /^([\d.]+)[mg]bit$/, "30mbit or 1gbit") * unit) / 8
}

function readShare(option: string, text: string): number {
  return readNumber(option, text, /^([\d.]+)%$/, "25%") / 100
}

function readCount(option: string, text: string, least: number): number {
  const count = readNumber(option, text, /^(\d+)$/, "16")
  if (count < least) throw new RangeError(`${option} is at least ${least}, not ${count}`)
  return count
}

function readNumber(option: string, text: string, form: RegExp, example: string): number {
  const number = Number(form.exec(text)?.[1])
  if (!Number.isFinite(number)) throw new RangeError(`${option} is such as ${example}, not ${JSON.stringify(text.slice(0, 40))}`)
  return number
}
