import assert from "node:assert/strict"
import { test } from "node:test"
import type { DeployProgress } from "#core/wire.ts"
import { deploymentLimits, DeploymentTable, united } from "#nodes/deployment-table.ts"

const startMs = 1_700_000_000_000
const member = "aa".repeat(16)
const idOf = (number: number) => number.toString(16).padStart(32, "0")
const report = (change: Partial<DeployProgress> = {}): DeployProgress => ({
  deployment: idOf(1),
  image: "os:1",
  host: "node1",
  phase: "download",
  elapsedMs: 4_000,
  goodAfterMs: null,
  bytes: 40,
  totalBytes: 100,
  fromServersBytes: 10_000,
  fromClientsBytes: 30_000,
  sentBytes: 5_000,
  peers: 3,
  ...change,
})

test("a deploy is known from its first report on, its rates by the client's own time between two", () => {
  const table = new DeploymentTable()
  table.hear(member, report(), startMs + 4_000)
  assert.deepEqual(
    table.list(startMs + 4_000).map((one) => [one.memberId, one.state, one.startedAtMs, one.downloadBytesPerSecond]),
    [[member, "running", startMs, 10_000]],
  )
  // The report came late, and says so by its own clock.
  table.hear(member, report({ elapsedMs: 6_000, fromServersBytes: 20_000, fromClientsBytes: 50_000, sentBytes: 9_000 }), startMs + 9_000)
  const [now] = table.list(startMs + 9_000)
  assert.deepEqual([now?.startedAtMs, now?.downloadBytesPerSecond, now?.uploadBytesPerSecond], [startMs, 15_000, 2_000])
})

test("what is good stays good when its client leaves or is heard no more; what failed says why", () => {
  const table = new DeploymentTable()
  table.hear(member, report({ phase: "seed", goodAfterMs: 5_000, elapsedMs: 6_000 }), startMs)
  table.hear(member, report({ deployment: idOf(2), phase: "failed", code: "DISK_FULL" }), startMs)
  table.hear(member, report({ deployment: idOf(3), phase: "failed", code: "SCRIPT_FAILED", goodAfterMs: 1 }), startMs)
  const stateOf = (id: string, nowMs: number) => table.list(nowMs).find(({ deployment }) => deployment === id)
  assert.equal(stateOf(idOf(1), startMs + 3_600_000)?.state, "good")
  assert.equal(stateOf(idOf(1), startMs + 3_600_000)?.downloadBytesPerSecond, 0)
  assert.deepEqual([stateOf(idOf(2), startMs)?.state, stateOf(idOf(2), startMs)?.code], ["failed", "DISK_FULL"])
  assert.equal(stateOf(idOf(3), startMs)?.state, "failed")
})

test("a client that falls silent is shown so after two pauses and a little, and as lost after ten; a word brings it back", () => {
  const table = new DeploymentTable()
  const pauseMs = table.hear(member, report(), startMs)
  const stateAt = (ms: number) => table.list(startMs + ms)[0]?.state
  assert.equal(stateAt(2 * pauseMs + 9_999), "running")
  assert.equal(stateAt(2 * pauseMs + 10_000), "silent")
  assert.equal(stateAt(10 * pauseMs + 10_000), "lost")
  table.hear(member, report({ elapsedMs: 60_000 }), startMs + 60_000)
  assert.equal(stateAt(60_000), "running")
})

test("the more clients there are, the less often each is asked for, so that all together stay within the bound", () => {
  const table = new DeploymentTable()
  let pauseMs = 0
  for (let number = 0; number < 10_000; number += 1) pauseMs = table.hear(idOf(number), report({ deployment: idOf(number) }), startMs)
  assert.equal(pauseMs, (10_000 / deploymentLimits.reportsPerSecondMax) * 1_000)
  for (let number = 0; number < 10_000; number += 1) table.hear(idOf(number), report({ deployment: idOf(number), phase: "left" }), startMs)
  assert.equal(table.hear(member, report(), startMs), deploymentLimits.pauseMinMs, "they have gone")
})

test("it holds no more than it may: the least lately heard go, and so do old ones", () => {
  const table = new DeploymentTable({ ...deploymentLimits, keptMax: 3, keptMs: 1_000 })
  for (let number = 0; number < 5; number += 1) table.hear(idOf(number), report({ deployment: idOf(number) }), startMs + number)
  assert.equal(table.list(startMs + 5).length, 3)
  const { kept, gone } = table.takeChanges(startMs + 5)
  assert.deepEqual([kept.length, gone.length], [3, 2])
  assert.deepEqual(table.takeChanges(startMs + 1_003).gone.length, 2)
  assert.equal(table.list(startMs + 1_003).length, 1)
})

test("one member begins no more than a hundred within an hour, and goes on with those that it began", () => {
  const table = new DeploymentTable()
  for (let number = 0; number < 100; number += 1) table.hear(member, report({ deployment: idOf(number) }), startMs)
  assert.throws(() => table.hear(member, report({ deployment: idOf(100) }), startMs), { code: "API_REFUSED" })
  table.hear(member, report({ deployment: idOf(7), elapsedMs: 9_000 }), startMs)
  table.hear(idOf(2), report(), startMs)
  table.hear(member, report({ deployment: idOf(100) }), startMs + 3_600_000)
})

test("two members may choose the same number: each has its own deploy", () => {
  const table = new DeploymentTable()
  table.hear(member, report({ host: "one" }), startMs)
  table.hear(idOf(9), report({ host: "two" }), startMs)
  assert.deepEqual(
    table
      .list(startMs)
      .map(({ host }) => host)
      .toSorted(),
    ["one", "two"],
  )
})

test("what was kept is there again after a restart, and goes on", () => {
  const before = new DeploymentTable()
  before.hear(member, report(), startMs)
  const after = new DeploymentTable()
  after.restore(before.takeChanges(startMs).kept)
  assert.deepEqual(after.list(startMs), before.list(startMs))
  after.hear(member, report({ elapsedMs: 5_000, phase: "left", goodAfterMs: 4_500 }), startMs + 1_000)
  assert.deepEqual(
    after.list(startMs).map(({ state }) => state),
    ["good"],
  )
})

test("of what several servers heard, each deploy is there once, as it was heard last", () => {
  const [one, two] = [new DeploymentTable(), new DeploymentTable()]
  one.hear(member, report({ bytes: 10 }), startMs)
  two.hear(member, report({ bytes: 50, elapsedMs: 8_000 }), startMs + 4_000)
  two.hear(idOf(2), report({ deployment: idOf(2) }), startMs + 9_000)
  const all = united([one.list(startMs), two.list(startMs)], 10)
  assert.deepEqual(
    all.map(({ deployment, bytes }) => [deployment, bytes]),
    [
      [idOf(2), 40],
      [idOf(1), 50],
    ],
  )
  assert.equal(united([two.list(startMs)], 1).length, 1)
})
