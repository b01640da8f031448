import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { chmodSync, linkSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { isTemporaryName, readBounded, readSecretFile, removeDurably, temporaryName, writeFileDurably } from "#store/atomic-file.ts"
import { temporaryDirectory } from "./torrents.ts"

test("writeFileDurably() replaces a file whole and leaves nothing beside it", async (context) => {
  const directory = temporaryDirectory(context)
  const path = join(directory, "state")
  await writeFileDurably(path, "one")
  linkSync(path, join(directory, "kept"))
  await writeFileDurably(path, Buffer.from("two"))
  assert.equal(readFileSync(path, "utf8"), "two")
  assert.equal(readFileSync(join(directory, "kept"), "utf8"), "one", "the old file itself was never written to")
  assert.deepEqual(readdirSync(directory).sort(), ["kept", "state"])
})

test("writeFileDurably() sets the mode exactly, whatever the umask", async (context) => {
  const path = join(temporaryDirectory(context), "state")
  const umask = process.umask(0o077)
  try {
    await writeFileDurably(path, "x", { mode: 0o644 })
  } finally {
    process.umask(umask)
  }
  assert.equal(statSync(path).mode & 0o777, 0o644)
  await writeFileDurably(path, "x", { mode: 0o600 })
  assert.equal(statSync(path).mode & 0o777, 0o600)
})

test("writeFileDurably() into a directory's place fails and leaves nothing", async (context) => {
  const directory = temporaryDirectory(context)
  mkdirSync(join(directory, "state"))
  await assert.rejects(writeFileDurably(join(directory, "state"), "x"), { code: "EISDIR" })
  assert.deepEqual(readdirSync(directory), ["state"])
  await assert.rejects(writeFileDurably(join(directory, "gone", "state"), "x"), { code: "ENOENT" })
})

test("many writers at once leave one of their files, whole", async (context) => {
  const directory = temporaryDirectory(context)
  const path = join(directory, "state")
  await Promise.all(Array.from({ length: 20 }, (_, index) => writeFileDurably(path, String(index).repeat(10_000))))
  const text = readFileSync(path, "utf8")
  assert.equal(text, String(Number(text.slice(0, text.length / 10_000))).repeat(10_000))
  assert.deepEqual(readdirSync(directory), ["state"])
})

test("removeDurably() removes a file, and is content when there is none", async (context) => {
  const path = join(temporaryDirectory(context), "state")
  writeFileSync(path, "x")
  await removeDurably(path)
  await removeDurably(path)
  assert.throws(() => statSync(path), { code: "ENOENT" })
})

test("readBounded() gives a file up to its bound and refuses one byte more", async (context) => {
  const path = join(temporaryDirectory(context), "state")
  for (const length of [0, 1, 4096, 9_999, 10_000]) {
    writeFileSync(path, Buffer.alloc(length, 7))
    assert.ok((await readBounded(path, 10_000)).equals(Buffer.alloc(length, 7)))
  }
  writeFileSync(path, Buffer.alloc(10_001))
  await assert.rejects(readBounded(path, 10_000), { code: "STATE_DAMAGED" })
})

test("readBounded() lets system errors through and refuses what is no file, without waiting for it", async (context) => {
  const directory = temporaryDirectory(context)
  await assert.rejects(readBounded(join(directory, "none"), 10), { code: "ENOENT" })
  await assert.rejects(readBounded(directory, 10), { code: "STATE_DAMAGED" })
  assert.equal(spawnSync("mkfifo", [join(directory, "fifo")]).status, 0)
  await assert.rejects(readBounded(join(directory, "fifo"), 10), { code: "STATE_DAMAGED" })
  await assert.rejects(readBounded("/dev/zero", 10), { code: "STATE_DAMAGED" })
})

test("readSecretFile() refuses every mode that lets group or others at the file, and gives it otherwise", async (context) => {
  const path = join(temporaryDirectory(context), "key")
  writeFileSync(path, "secret")
  for (const mode of [0o600, 0o400, 0o700]) {
    chmodSync(path, mode)
    assert.equal((await readSecretFile(path, 100)).toString(), "secret")
  }
  for (const mode of [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777]) {
    chmodSync(path, mode)
    await assert.rejects(readSecretFile(path, 100), (error: Error) => {
      assert.match(error.message, /chmod 600/)
      assert.doesNotMatch(error.message, /secret/)
      return "code" in error && error.code === "KEY_INVALID"
    })
  }
})

test("readSecretFile() refuses links, directories and long files, and lets ENOENT through", async (context) => {
  const directory = temporaryDirectory(context)
  const path = join(directory, "key")
  writeFileSync(path, "secret", { mode: 0o600 })
  symlinkSync(path, join(directory, "link"))
  mkdirSync(join(directory, "directory"), { mode: 0o700 })
  for (const name of ["link", "directory"]) await assert.rejects(readSecretFile(join(directory, name), 100), { code: "KEY_INVALID" })
  await assert.rejects(readSecretFile(path, 5), { code: "KEY_INVALID" })
  await assert.rejects(readSecretFile(join(directory, "none"), 5), { code: "ENOENT" })
})

test("temporary names are told from all others", () => {
  assert.equal(isTemporaryName(temporaryName("catalog.tar")), true)
  for (const name of ["catalog.tar", "x.tmp", "x.tmp-12", "x.tmp-12-0123456789ab.json", "x.tmp--0123456789ab"])
    assert.equal(isTemporaryName(name), false, name)
})
