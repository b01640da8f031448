import assert from "node:assert/strict"
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

/** A server with three versions of os/small, each made from the one before, and a client. */
async function versions(grid: TestGrid): Promise<void> {
  const [tree, server] = [grid.home("tree"), grid.home("server-1")]
  const publish = (version: string, ...options: string[]) =>
    grid.run(["publish", tree, `os/small:${version}`, "--home", server, ...options])
  makeTree(tree, 2_000_000)
  writeFileSync(`${tree}/etc/changing`, "one\n".repeat(5_000))
  mkdirSync(`${tree}/old/deep`, { recursive: true })
  writeFileSync(`${tree}/old/deep/file`, "goes\n")
  // What changed in the last two seconds before a reading is read again the next time.
  await sleep(2_100)
  await grid.site()
  await publish("1")
  appendFileSync(`${tree}/etc/changing`, "two\n")
  rmSync(`${tree}/old`, { recursive: true })
  writeFileSync(`${tree}/old`, "a file now\n")
  await publish("2", "--from", "os/small:1")
  renameSync(`${tree}/old`, `${tree}/moved`)
  symlinkSync("moved", `${tree}/old`)
  const third = await publish("3", "--from", "os/small:2")
  const { delta, read } = await third.event("published")
  // What moved is there already.
  assert.equal((delta as { contents: number }).contents, 0)
  assert.ok((read as { files: number }).files <= 3, JSON.stringify(read))
  await grid.joinClient("client")
}

const files = (directory: string) =>
  readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => !name.startsWith(".imagegrid"))
    .sort()

test("a client updates by what differs, goes back, and deploys a version afresh that was made from others", async () => {
  await using grid = new TestGrid()
  await versions(grid)
  const [home, target] = [grid.home("client"), grid.home("root")]
  const client = (...words: string[]) => [...words, "--home", home, "--target", target]
  const verified = async () => (await (await grid.run(client("verify"))).event("verified"))["image"]
  await grid.run([...client("deploy", "os/small:1"), "--seed-until", "done"])

  const planned = grid.outcome([...client("update"), "--dry-run"])
  const changes = planned.events.filter(({ event }) => event === "change").map(({ path, what }) => `${String(what)} ${String(path)}`)
  assert.ok(
    changes.includes("removed old/deep/file") && changes.includes("changed etc/changing") && changes.includes("added moved"),
    changes.join(),
  )
  assert.equal(await verified(), "os/small:1")

  const update = await grid.run([...client("update"), "--seed-until", "done"])
  assert.equal((await update.event("update-planned"))["by"], "deltas")
  assert.ok(Number((await update.event("downloaded"))["bytes"]) < 50_000)
  assert.equal(await verified(), "os/small:3")
  assert.deepEqual(files(target), files(grid.home("tree")))
  assert.equal(readFileSync(`${target}/old`, "utf8"), "a file now\n")

  await grid.run(client("rollback"))
  assert.equal(await verified(), "os/small:1")
  assert.equal(readFileSync(`${target}/old/deep/file`, "utf8"), "goes\n")

  const afresh = grid.home("afresh")
  await grid.run(["deploy", "os/small:3", "--home", home, "--target", afresh, "--seed-until", "done"])
  assert.deepEqual(files(afresh), files(grid.home("tree")))
  assert.ok(!existsSync(`${afresh}/.imagegrid`))
})

test("local changes stop an update unless it is said what becomes of them, and excluded paths are never touched", async () => {
  await using grid = new TestGrid()
  await versions(grid)
  const [home, target] = [grid.home("client"), grid.home("root")]
  const client = (...words: string[]) => [...words, "--home", home, "--target", target]
  await grid.run([...client("deploy", "os/small:1"), "--seed-until", "done"])
  appendFileSync(`${target}/etc/changing`, "mine\n")
  writeFileSync(`${target}/old/deep/local`, "mine\n")
  writeFileSync(`${target}/etc/machine-id`, "4711\n")

  const refused = grid.outcome(client("update"))
  assert.deepEqual([refused.code, refused.events.at(-1)?.["code"]], [65, "TREE_CHANGED"])
  assert.ok(readFileSync(`${target}/etc/changing`, "utf8").endsWith("mine\n"))

  const kept = grid.outcome([...client("update"), "--local", "keep", "--exclude", "/etc/machine-id", "--seed-until", "done"])
  const local = kept.events.filter(({ event }) => event === "local-change").map(({ path }) => path)
  assert.deepEqual(local, ["etc/changing", "old/deep/local"])
  assert.ok(readFileSync(`${target}/etc/changing`, "utf8").endsWith("mine\n"))
  assert.equal(readFileSync(`${target}/old/deep/local`, "utf8"), "mine\n")
  assert.equal(readFileSync(`${target}/moved`, "utf8"), "a file now\n")

  await grid.run([...client("update", "os/small:2"), "--local", "overwrite", "--seed-until", "done"])
  assert.ok(readFileSync(`${target}/etc/changing`, "utf8").endsWith("two\n"))
  assert.equal(readFileSync(`${target}/old`, "utf8"), "a file now\n")
  assert.equal(readFileSync(`${target}/etc/machine-id`, "utf8"), "4711\n")
  assert.equal(grid.outcome(client("verify")).code, 0)
})
