/** When a host that has the file leaves: this program's own rule, and those that it is compared with, so that the lab and the simulator play the same. */
import { defaultUsefulness, Usefulness } from "#client/usefulness.ts"
import type { Demand } from "#swarm/swarm.ts"

export type SeedingPolicy =
  /** This program's. */
  | { readonly kind: "useful" }
  /** The paper's: until it uploads less than 500 KB/s over 10 s. */
  | { readonly kind: "threshold" }
  /** The same, though not while a connected peer is in need. */
  | { readonly kind: "need" }
  /** Until it has uploaded so many times the file, as BitTorrent clients do. */
  | { readonly kind: "ratio"; readonly ratio: number }
  | { readonly kind: "time"; readonly ms: number }

export const seedingHelp = "useful, threshold (500 KB/s over 10 s), need (the same, and nobody connected is in need), ratio:1.5, time:60s"

const THRESHOLD_BYTES_PER_SECOND = 500_000
const THRESHOLD_OVER_MS = 10_000
/** How often a host looks. */
export const LOOK_MS = 500
/** For how long those who do not leave are watched after the last one has the file. */
export const WATCHED_MS = 600_000

/** @throws {RangeError} with what was expected */
export function readSeedingPolicy(text: string): SeedingPolicy {
  if (text === "useful" || text === "threshold" || text === "need") return { kind: text }
  const [, kind, value] = /^(ratio|time):(\d{1,6}(?:\.\d{1,3})?)s?$/.exec(text) ?? []
  if (kind === "ratio" && !text.endsWith("s")) return { kind, ratio: Number(value) }
  if (kind === "time" && text.endsWith("s")) return { kind, ms: Number(value) * 1_000 }
  throw new RangeError(`--until takes ${seedingHelp}, not ${JSON.stringify(text.slice(0, 40))}`)
}

export function seedingPolicyName(policy: SeedingPolicy): string {
  if (policy.kind === "ratio") return `ratio:${policy.ratio}`
  return policy.kind === "time" ? `time:${policy.ms / 1_000}s` : policy.kind
}

/** One host that has the file. */
export class Seeding {
  readonly #policy: SeedingPolicy
  readonly #contentBytes: number
  readonly #sinceMs: number
  readonly #usefulness: Usefulness
  /** Of the last ten seconds. */
  readonly #looks: { readonly atMs: number; readonly uploadedBytes: number }[] = []

  constructor(policy: SeedingPolicy, contentBytes: number, sinceMs: number) {
    this.#policy = policy
    this.#contentBytes = contentBytes
    this.#sinceMs = sinceMs
    this.#usefulness = new Usefulness(defaultUsefulness, sinceMs)
  }

  /** Whether to leave now. To be asked each `LOOK_MS`. */
  leaves(demand: Demand, nowMs: number): boolean {
    const policy = this.#policy
    switch (policy.kind) {
      case "useful":
        return this.#usefulness.look([demand], nowMs) !== null
      case "ratio":
        return demand.uploadedBytes >= policy.ratio * this.#contentBytes
      case "time":
        return nowMs - this.#sinceMs >= policy.ms
      default:
        return this.#isBelow(demand.uploadedBytes, nowMs) && (policy.kind === "threshold" || demand.peersInNeed === 0)
    }
  }

  #isBelow(uploadedBytes: number, nowMs: number): boolean {
    this.#looks.push({ atMs: nowMs, uploadedBytes })
    while ((this.#looks[1]?.atMs ?? nowMs) <= nowMs - THRESHOLD_OVER_MS) this.#looks.shift()
    const first = this.#looks[0]
    if (first === undefined || nowMs - first.atMs < THRESHOLD_OVER_MS) return false
    return ((uploadedBytes - first.uploadedBytes) * 1_000) / (nowMs - first.atMs) < THRESHOLD_BYTES_PER_SECOND
  }
}
