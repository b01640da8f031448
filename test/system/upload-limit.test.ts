import assert from "node:assert/strict"
import { test } from "node:test"
import { loopback, TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

test("a client that is told a limit sends others that much a second and no more", async () => {
  await using grid = new TestGrid()
  await grid.run(["site", "create", "demo", "--home", grid.home("server-1"), "--api", "127.0.0.1:0", ...loopback])
  await grid.server("server-1", ["--upload-limit", "3MB"])
  makeTree(grid.home("tree"), 9_000_000)
  await grid.run(["publish", grid.home("tree"), "os:1", "--home", grid.home("server-1")])
  for (const home of ["first", "second"]) await grid.joinClient(home)
  const deploy = ["deploy", "os", "--home", grid.home("first"), "--target", grid.home("tree-1"), "--seed-until", "forever"]
  const seeding = grid.start([...deploy, "--upload-limit", "2MB"])
  await seeding.event("good")
  const second = grid.start(["deploy", "os", "--home", grid.home("second"), "--target", grid.home("tree-2"), "--seed-until", "done"])
  const started = Number((await second.event("download-started"))["atMs"])
  const done = await second.event("downloaded")
  await second.finished()
  const [seconds, fromClients] = [(Number(done["atMs"]) - started) / 1000, Number(done["fromClients"]) / 1e6]
  assert.ok(fromClients > 1, `${fromClients.toFixed(1)} MB from the other client`)
  // The first turns go out at once.
  assert.ok(fromClients / seconds <= 2 * 1.1, `${fromClients.toFixed(1)} MB in ${seconds.toFixed(1)} s`)
  assert.equal(grid.outcome(["seed", "--home", grid.home("second"), "--upload-limit", "0"]).code, 64)
  assert.equal(grid.outcome(["seed", "--home", grid.home("second"), "--upload-limit", "fast"]).code, 64)
})
