import assert from "node:assert/strict"
import { test } from "node:test"
import { until } from "../member/site.ts"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

type Server = { readonly memberId: string; readonly standing: string; readonly phase: string | null }
type Status = {
  readonly servers: readonly Server[]
  readonly images: number
  readonly underGoal: number
  readonly held: number
  readonly draining: boolean
  readonly drained: boolean
}

test("three servers speak over the control plane: two copies where a rule asks for two, and a server that drains may leave", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 300_000)
  await grid.site()
  const homes = ["server-1", "server-2", "server-3"]
  for (const home of homes.slice(1)) await grid.joinServer(home)
  const status = (home: string): Status | null => {
    const { code, events } = grid.outcome(["grid", "status", "--home", grid.home(home)])
    return code === 0 ? (events.find(({ event }) => event === "grid") as unknown as Status) : null
  }
  await until(
    "all see all, by their own word",
    () =>
      homes.every((home) => status(home)?.servers.filter(({ standing, phase }) => standing === "live" && phase === "serving").length === 3),
    60_000,
  )

  await grid.run(["place", "os", "--copies", "2", "--home", grid.home("server-1")])
  await grid.run(["publish", grid.home("tree"), "os:1", "--home", grid.home("server-1"), "--wait-copies", "2"])
  const held = () => homes.filter((home) => status(home)?.held === 1)
  await until(
    "every server knows that the image is at its goal",
    () => homes.every((home) => status(home)?.images === 1 && status(home)?.underGoal === 0),
    60_000,
  )
  assert.ok(held().length >= 2)

  const [leaving = assert.fail()] = held()
  const drain = grid.outcome(["server", "drain", "--home", grid.home(leaving)])
  assert.equal(drain.code, 0, drain.stderr)
  await until("it may leave", () => status(leaving)?.drained === true, 60_000)
  assert.equal(held().filter((home) => home !== leaving).length, 2, "the others hold it without the one that leaves")
  const undone = grid.outcome(["server", "drain", "--undo", "--home", grid.home(leaving)])
  assert.equal(undone.code, 0, undone.stderr)
  assert.equal(status(leaving)?.draining, false)
})
