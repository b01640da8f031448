/** Deploys by a name that moves, and what is told of an image's versions: by the programs themselves. */
import assert from "node:assert/strict"
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { TestGrid, type Outcome } from "./grid.ts"

const eventOf = ({ events }: Outcome, name: string) => events.find(({ event }) => event === name) ?? assert.fail(`no ${name}`)
const eventsOf = ({ events }: Outcome, ...names: readonly string[]) => events.filter(({ event }) => names.includes(String(event)))

test("a client deploys by tag, follows it when it moves, and is told what changed and who published", async () => {
  await using grid = new TestGrid()
  await grid.site()
  await grid.joinClient("client")
  const [server, client] = [grid.home("server-1"), grid.home("client")]
  const tree = join(grid.directory, "tree")
  mkdirSync(join(tree, "etc"), { recursive: true })
  writeFileSync(join(tree, "etc/issue"), "one\n")
  writeFileSync(join(tree, "etc/motd"), "hello\n")
  writeFileSync(join(tree, "old"), "x".repeat(500))
  const ok = (words: readonly string[], home = server): Outcome => {
    const outcome = grid.outcome([...words, "--home", home])
    assert.equal(outcome.code, 0, `${words.join(" ")}: ${outcome.stderr}`)
    return outcome
  }
  const refused = (words: readonly string[], code: string, exit: number, home = server): string => {
    const outcome = grid.outcome([...words, "--home", home])
    assert.deepEqual([eventOf(outcome, "error")["code"], outcome.code], [code, exit], words.join(" "))
    return outcome.stderr
  }
  ok(["publish", tree, "os:1"])
  rmSync(join(tree, "old"))
  writeFileSync(join(tree, "new"), "y".repeat(700))
  writeFileSync(join(tree, "etc/issue"), "two, longer\n")
  chmodSync(join(tree, "etc/motd"), 0o600)
  ok(["publish", tree, "os:2"])
  ok(["pin", "os:1"])

  assert.deepEqual(eventOf(ok(["tag", "os:stable", "1"]), "tagged")["was"], null)
  const deploy = (target: string, image = "os:stable") =>
    ok(
      ["deploy", image, "--target", join(grid.directory, target), "--seed-until", "done", "--stage", join(grid.directory, "stage")],
      client,
    )
  const first = eventOf(deploy("first"), "resolved")
  assert.deepEqual([first["version"], first["tag"]], ["1", "stable"])
  assert.equal(readFileSync(join(grid.directory, "first/etc/issue"), "utf8"), "one\n")
  ok(["verify", "--target", join(grid.directory, "first")], client)

  assert.equal(eventOf(ok(["tag", "os:stable", "2"]), "tagged")["was"], "1")
  assert.equal(eventOf(deploy("second"), "resolved")["version"], "2")
  assert.equal(readFileSync(join(grid.directory, "second/etc/issue"), "utf8"), "two, longer\n")
  const shown = eventOf(ok(["show", "os:stable"], client), "image")
  assert.deepEqual([shown["image"], shown["tags"]], ["os:2", ["stable"]])

  for (const home of [server, client]) {
    const versions = eventsOf(ok(["history", "os"], home), "version")
    assert.deepEqual(
      versions.map((row) => [row["version"], row["publisher"], row["tags"], row["pinned"], row["retiredAtMs"], row["grantedTo"]]),
      [
        ["1", "publisher", [], true, null, ["default"]],
        ["2", "publisher", ["stable"], false, null, ["default"]],
      ],
    )
    const layers = versions[1]?.["layers"] as { kind: string; sealedBytes: number }[]
    assert.deepEqual(
      layers.map(({ kind }) => kind),
      ["full", "index"],
    )
    for (const { keys } of versions as { keys: string[] | null }[])
      if (home === client) assert.equal(keys, null, "a client keeps no audit log")
      else assert.match(keys?.join() ?? "", /^[0-9a-f]{64}$/)
  }
  refused(["history", "os:1"], "USAGE", 64)
  refused(["history", "oss"], "IMAGE_UNKNOWN", 66)

  // The server holds both indexes; the client those that it deployed.
  for (const home of [server, client]) {
    const told = ok(["diff", "os:1", "os:stable"], home)
    const changes = eventsOf(told, "added", "removed", "changed").map(({ event, path, what = [] }) => [event, path, what])
    assert.deepEqual(changes, [
      ["changed", ".", ["mtime"]],
      ["changed", "etc/issue", ["content", "mtime"]],
      ["changed", "etc/motd", ["mode"]],
      ["added", "new", []],
      ["removed", "old", []],
    ])
    const { added, removed, changed, what, unchanged } = eventOf(told, "compared")
    assert.deepEqual(
      [added, removed, changed, what, unchanged],
      [{ entries: 1, bytes: 700 }, { entries: 1, bytes: 500 }, { entries: 3, bytes: 12 }, { mtime: 2, content: 1, mode: 1 }, 1],
    )
    assert.deepEqual(eventOf(told, "added")["after"], { kind: "file", bytes: 700 })
  }
  await grid.joinClient("other")
  const fetched = ok(["diff", "os:2", "os:1"], grid.home("other"))
  assert.deepEqual(eventOf(fetched, "compared")["added"], { entries: 1, bytes: 500 }, "a client that deployed neither fetches both")

  assert.match(refused(["retire", "os:2"], "IMAGE_TAGGED", 73), /os:2 is what the tag stable names/)
  refused(["publish", tree, "os:stable"], "TAG_EXISTS", 73)
  refused(["tag", "os:1", "2"], "IMAGE_EXISTS", 73)
  refused(["tag", "os:Stable", "2"], "NAME_INVALID", 64)
  refused(["untag", "os:none"], "TAG_UNKNOWN", 66)
  ok(["untag", "os:stable"])
  refused(["deploy", "os:stable", "--target", join(grid.directory, "third")], "IMAGE_UNKNOWN", 66, client)
})
