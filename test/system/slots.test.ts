import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { test } from "node:test"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

const isRoot = process.getuid?.() === 0
const done = ["--seed-until", "done"]

/** A server with os:1 and os:2, which is made from it, and a client with os:1 in a slot. */
async function published(grid: TestGrid) {
  const [tree, slots, home, server] = [grid.home("tree"), grid.home("slots"), grid.home("client"), grid.home("server-1")]
  makeTree(tree, 1_000_000)
  writeFileSync(`${tree}/etc/version`, "one\n")
  writeFileSync(`${tree}/etc/machine-id`, "")
  await grid.site()
  await grid.run(["publish", tree, "os:1", "--home", server, "--exclude", "/etc/machine-id"])
  writeFileSync(`${tree}/etc/version`, "two\n")
  await grid.run(["publish", tree, "os:2", "--home", server, "--from", "os:1"])
  await grid.joinClient("client")
  const deploy = (image: string, ...options: string[]) =>
    grid.outcome(["deploy", image, "--home", home, "--slots", slots, ...done, ...options])
  const version = () => readFileSync(`${slots}/current/etc/version`, "utf8").trim()
  const isGood = (slot = "current") => grid.outcome(["verify", "--home", home, "--target", `${slots}/${slot}`]).code === 0
  const rollback = () => grid.outcome(["rollback", "--home", home, "--slots", slots])
  return { tree, slots, home, deploy, version, isGood, rollback }
}

test("a new version is made beside the one in use of what that has, and is used once it is verified; and back", async () => {
  await using grid = new TestGrid()
  const { slots, deploy, version, isGood, rollback } = await published(grid)
  assert.equal(deploy("os:1").code, 0)
  assert.deepEqual([readlinkSync(`${slots}/current`), version()], ["a", "one"])
  assert.equal(rollback().events.at(-1)?.["code"], "TARGET_UNSUITABLE")
  // What belongs to the machine goes with it.
  writeFileSync(`${slots}/current/etc/machine-id`, "4711\n")

  const second = deploy("os:2")
  assert.equal(second.code, 0, second.stderr)
  assert.equal(second.events.find(({ event }) => event === "update-planned")?.["by"], "deltas")
  assert.ok(Number(second.events.find(({ event }) => event === "downloaded")?.["bytes"]) < 50_000)
  assert.deepEqual([readlinkSync(`${slots}/current`), version()], ["b", "two"])
  assert.equal(readFileSync(`${slots}/current/etc/machine-id`, "utf8"), "4711\n")
  assert.ok(isGood("a") && isGood("b"))

  assert.equal(rollback().code, 0)
  assert.deepEqual([readlinkSync(`${slots}/current`), version()], ["a", "one"])
  // The slot that is not in use is made anew.
  assert.equal(deploy("os:2").code, 0)
  assert.deepEqual([readlinkSync(`${slots}/current`), version(), isGood()], ["b", "two", true])
})

test("hard links share files, reflinks share blocks, and where that can't be nothing is in use but what was", async () => {
  await using grid = new TestGrid()
  const { slots, deploy, version, isGood } = await published(grid)
  assert.equal(deploy("os:1").code, 0)
  const refused = deploy("os:2", "--share", "reflink")
  const reflinks = spawnSync("cp", ["--reflink=always", `${slots}/a/noise`, grid.home("clone")]).status === 0
  if (!reflinks) {
    assert.deepEqual([refused.code, refused.events.at(-1)?.["code"]], [78, "TARGET_UNSUITABLE"])
    assert.deepEqual([readlinkSync(`${slots}/current`), version(), isGood()], ["a", "one", true])
  }
  const linked = deploy("os:2", "--share", "hard-link")
  assert.equal(linked.code, 0, linked.stderr)
  assert.ok(Number(linked.events.find(({ event }) => event === "shared")?.["files"]) >= 2)
  const inodes = (name: string) => ["a", "b"].map((slot) => lstatSync(`${slots}/${slot}/${name}`).ino)
  assert.equal(new Set(inodes("noise")).size, 1)
  assert.equal(new Set(inodes("etc/version")).size, 2)
  assert.ok(isGood("a") && isGood("b"))
})

test("reflinks on a file system that has them", { skip: !isRoot && "mounts need root" }, async (t) => {
  await using grid = new TestGrid()
  const disk = grid.home("disk")
  writeFileSync(disk, "")
  truncateSync(disk, 400_000_000)
  mkdirSync(grid.home("slots"))
  if (spawnSync("mkfs.xfs", ["-q", disk]).status !== 0) return t.skip("mkfs.xfs is not installed")
  if (spawnSync("mount", ["-o", "loop", disk, grid.home("slots")]).status !== 0) return t.skip("loop devices can't be mounted here")
  using _ = { [Symbol.dispose]: () => void spawnSync("umount", ["-l", grid.home("slots")]) }
  const { slots, deploy, version, isGood } = await published(grid)
  assert.equal(deploy("os:1").code, 0)
  const second = deploy("os:2", "--share", "reflink")
  assert.equal(second.code, 0, second.stderr)
  assert.equal(version(), "two")
  assert.equal(new Set(["a", "b"].map((slot) => lstatSync(`${slots}/${slot}/noise`).ino)).size, 2)
  // A change in one is none in the other.
  appendFileSync(`${slots}/b/noise`, "mine\n")
  assert.ok(isGood("a") && !isGood("b"))
})

test("local changes of the tree in use, a link that leads elsewhere and files of others are not touched", async () => {
  await using grid = new TestGrid()
  const { slots, deploy, isGood } = await published(grid)
  const refusal = (...words: [string, ...string[]]) => {
    const { code, events } = deploy(...words)
    return [code, events.at(-1)?.["code"]]
  }
  assert.equal(deploy("os:1").code, 0)
  writeFileSync(`${slots}/a/etc/version`, "mine\n")
  assert.deepEqual(refusal("os:2"), [65, "TREE_CHANGED"])
  assert.equal(deploy("os:2", "--local", "overwrite").code, 0)
  assert.equal(readFileSync(`${slots}/a/etc/version`, "utf8"), "mine\n")
  assert.equal(readFileSync(`${slots}/b/etc/version`, "utf8"), "two\n")
  assert.ok(isGood("b"))
  assert.deepEqual(refusal("os:2", "--share", "some"), [64, "USAGE"])
  assert.deepEqual(refusal("os:2", "--target", grid.home("x")), [64, "USAGE"])

  rmSync(`${slots}/a`, { recursive: true })
  mkdirSync(`${slots}/a`)
  writeFileSync(`${slots}/a/precious`, "a stranger's\n")
  assert.deepEqual(refusal("os:2"), [73, "TARGET_NOT_EMPTY"])
  assert.ok(existsSync(`${slots}/a/precious`))
  rmSync(`${slots}/current`)
  symlinkSync("/etc", `${slots}/current`)
  assert.deepEqual(refusal("os:2"), [78, "TARGET_UNSUITABLE"])
  assert.equal(readlinkSync(`${slots}/current`), "/etc")
})
