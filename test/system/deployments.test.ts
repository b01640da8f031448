import assert from "node:assert/strict"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import type { Deployment } from "#core/wire.ts"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

test("what a client says of its deploys any server of the site tells, how it ended with it, also after a server was killed; clients may not ask", async () => {
  await using grid = new TestGrid()
  const first = await grid.site()
  await grid.joinServer("server-2")
  makeTree(grid.home("tree"), 2_000_000, "1")
  await grid.run(["publish", grid.home("tree"), "os:1", "--home", grid.home("server-1"), "--wait-copies", "2"])
  await grid.joinClient("client")
  const seen = (server: string, words: readonly string[] = []) => {
    const { events } = grid.outcome(["deployments", ...words, "--home", grid.home(server)])
    return events.filter(({ event }) => event === "deployment") as unknown as Deployment[]
  }
  assert.deepEqual(seen("server-1"), [])

  const target = grid.home("target")
  const deploy = grid.start(["deploy", "os", "--home", grid.home("client"), "--target", target, "--host", "node7", "--seed-until", "done"])
  await deploy.event("good")
  await deploy.ended()
  const bothSay = ["server-1", "server-2"].map((server) => seen(server))
  assert.deepEqual(bothSay[0], bothSay[1])
  const [one] = bothSay[0] ?? []
  assert.deepEqual([one?.host, one?.image, one?.state, one?.phase], ["node7", "os:1", "good", "left"])
  assert.ok(one !== undefined && one.goodAfterMs !== null && one.fromServersBytes > 1_000_000, JSON.stringify(one))

  mkdirSync(grid.home("full"))
  writeFileSync(join(grid.home("full"), "file"), "")
  grid.outcome(["deploy", "os", "--home", grid.home("client"), "--target", grid.home("full")])
  assert.deepEqual(
    seen("server-2", ["os", "--failed"]).map(({ code }) => code),
    ["TARGET_NOT_EMPTY"],
  )
  assert.deepEqual(seen("server-2", ["os:2"]), [])
  const top = grid.outcome(["top", "--once", "--home", grid.home("server-2")]).events.find(({ event }) => event === "top")
  assert.equal((top?.["deployments"] as unknown[] | undefined)?.length, 2)
  assert.equal(grid.outcome(["deployments", "--home", grid.home("client")]).code, 64)

  while (kept(grid.home("server-1")) + kept(grid.home("server-2")) < 2) await sleep(100)
  first.kill("SIGKILL")
  await first.ended()
  await grid.server("server-1")
  assert.equal(seen("server-1").length, 2)
})

/** Deploys in a server's database, whoever uses it. */
function kept(home: string): number {
  using database = new DatabaseSync(join(home, "state.sqlite"), { readOnly: true })
  return Number(database.prepare("SELECT count(*) AS found FROM deployments").get()?.["found"])
}
