import assert from "node:assert/strict"
import { test } from "node:test"
import type { Deployment } from "#core/wire.ts"
import { topFrame, type TopState } from "../../cli/top-frame.ts"

const nowMs = 1_700_000_000_000
const deployment = (number: number, change: Partial<Deployment> = {}): Deployment => ({
  deployment: number.toString(16).padStart(32, "0"),
  memberId: number.toString(16).padStart(32, "0"),
  image: "debian:2026.11",
  host: `node${number}`,
  phase: "download",
  state: "running",
  elapsedMs: 10_000,
  goodAfterMs: null,
  bytes: 250e6,
  totalBytes: 1e9,
  fromServersBytes: 50e6,
  fromClientsBytes: 200e6,
  sentBytes: 100e6,
  peers: 5,
  startedAtMs: nowMs - 10_000 - number,
  heardAtMs: nowMs,
  downloadBytesPerSecond: 25e6,
  uploadBytesPerSecond: 10e6,
  ...change,
})
const state = (deployments: readonly Deployment[], grid: TopState["grid"] = null): TopState => ({ nowMs, site: "lab", deployments, grid })
const narrow = { columns: 80, rows: 24 }

test("with nobody there it says so", () => {
  const frame = topFrame(state([]), narrow)
  assert.match(frame[0] ?? "", /^site lab: 0 deploying, 0 good$/)
  assert.equal(frame.at(-1), "nobody deploys now")
})

test("in 80 columns each client has its phase, share, rates, sources and time left", () => {
  const frame = topFrame(state([deployment(1)]), narrow)
  const row = frame.find((line) => line.startsWith("node1")) ?? assert.fail(frame.join("\n"))
  for (const word of ["download", " 25 ", "25.0 MB/s", "10.0 MB/s", "50.0 MB", "200.0 MB", "30.0 s"])
    assert.ok(row.includes(word), `${word} in ${row}`)
  assert.ok(row.length <= 80, row)
  assert.match(frame[1] ?? "", /25\.0 MB\/s in, 10\.0 MB\/s out; 250\.0 MB so far, 20 % from servers/)
})

test("whatever names are like, no line is wider than the terminal and no frame longer", () => {
  const wide = Array.from({ length: 500 }, (_, number) =>
    deployment(number, { host: "h".repeat(200), image: `${"long/name".repeat(15)}:1`, state: number % 7 === 0 ? "silent" : "running" }),
  )
  for (const [columns, rows] of [
    [80, 24],
    [120, 50],
    [40, 10],
    [200, 3],
  ] as const) {
    const frame = topFrame(state(wide), { columns, rows })
    assert.ok(frame.length <= rows, `${frame.length} lines in ${rows}`)
    for (const line of frame) assert.ok(line.length <= columns, `${line.length} in ${columns}: ${line}`)
  }
  const frame = topFrame(state(wide), narrow)
  assert.match(frame.at(-1) ?? "", /and \d+ more/)
})

test("a host's name moves no cursor and forges no line", () => {
  const frame = topFrame(state([deployment(1, { host: "a\u001b[2Jb\nsite lab: all is well\u202e" })]), narrow)
  // oxlint-disable-next-line no-control-regex -- these are what must not be there
  for (const line of frame) assert.ok(!/[\u0000-\u001f\u007f-\u009f\u202e]/.test(line), JSON.stringify(line))
  assert.equal(frame.filter((line) => line.startsWith("site lab")).length, 1)
})

test("what needs somebody comes first: failed with its code, lost, silent, then those that go on, then the good", () => {
  const frame = topFrame(
    state([
      deployment(1, { state: "good", phase: "seed", goodAfterMs: 12_000 }),
      deployment(2),
      deployment(3, { state: "silent" }),
      deployment(4, { state: "failed", phase: "failed", code: "DISK_FULL" }),
      deployment(5, { state: "lost" }),
    ]),
    narrow,
  )
  const rows = frame.filter((line) => line.startsWith("node"))
  assert.deepEqual(
    rows.map((row) => row.slice(0, 5)),
    ["node4", "node5", "node3", "node2", "node1"],
  )
  assert.match(rows[0] ?? "", /DISK_FULL/)
  assert.match(rows[1] ?? "", /LOST/)
  assert.match(rows[4] ?? "", /seed +100 .* in 12\.0 s$/)
  assert.match(frame[0] ?? "", /1 deploying, 1 good, 1 FAILED, 1 LOST, 1 SILENT/)
})

test("what ended long ago is not shown, unless it is in use of the swarm still", () => {
  const old = { heardAtMs: nowMs - 3_600_000 }
  const frame = topFrame(
    state([
      deployment(1, { ...old, state: "failed", phase: "failed" }),
      deployment(2, { ...old, state: "good", phase: "left", goodAfterMs: 5 }),
      deployment(3, { state: "good", phase: "left", goodAfterMs: 5 }),
    ]),
    narrow,
  )
  assert.deepEqual(
    frame.filter((line) => line.startsWith("node")).map((line) => line.slice(0, 5)),
    ["node3"],
  )
})

test("the grid's line tells servers that are away and images that lack copies", () => {
  const server = { memberId: "aa", site: "lab", weight: 1, phase: null, isFull: false, heldBytes: null, freeBytes: null } as const
  const servers = [
    { ...server, standing: "live" as const },
    { ...server, standing: "out" as const },
  ]
  const atRisk = [{ image: "lab/os:1", liveCopies: 1, sources: 1 }]
  const frame = topFrame(state([], { servers, underGoal: 2, atRisk, fetching: ["lab/os:1"], wanted: 1 }), narrow)
  assert.equal(frame[2], "1 of 2 servers live, 2 images UNDER THEIR GOAL, 1 AT RISK, 2 to be copied here")
})
