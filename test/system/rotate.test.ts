import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

test("every key of a site is replaced while its server runs, and a client that was away deploys what was published before and after", async () => {
  await using grid = new TestGrid()
  const home = ["--home", grid.home("server-1")]
  makeTree(grid.home("tree"), 100_000)
  await grid.site()
  await grid.joinClient("client")
  await grid.run(["publish", grid.home("tree"), "os:before", ...home])
  for (const what of [
    ["snapshot", "timestamp"],
    ["pointer"],
    ["authority"],
    ["network"],
    ["group", "default"],
    ["root"],
    ["targets"],
    ["publisher", "publisher"],
  ])
    assert.equal((await (await grid.run(["rotate", ...what, ...home])).event("rotated"))["what"], what.join("-"))
  await grid.run(["rotate", "network", "--drop-old", ...home])
  const refused = grid.outcome(["rotate", "authority", "--drop-old", ...home])
  assert.equal(refused.code, 64)
  assert.match(refused.stderr, /would lock members out. Members who were away since .*--yes/)
  await grid.run(["publish", grid.home("tree"), "os:after", ...home])
  const deploys = async (version: string) => {
    const target = grid.home(`root-${version}`)
    await grid.run(["deploy", `os:${version}`, "--home", grid.home("client"), "--target", target, "--seed-until", "done"])
    assert.equal(readFileSync(`${target}/etc/deep/ümlaut and space`, "utf8"), "odd name\n")
  }
  await deploys("before")
  await grid.run(["rotate", "authority", "--drop-old", "--yes", ...home])
  const renewed = await (await grid.run(["rotate", "member", "--home", grid.home("client")])).event("rotated")
  assert.notEqual(renewed["from"], renewed["to"])
  await deploys("after")
  const running = grid.outcome(["rotate", "member", ...home])
  assert.deepEqual([running.code, running.events.at(-1)?.["code"]], [75, "HOME_IN_USE"])
})

test("a command line that replaces nothing says what can be", async () => {
  await using grid = new TestGrid()
  await grid.run(["site", "create", "demo", "--home", grid.home("server-1"), "--api", "127.0.0.1:0"])
  for (const [words, message] of [
    [["everything"], /one of snapshot, timestamp/],
    [["snapshot", "pointer"], /goes with snapshot or timestamp/],
    [["pointer", "more"], /takes no name/],
    [["group"], /name the group/],
    [["publisher", "nobody"], /the site has no publisher nobody; it has publisher/],
    [["root", "--drop-old"], /for authority and network/],
    [["network", "--drop-old"], /no older one to drop/],
  ] as const) {
    const { code, stderr } = grid.outcome(["rotate", ...words, "--home", grid.home("server-1")])
    assert.equal(code, 64, words.join(" "))
    assert.match(stderr, message)
  }
})
