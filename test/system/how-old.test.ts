import assert from "node:assert/strict"
import { test } from "node:test"
import { TestGrid } from "./grid.ts"

test("commands that go by the catalog say in --json when it was signed and whether a newer one is known", async () => {
  await using grid = new TestGrid()
  const startedMs = Date.now()
  const server = await grid.site()
  await grid.joinClient("client")
  const { code, events, stderr } = grid.outcome(["images", "--home", grid.home("client")])
  const [catalog] = events
  assert.equal(code, 0)
  assert.equal(catalog?.["event"], "catalog")
  const signedAtMs = Number(catalog?.["signedAtMs"])
  assert.ok(signedAtMs >= startedMs - 1_000 && signedAtMs <= Date.now(), `${signedAtMs}`)
  assert.equal(Number(catalog?.["expiresAtMs"]) - signedAtMs, 3 * 24 * 3_600_000)
  assert.equal(catalog?.["newerKnown"], null)
  assert.equal(stderr, "")

  server.kill("SIGKILL")
  await server.ended()
  const alone = grid.outcome(["images", "--home", grid.home("client")])
  assert.deepEqual([alone.code, alone.events[0]], [0, catalog])
  assert.match(alone.stderr, /no server answered; this is the catalog that this home kept/)
})
