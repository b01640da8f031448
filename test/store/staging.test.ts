import assert from "node:assert/strict"
import { chmodSync, mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { chooseStaging, claimStage, STAGING_SPARE_BYTES, stagingPlaces, type StagingPlace } from "#store/staging.ts"
import { temporaryDirectory } from "./torrents.ts"

const SEALED = 1_000_000_000

function place(kind: StagingPlace["kind"], freeBytes: number | null, remark: string | null = null): StagingPlace {
  return { kind, directory: `/${kind}`, freeBytes, remark }
}

function places(memory: number | null, tmp: number | null, target: number | null): StagingPlace[] {
  return [place("memory", memory), place("tmp", tmp), place("target", target)]
}

test("chooseStaging() takes the first place with room for the layer and 100 MiB, to the byte", () => {
  const enough = SEALED + 100 * 1024 * 1024
  assert.equal(chooseStaging(places(enough, enough, enough), SEALED).kind, "memory")
  assert.equal(chooseStaging(places(enough - 1, enough, enough), SEALED).kind, "tmp")
  assert.equal(chooseStaging(places(null, enough - 1, enough), SEALED).kind, "target")
  assert.equal(chooseStaging(places(null, null, enough), SEALED).directory, "/target")
})

test("chooseStaging() says why it chose, and why it passed others over", () => {
  const { why } = chooseStaging(
    [place("memory", null, "it is not a tmpfs"), place("tmp", 5), place("target", SEALED * 2, "beside")],
    SEALED,
  )
  assert.equal(why, `/target has ${SEALED * 2} bytes free; beside; /memory: it is not a tmpfs; /tmp has only 5 bytes free`)
})

test("chooseStaging() refuses with the figures of every place when none has room", () => {
  assert.throws(() => chooseStaging([place("memory", 1), place("tmp", null, "EACCES"), place("target", 3)], SEALED), {
    code: "DISK_FULL",
    message: /1104857600 bytes .*\/memory has only 1 bytes free; \/tmp: EACCES; \/target has only 3 bytes free.*--stage DIR/,
  })
})

test("chooseStaging() refuses a wanted place that can't be written to, and takes no other", () => {
  assert.throws(() => chooseStaging([place("wanted", null, "EACCES")], SEALED), { code: "NOT_PERMITTED", message: /\/wanted .*EACCES/ })
  assert.throws(() => chooseStaging([place("wanted", SEALED)], SEALED), { code: "DISK_FULL" })
  assert.equal(chooseStaging([place("wanted", SEALED + STAGING_SPARE_BYTES)], SEALED).kind, "wanted")
})

test("stagingPlaces() looks at memory, the temporary directory and beside the target, whatever exists of it", async (context) => {
  const directory = temporaryDirectory(context)
  const target = join(directory, "not/there/yet/root")
  const found = await stagingPlaces(target, null, { shared: { memory: "/dev/shm", tmp: directory } })
  assert.deepEqual(
    found.map(({ kind, directory: at }) => [kind, at]),
    [
      ["memory", "/dev/shm"],
      ["tmp", directory],
      ["target", join(directory, "not/there/yet")],
    ],
  )
  assert.ok((found[1]?.freeBytes ?? 0) > 0)
  assert.throws(() => statSync(join(directory, "not")), { code: "ENOENT" })
})

test("stagingPlaces() takes for memory nothing but a tmpfs", async (context) => {
  const directory = temporaryDirectory(context)
  const isTmpfs = statSync(directory).dev === statSync("/dev/shm").dev
  if (isTmpfs) return context.skip("the temporary directory is a tmpfs here")
  const [memory] = await stagingPlaces(join(directory, "root"), null, { shared: { memory: directory, tmp: directory } })
  assert.deepEqual([memory?.freeBytes, memory?.remark], [null, "it is not a tmpfs"])
})

test("stagingPlaces() with a wanted place considers that alone, and a file in its way is no place", async (context) => {
  const directory = temporaryDirectory(context)
  writeFileSync(join(directory, "file"), "x")
  const [wanted, ...others] = await stagingPlaces("/nowhere/root", join(directory, "stage/deep"))
  assert.deepEqual([wanted?.kind, wanted?.directory, others.length], ["wanted", join(directory, "stage/deep"), 0])
  assert.ok((wanted?.freeBytes ?? 0) > 0)
  const [blocked] = await stagingPlaces("/nowhere/root", join(directory, "file/stage"))
  assert.equal(blocked?.freeBytes, null)
})

test("a target on a file system of its own is staged beside it, and the reason is told", async (context) => {
  const directory = temporaryDirectory(context)
  if (statSync(directory).dev === statSync("/dev/shm").dev) return context.skip("needs two file systems")
  // /dev/shm stands for a disk that is mounted at the target: its parent is another file system.
  const found = await stagingPlaces("/dev/shm", null, { shared: { memory: "/nowhere", tmp: "/nowhere" } })
  assert.equal(found[2]?.directory, "/dev")
  if (found[2]?.freeBytes !== null) assert.match(found[2]?.remark ?? "", /on another file system/)
})

test("claimStage() makes a directory for this user alone, and takes it again", async (context) => {
  const stage = join(temporaryDirectory(context), "deep/imagegrid-0123")
  await claimStage(stage)
  assert.equal(statSync(stage).mode & 0o777, 0o700)
  await claimStage(stage)
})

test("claimStage() refuses what a stranger may have put in its place", async (context) => {
  const directory = temporaryDirectory(context)
  const at = (name: string) => join(directory, name)
  mkdirSync(at("own"))
  symlinkSync(at("own"), at("link"))
  mkdirSync(at("open"))
  chmodSync(at("open"), 0o777)
  writeFileSync(at("file"), "x")
  for (const name of ["link", "open", "file"]) await assert.rejects(claimStage(at(name)), { code: "TARGET_UNSUITABLE" }, name)
})
