import assert from "node:assert/strict"
import { test } from "node:test"
import { loopback, TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

test("an invite for one machine is honoured at one server only, whichever is asked first", async () => {
  await using grid = new TestGrid()
  await grid.site()
  const second = await grid.joinServer("server-2")
  const api = String((await second.event("server-running"))["api"])
  const fellow = grid.start(["invite", "--home", grid.home("server-2")])
  await fellow.finished()
  const invite = String((await fellow.event("invite"))["invite"])
  const joins = ["a", "b", "c"].map((name) => grid.start(["join", invite, "--home", grid.home(name), ...loopback]))
  const outcomes = await Promise.all(
    joins.map((join) =>
      join.finished().then(
        () => "joined",
        (error: Error) => error.message,
      ),
    ),
  )
  assert.equal(outcomes.filter((outcome) => outcome === "joined").length, 1, outcomes.join("\n"))
  for (const refusal of outcomes.filter((outcome) => outcome !== "joined")) assert.match(refusal, /INVITE_USED/)
  assert.match(api, /^127\.0\.0\.1:/)
})

test("a join, an invite and an image are to be had from any server when the first one is gone", async () => {
  await using grid = new TestGrid()
  const first = await grid.site()
  await grid.joinServer("server-2")
  const invite = await grid.invite([], "server-2")
  first.kill("SIGKILL")
  await grid.run(["join", invite, "--home", grid.home("client"), ...loopback])
  const again = await grid.invite([], "server-2")
  await grid.run(["join", again, "--home", grid.home("client-2"), ...loopback])
})

test("a server that was away takes what was published meanwhile", async () => {
  await using grid = new TestGrid()
  await grid.site()
  const second = await grid.joinServer("server-2")
  second.kill("SIGTERM")
  await second.ended()
  makeTree(grid.home("tree"), 200_000)
  await grid.run(["publish", grid.home("tree"), "os:1", "--home", grid.home("server-1"), "--wait-copies", "1"])
  await grid.server("server-2")
  const copies = grid.start(["publish", grid.home("tree"), "os:2", "--home", grid.home("server-1"), "--wait-copies", "2"])
  await copies.finished()
  const listed = grid.outcome(["images", "--home", grid.home("server-2")]).events.map((event) => event["image"])
  assert.deepEqual(listed.map(String).sort(), ["os:1", "os:2"])
})
