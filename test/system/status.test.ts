import assert from "node:assert/strict"
import { test } from "node:test"
import { TestGrid } from "./grid.ts"

test("status says what a home is and what needs attention, of a server that runs and of a client, and trust show who signs", async () => {
  await using grid = new TestGrid()
  await grid.site()
  await grid.joinClient("client")
  const status = (home: string) => {
    const { code, events } = grid.outcome(["status", "--home", grid.home(home)])
    assert.equal(code, 0)
    return events.find(({ event }) => event === "status") ?? assert.fail("no status")
  }
  const [server, client] = [status("server-1"), status("client")]
  assert.deepEqual([server["role"], server["inUse"], server["attention"]], ["server", true, []])
  assert.deepEqual([client["role"], client["inUse"], client["images"]], ["client", false, 0])
  assert.equal(client["catalogSeq"], server["catalogSeq"])
  assert.ok(Number(client["catalogSignedAtMs"]) <= Date.now() && Number(client["catalogExpiresAtMs"]) > Date.now())

  const { events } = grid.outcome(["trust", "show", "--home", grid.home("server-1")])
  const roles = new Map(events.filter(({ event }) => event === "role").map((role) => [role["role"], role]))
  assert.deepEqual([...roles.keys()], ["root", "timestamp", "snapshot", "targets", "publisher"])
  assert.deepEqual(roles.get("publisher")?.["names"], ["*"])
  assert.deepEqual(roles.get("root")?.["here"], roles.get("root")?.["keyIds"])
  assert.deepEqual(roles.get("timestamp")?.["here"], [])
})
