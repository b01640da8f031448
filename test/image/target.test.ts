import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { lstat, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { test } from "node:test"
import { GridError } from "#core/errors.ts"
import { clearTree, inspectTarget } from "#image/target.ts"
import { isRoot, makeEveryKind, run, temporaryDirectory } from "./support.ts"

test("inspectTarget() tells missing, empty and occupied apart, and takes lost+found alone as empty", async (t) => {
  const work = await temporaryDirectory(t)
  const { dev, ino } = await lstat(work, { bigint: true })
  assert.deepEqual(await inspectTarget(join(work, "missing")), { kind: "missing", device: null, inode: null })
  assert.deepEqual(await inspectTarget(work), { kind: "empty", device: dev, inode: ino })
  await mkdir(join(work, "lost+found"))
  assert.equal((await inspectTarget(work)).kind, "empty")
  await writeFile(join(work, "file"), "")
  assert.equal((await inspectTarget(work)).kind, "occupied")
  for (const name of ["file", "file/below"])
    await assert.rejects(inspectTarget(join(work, name)), (error) => error instanceof GridError && error.code === "TARGET_UNSUITABLE", name)
})

test("clearTree() removes every kind of entry and keeps the directory itself", async (t) => {
  const work = await temporaryDirectory(t)
  await makeEveryKind(join(work, "target"))
  const { ino } = await lstat(join(work, "target"))
  await clearTree(join(work, "target"))
  assert.deepEqual(await readdir(join(work, "target")), [])
  assert.equal((await lstat(join(work, "target"))).ino, ino)
})

test("clearTree() removes symlinks and leaves what they lead to", async (t) => {
  const work = await temporaryDirectory(t)
  await mkdir(join(work, "outside"))
  await writeFile(join(work, "outside/kept"), "kept")
  await mkdir(join(work, "target"))
  await symlink("../outside", join(work, "target/link"))
  await clearTree(join(work, "target"))
  assert.deepEqual(await readdir(join(work, "target")), [])
  assert.equal(await readFile(join(work, "outside/kept"), "utf8"), "kept")
})

test("clearTree() reaches names deeper than a path can be", async (t) => {
  const work = await temporaryDirectory(t)
  const name = "d".repeat(250)
  run("bash", "-c", `cd "$1"; for i in {1..30}; do mkdir ${name} && cd ${name} || exit 1; done; touch leaf`, "deep", work)
  await clearTree(work)
  assert.deepEqual(await readdir(work), [])
})

test("clearTree() leaves what is mounted in the tree, and the way there", async (t) => {
  const work = await temporaryDirectory(t)
  const mounted = join(work, "a/mounted")
  await mkdir(mounted, { recursive: true })
  await writeFile(join(work, "a/file"), "")
  await writeFile(join(work, "b"), "")
  if (!isRoot || spawnSync("mount", ["-t", "tmpfs", "tmpfs", mounted]).status !== 0) {
    t.skip("mounting is not permitted here")
    return
  }
  try {
    await writeFile(join(mounted, "kept"), "kept")
    await clearTree(work)
    assert.deepEqual((await readdir(work, { recursive: true })).sort(), ["a", "a/mounted", "a/mounted/kept"])
  } finally {
    spawnSync("umount", [mounted])
  }
})
