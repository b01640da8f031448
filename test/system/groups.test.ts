import assert from "node:assert/strict"
import { test } from "node:test"
import { loopback, TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

test("an administrator makes a group, grants to it, adds, removes and revokes members, and clients see it in what they may open", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 50_000)
  await grid.site(["--groups", "staff"])
  const server = ["--home", grid.home("server-1")]
  const join = await grid.run(["join", await grid.invite(), "--home", grid.home("client"), ...loopback])
  const client = String((await join.event("joined"))["memberId"])
  await grid.run(["group", "create", "lab", ...server])
  await grid.run(["publish", grid.home("tree"), "os:1", "--group", "staff,lab", "--group", "default", ...server])
  await grid.run(["ungrant", "os:1", "--group", "default", ...server])
  await grid.run(["publish", grid.home("tree"), "os:2", "--group", "lab", ...server])

  const images = () =>
    Object.fromEntries(
      grid
        .outcome(["images", "--home", grid.home("client")])
        .events.flatMap(({ event, image, mayOpen }) => (event === "image" ? [[String(image), mayOpen === true] as const] : [])),
    )
  const deploy = (image: string) =>
    grid.outcome(["deploy", image, "--home", grid.home("client"), "--target", grid.home(image.replace(":", "-")), "--seed-until", "done"])
  assert.deepEqual(images(), { "os:1": false, "os:2": false })

  await grid.run(["group", "add", "lab", client, ...server])
  assert.equal(deploy("os:1").code, 0, "a client renews by itself when it lacks what it should have")
  assert.deepEqual(images(), { "os:1": true, "os:2": true })

  await grid.run(["group", "remove", "lab", client, ...server])
  const again = grid.outcome(["group", "remove", "lab", client, ...server])
  assert.deepEqual([again.code, again.events.at(-1)?.["event"]], [0, "group-unchanged"])
  assert.deepEqual((await (await grid.run(["grant", "os", "--group", "lab", ...server])).event("granted"))["images"], ["os:2", "os:1"])
  const refused = deploy("os:2")
  assert.deepEqual([refused.code, refused.events.at(-1)?.["code"]], [77, "GRANT_MISSING"])

  const listed = grid.outcome(["group", "list", ...server]).events
  assert.deepEqual(
    listed.map(({ group, generation, removed }) => [group, generation, removed]),
    [
      ["default", 1, []],
      ["staff", 1, []],
      ["lab", 2, [client]],
    ],
  )
  const shown = grid.outcome(["show", "os:1", ...server]).events[0]?.["grantedTo"]
  assert.deepEqual(shown, [
    { group: "staff", generation: 1, current: true, added: [], removed: [] },
    { group: "lab", generation: 2, current: true, added: [], removed: [client] },
  ])

  const invited = await grid.run(["invite", ...server])
  const { invite, inviteId } = await invited.event("invite")
  await grid.run(["revoke", client, String(inviteId), ...server])
  const late = grid.outcome(["join", String(invite), "--home", grid.home("late"), ...loopback])
  assert.deepEqual([late.code, late.events.at(-1)?.["code"]], [77, "CERTIFICATE_INVALID"])
  assert.match(late.stderr, new RegExp(`invite ${String(inviteId)} was revoked`))
  const own = String((await (await grid.run(["site", "create", "other", "--home", grid.home("other")])).event("site-created"))["memberId"])
  assert.equal(grid.outcome(["revoke", own, "--home", grid.home("other")]).events.at(-1)?.["code"], "USAGE")
  assert.equal(grid.outcome(["revoke", own, "--yes", "--home", grid.home("other")]).code, 0)
  assert.equal(grid.outcome(["revoke", "nobody", ...server]).events.at(-1)?.["code"], "NAME_INVALID")
})
