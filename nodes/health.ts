/**
 * Whether a server lives, and whether it can serve: what `/healthz` and `/readyz` answer. Pure. Nothing here names an image or a member: whoever may ask for
 * the health of a server need not know what it holds.
 */

import type { Health } from "#core/wire.ts"

type Check = Health["checks"][number]

/** Of the process and what it stands on. */
export type Vitals = {
  /** 99 of 100 turns of the event loop came no later than this, of late. */
  readonly loopLagMs: number
  /** What the database said when it was asked; null when it answered. */
  readonly databaseFault: string | null
  /** Why the home took no file; null when it took one. */
  readonly diskFault: string | null
}
export type Readiness = {
  readonly nowMs: number
  readonly catalogExpiresAtMs: number
  readonly certificateExpiresAtMs: number
  readonly auditFault: string | null
  readonly dhtNodeCount: number
  /** Of all sites, but this one. */
  readonly otherServerCount: number
}

/** Beyond this, requests wait longer than whoever asks for health does. */
const LOOP_LAG_MAX_MS = 1_000

export function living({ loopLagMs, databaseFault, diskFault }: Vitals): Health {
  return sum([
    { name: "event-loop", ok: loopLagMs <= LOOP_LAG_MAX_MS, detail: `late by ${Math.round(loopLagMs)} ms at most in 99 of 100 turns` },
    { name: "database", ok: databaseFault === null, detail: databaseFault ?? "answers" },
    { name: "disk", ok: diskFault === null, detail: diskFault ?? "takes files" },
  ])
}

/** Null while it starts. */
export function ready(health: Health, readiness: Readiness | null): Health {
  if (readiness === null)
    return sum([...health.checks, { name: "started", ok: false, detail: "starting: layers are opened, and the ports not yet" }])
  const { nowMs, catalogExpiresAtMs, certificateExpiresAtMs, auditFault, dhtNodeCount, otherServerCount } = readiness
  return sum([
    ...health.checks,
    { name: "started", ok: true, detail: "listens on all its ports" },
    lasts("catalog", catalogExpiresAtMs, nowMs, "members refuse what it hands out; see 'imagegrid trust show'"),
    lasts("certificate", certificateExpiresAtMs, nowMs, "nobody talks to it; see 'imagegrid doctor'"),
    { name: "audit-log", ok: auditFault === null, detail: auditFault === null ? "holds" : "does not hold; see 'imagegrid audit --verify'" },
    {
      name: "dht",
      ok: dhtNodeCount > 0 || otherServerCount === 0,
      detail:
        dhtNodeCount > 0
          ? `${dhtNodeCount} nodes known`
          : otherServerCount === 0
            ? "nobody else is known"
            : `none of ${otherServerCount} other servers is reached over UDP`,
    },
  ])
}

function lasts(name: string, untilMs: number, nowMs: number, otherwise: string): Check {
  const hours = Math.floor(Math.abs(untilMs - nowMs) / 3_600_000)
  return untilMs > nowMs
    ? { name, ok: true, detail: `good for ${hours} hours more` }
    : { name, ok: false, detail: `ended ${hours} hours ago: ${otherwise}` }
}

function sum(checks: readonly Check[]): Health {
  return { ok: checks.every(({ ok }) => ok), checks: [...checks] }
}
