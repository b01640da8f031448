/**
 * What clients say of their deploys: those that go on and those that ended, bounded in number. Pure: takes reports and the time, and says what is new to be kept. What a
 * client says is its own word; whose it is the certificate says.
 */
import { GridError } from "#core/errors.ts"
import type { Deployment, DeployProgress } from "#core/wire.ts"

export type DeploymentLimits = {
  /** Of all clients together: their pauses grow with their number. */
  readonly reportsPerSecondMax: number
  readonly pauseMinMs: number
  readonly pauseMaxMs: number
  readonly keptMax: number
  readonly keptMs: number
  /** New ones of one member within an hour. */
  readonly begunPerHourMax: number
}
export const deploymentLimits: DeploymentLimits = {
  reportsPerSecondMax: 50,
  pauseMinMs: 2_000,
  pauseMaxMs: 300_000,
  keptMax: 20_000,
  keptMs: 90 * 24 * 3_600_000,
  begunPerHourMax: 100,
}

/** A client is silent after so many of the pauses that it was asked for have gone by, and a little; lost after so many. */
const SILENT_PAUSES = 2
const LOST_PAUSES = 10
const GRACE_MS = 10_000
const HOUR_MS = 3_600_000

/** Open until its client told how it ended. */
type Entry = { deployment: Deployment; isOpen: boolean; pauseMs: number }

export class DeploymentTable {
  readonly #limits: DeploymentLimits
  /** By member and deployment, the least lately heard first. */
  readonly #entries = new Map<string, Entry>()
  readonly #changed = new Set<string>()
  readonly #gone = new Set<string>()
  readonly #begun = new Map<string, number>()
  #begunUntilMs = 0
  #openCount = 0

  constructor(limits: DeploymentLimits = deploymentLimits) {
    this.#limits = limits
  }

  /** Takes back what an earlier process kept. */
  restore(kept: readonly Deployment[]): void {
    for (const deployment of kept) {
      const isOpen = deployment.state === "running" || deployment.state === "silent"
      if (isOpen) this.#openCount += 1
      this.#entries.set(keyOf(deployment), { deployment, isOpen, pauseMs: this.#limits.pauseMinMs })
    }
  }

  /** Returns when the client is to say more. @throws {GridError} API_REFUSED for a member that begins too many */
  hear(memberId: string, report: DeployProgress, nowMs: number): number {
    const key = `${memberId} ${report.deployment}`
    const before = this.#entries.get(key)
    if (before === undefined) this.#countBegun(memberId, nowMs)
    this.#entries.delete(key)
    const isOpen = report.phase !== "left" && report.phase !== "failed"
    this.#openCount += Number(isOpen) - Number(before?.isOpen ?? false)
    const pauseMs = this.#pauseMs()
    const deployment = merged(memberId, report, before?.deployment ?? null, nowMs)
    this.#entries.set(key, { deployment, isOpen, pauseMs })
    this.#changed.add(key)
    this.#trim(nowMs)
    return pauseMs
  }

  /** All, the newest first. */
  list(nowMs: number): Deployment[] {
    return [...this.#entries.values()]
      .map(({ deployment, isOpen, pauseMs }) => (isOpen ? seenAt(deployment, pauseMs, nowMs) : deployment))
      .sort((a, b) => b.startedAtMs - a.startedAtMs)
  }

  /** What is to be written down since the last call. */
  takeChanges(nowMs: number): { readonly kept: readonly Deployment[]; readonly gone: readonly string[] } {
    this.#trim(nowMs)
    const kept = [...this.#changed].flatMap((key) => this.#entries.get(key)?.deployment ?? [])
    const gone = [...this.#gone]
    this.#changed.clear()
    this.#gone.clear()
    return { kept, gone }
  }

  #pauseMs(): number {
    const { reportsPerSecondMax, pauseMinMs, pauseMaxMs } = this.#limits
    return Math.round(Math.min(pauseMaxMs, Math.max(pauseMinMs, (this.#openCount / reportsPerSecondMax) * 1_000)))
  }

  #countBegun(memberId: string, nowMs: number): void {
    if (nowMs >= this.#begunUntilMs) {
      this.#begun.clear()
      this.#begunUntilMs = nowMs + HOUR_MS
    }
    const count = (this.#begun.get(memberId) ?? 0) + 1
    if (count > this.#limits.begunPerHourMax)
      throw new GridError(
        "API_REFUSED",
        `member ${memberId} reports more than ${this.#limits.begunPerHourMax} deploys begun within an hour`,
      )
    this.#begun.set(memberId, count)
  }

  #trim(nowMs: number): void {
    for (const [key, { deployment, isOpen }] of this.#entries) {
      if (this.#entries.size <= this.#limits.keptMax && nowMs - deployment.heardAtMs < this.#limits.keptMs) return
      this.#entries.delete(key)
      this.#changed.delete(key)
      this.#gone.add(key)
      if (isOpen) this.#openCount -= 1
    }
  }
}

export function keyOf({ memberId, deployment }: Pick<Deployment, "memberId" | "deployment">): string {
  return `${memberId} ${deployment}`
}

/** Of several servers' lists: each deployment as it was heard last, the newest first. */
export function united(lists: readonly (readonly Deployment[])[], max: number): Deployment[] {
  const newest = new Map<string, Deployment>()
  for (const deployment of lists.flat()) {
    const known = newest.get(keyOf(deployment))
    if (known === undefined || known.heardAtMs < deployment.heardAtMs) newest.set(keyOf(deployment), deployment)
  }
  return [...newest.values()].sort((a, b) => b.startedAtMs - a.startedAtMs).slice(0, max)
}

function merged(memberId: string, report: DeployProgress, before: Deployment | null, nowMs: number): Deployment {
  const goodAfterMs = before?.goodAfterMs ?? report.goodAfterMs
  const receivedBytes = report.fromServersBytes + report.fromClientsBytes
  const spentMs = before === null ? report.elapsedMs : Math.max(1, report.elapsedMs - before.elapsedMs)
  const rate = (bytes: number, beforeBytes: number) => Math.max(0, Math.round(((bytes - beforeBytes) / Math.max(1, spentMs)) * 1_000))
  return {
    ...report,
    memberId,
    state: report.phase === "failed" ? "failed" : goodAfterMs === null ? "running" : "good",
    startedAtMs: before?.startedAtMs ?? Math.max(0, nowMs - report.elapsedMs),
    heardAtMs: nowMs,
    goodAfterMs,
    downloadBytesPerSecond: rate(receivedBytes, (before?.fromServersBytes ?? 0) + (before?.fromClientsBytes ?? 0)),
    uploadBytesPerSecond: rate(report.sentBytes, before?.sentBytes ?? 0),
  }
}

/** One that goes on, or should. What is good stays so, whether its client is heard or not. */
function seenAt(deployment: Deployment, pauseMs: number, nowMs: number): Deployment {
  const silentMs = nowMs - deployment.heardAtMs - GRACE_MS
  if (silentMs < SILENT_PAUSES * pauseMs) return deployment
  const quiet = { ...deployment, downloadBytesPerSecond: 0, uploadBytesPerSecond: 0 }
  if (deployment.state === "good") return quiet
  return { ...quiet, state: silentMs < LOST_PAUSES * pauseMs ? "silent" : "lost" }
}
