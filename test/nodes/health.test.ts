import assert from "node:assert/strict"
import { test } from "node:test"
import { living, ready } from "#nodes/health.ts"

const HOUR_MS = 3_600_000
const nowMs = 1_700_000_000_000
const well = living({ loopLagMs: 3, databaseFault: null, diskFault: null })
const readiness = {
  nowMs,
  catalogExpiresAtMs: nowMs + 70 * HOUR_MS,
  certificateExpiresAtMs: nowMs + 100 * HOUR_MS,
  auditFault: null,
  dhtNodeCount: 2,
  otherServerCount: 2,
}
const failing = (health: ReturnType<typeof ready>) => health.checks.filter(({ ok }) => !ok).map(({ name }) => name)

test("a server whose loop turns, whose database answers and whose disk takes files lives; each alone ends that", () => {
  assert.equal(well.ok, true)
  for (const [vitals, name] of [
    [{ loopLagMs: 1_500, databaseFault: null, diskFault: null }, "event-loop"],
    [{ loopLagMs: 3, databaseFault: "database is locked", diskFault: null }, "database"],
    [{ loopLagMs: 3, databaseFault: null, diskFault: "ENOSPC" }, "disk"],
  ] as const) {
    assert.deepEqual(failing(living(vitals)), [name])
    assert.deepEqual(failing(ready(living(vitals), readiness)), [name], "and it can't serve")
  }
})

test("it is not ready while it starts", () => assert.deepEqual(failing(ready(well, null)), ["started"]))

test("it is ready until one thing that it serves by is not in force", () => {
  assert.deepEqual(failing(ready(well, readiness)), [])
  assert.deepEqual(failing(ready(well, { ...readiness, catalogExpiresAtMs: nowMs })), ["catalog"])
  assert.deepEqual(failing(ready(well, { ...readiness, certificateExpiresAtMs: nowMs - 1 })), ["certificate"])
  assert.deepEqual(failing(ready(well, { ...readiness, auditFault: "line 3" })), ["audit-log"])
  assert.deepEqual(failing(ready(well, { ...readiness, dhtNodeCount: 0 })), ["dht"])
  assert.deepEqual(failing(ready(well, { ...readiness, dhtNodeCount: 0, otherServerCount: 0 })), [], "it is the only one")
})
