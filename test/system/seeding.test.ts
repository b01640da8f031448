import assert from "node:assert/strict"
import { existsSync, readdirSync } from "node:fs"
import { test } from "node:test"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

test("a client goes on seeding what it holds, and removes its stage only when it left because nobody needed it", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 1_000_000)
  const server = await grid.site()
  await grid.run(["publish", grid.home("tree"), "os:1", "--home", grid.home("server-1"), "--wait-copies", "1"])
  await grid.joinClient("holder")
  await grid.joinClient("late")
  const deploy = (home: string, ...more: string[]) =>
    grid.start([
      "deploy",
      "os:1",
      "--home",
      grid.home(home),
      "--target",
      grid.home(`${home}-root`),
      "--stage",
      grid.home(`${home}-stage`),
      ...more,
    ])
  await deploy("holder", "--seed-until", "done").finished()
  assert.ok(existsSync(grid.home("holder-stage")))

  const seed = grid.start(["seed", "--home", grid.home("holder")])
  assert.equal((await seed.event("seeding"))["layers"], 2)
  // The late client learns of the holder from the server's DHT node, then the server goes.
  const late = deploy("late", "--useful-over", "1s")
  await late.finished()
  const downloaded = await late.event("downloaded")
  assert.equal(Number(downloaded["fromOrigins"]) + Number(downloaded["fromClients"]) >= 1_000_000, true)
  assert.match(String((await late.event("left"))["why"]), /not useful any more/)
  server.kill("SIGTERM")
  await server.ended()

  seed.kill("SIGINT")
  await seed.ended()
  assert.equal((await seed.event("left"))["why"], "told to stop")
  const staged = (home: string) =>
    readdirSync(grid.home(`${home}-stage`), { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith("layer.age"))
  assert.equal(staged("holder").length, 1)
  assert.deepEqual(staged("late"), [])
})
