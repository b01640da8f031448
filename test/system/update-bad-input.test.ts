import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { test } from "node:test"
import { TestGrid } from "./grid.ts"
import { makeTree, noise } from "./trees.ts"

const isRoot = process.getuid?.() === 0
const done = ["--seed-until", "done"]

/** A server with os:1 and os:2, which is made from it, and a client with os:1. */
async function deployed(grid: TestGrid) {
  const [tree, root, home, server] = [grid.home("tree"), grid.home("root"), grid.home("client"), grid.home("server-1")]
  makeTree(tree, 300_000)
  writeFileSync(`${tree}/etc/changing`, noise(40_000, "changing"))
  mkdirSync(`${tree}/goes/deep`, { recursive: true })
  writeFileSync(`${tree}/goes/deep/file`, "one\n")
  await grid.site()
  await grid.run(["publish", tree, "os:1", "--home", server])
  appendFileSync(`${tree}/etc/changing`, "two\n")
  writeFileSync(`${tree}/large`, noise(6_000_000, "large"))
  rmSync(`${tree}/goes`, { recursive: true })
  await grid.run(["publish", tree, "os:2", "--home", server, "--from", "os:1", "--full", "never"])
  await grid.joinClient("client")
  await grid.run(["deploy", "os:1", "--home", home, "--target", root, ...done])
  const client = (...words: string[]) => [...words, "--home", home, "--target", root]
  const refusal = (...words: string[]) => {
    const { code, events } = grid.outcome(client(...words))
    return [code, events.at(-1)?.["code"]] as const
  }
  const isGood = () => grid.outcome(client("verify")).code === 0
  return { tree, root, home, server, client, refusal, isGood }
}

/** Unmounts when it is disposed of, which must be before its grid is. */
function mount(type: string, at: string, options = "rw"): Disposable {
  assert.equal(spawnSync("mount", ["-t", type, "-o", options, type, at]).status, 0)
  return { [Symbol.dispose]: () => void spawnSync("umount", ["-l", at]) }
}

test("where the file that a difference is of was changed, the whole image makes up for it", async () => {
  await using grid = new TestGrid()
  const { tree, root, client, isGood } = await deployed(grid)
  appendFileSync(`${root}/etc/changing`, "mine\n")
  rmSync(`${root}/noise`)
  const update = grid.outcome([...client("update"), "--local", "overwrite", ...done])
  assert.equal(update.code, 0, update.stderr)
  assert.equal(update.events.find(({ event }) => event === "update-planned")?.["by"], "deltas")
  assert.deepEqual(readFileSync(`${root}/etc/changing`), readFileSync(`${tree}/etc/changing`))
  assert.deepEqual(readFileSync(`${root}/noise`), readFileSync(`${tree}/noise`))
  assert.ok(isGood())
  // What was local is kept for the way back.
  await grid.run(client("rollback"))
  assert.ok(readFileSync(`${root}/etc/changing`, "utf8").endsWith("mine\n"))
  assert.ok(!existsSync(`${root}/noise`))
})

test("a directory that the new version has not stays where it holds local files that are to be kept", async () => {
  await using grid = new TestGrid()
  const { root, client, refusal, isGood } = await deployed(grid)
  writeFileSync(`${root}/goes/deep/local`, "mine\n")
  assert.deepEqual(refusal("update"), [65, "TREE_CHANGED"])
  await grid.run([...client("update"), "--local", "keep", ...done])
  assert.equal(readFileSync(`${root}/goes/deep/local`, "utf8"), "mine\n")
  assert.ok(!existsSync(`${root}/goes/deep/file`))
  assert.ok(isGood())
})

test("what can't be updated is refused with its cause, and nothing is changed", async () => {
  await using grid = new TestGrid()
  const { root, home, refusal, isGood, tree, server } = await deployed(grid)
  await grid.run(["publish", tree, "other:1", "--home", server])
  await grid.run(["tag", "os:stable", "2", "--home", server])
  await grid.run(["untag", "os:stable", "--home", server])
  assert.deepEqual(refusal("update", "os:stable"), [66, "IMAGE_UNKNOWN"])
  assert.deepEqual(refusal("update", "os:7"), [66, "IMAGE_UNKNOWN"])
  assert.deepEqual(refusal("update", "other"), [78, "TARGET_UNSUITABLE"])
  assert.deepEqual(refusal("update", "--host", "no host"), [64, "NAME_INVALID"])
  assert.deepEqual(refusal("update", "--local", "some"), [64, "USAGE"])
  assert.deepEqual(refusal("rollback"), [78, "TARGET_UNSUITABLE"])
  mkdirSync(grid.home("elsewhere"))
  const elsewhere = grid.outcome(["update", "--home", home, "--target", grid.home("elsewhere")])
  assert.deepEqual([elsewhere.code, elsewhere.events.at(-1)?.["code"]], [78, "TARGET_UNSUITABLE"])
  assert.ok(isGood())
  assert.ok(!existsSync(`${root}/.imagegrid`))
})

test("a disk that is too full is found out before anything is changed", { skip: !isRoot && "mounts need root" }, async () => {
  await using grid = new TestGrid()
  mkdirSync(grid.home("root"))
  using _ = mount("tmpfs", grid.home("root"), "size=7000000")
  const { root, client, refusal, isGood } = await deployed(grid)
  assert.deepEqual(refusal("update", ...done), [74, "DISK_FULL"])
  assert.ok(isGood())
  assert.equal(spawnSync("mount", ["-o", "remount,size=100000000", root]).status, 0)
  await grid.run([...client("update"), ...done])
  assert.ok(isGood())
})

test("what is mounted in a target is passed over, unless the image has files there", { skip: !isRoot && "mounts need root" }, async () => {
  await using grid = new TestGrid()
  const { root, client, refusal, isGood } = await deployed(grid)
  using mounts = new DisposableStack()
  mounts.use(mount("tmpfs", `${root}/empty`))
  writeFileSync(`${root}/empty/local`, "on another file system\n")
  mounts.use(mount("proc", `${root}/etc/deep`))
  await grid.run([...client("update"), ...done])
  assert.ok(isGood())
  assert.equal(readFileSync(`${root}/empty/local`, "utf8"), "on another file system\n")
  await grid.run(client("rollback"))
  assert.ok(isGood())

  mounts.use(mount("tmpfs", `${root}/goes`))
  assert.deepEqual(refusal("update", ...done), [78, "TARGET_UNSUITABLE"])
  await grid.run([...client("update"), "--exclude", "/goes", ...done])
  assert.ok(isGood())
})
