import assert from "node:assert/strict"
import { lstat, mkdir, readdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { test } from "node:test"
import { GridError } from "#core/errors.ts"
import { unpackTree } from "#image/unpack.ts"
import { chunksOf, temporaryDirectory } from "./support.ts"
import { END, entry, TOP } from "./tar-entries.ts"

function pax(records: Record<string, string>): Buffer {
  const body = Object.entries(records)
    .map(([keyword, value]) => {
      const bare = ` ${keyword}=${value}\n`
      let length = bare.length
      while (String(length).length + bare.length !== length) length = String(length).length + bare.length
      return `${length}${bare}`
    })
    .join("")
  return entry("./PaxHeaders/x", "x", { content: body })
}

const attacks: [what: string, ...entries: Buffer[]][] = [
  ["a name that climbs out", TOP, entry("./../escaped", "0", { content: "evil" })],
  ["a name that climbs out further down", TOP, entry("./a/", "5"), entry("./a/../../escaped", "0", { content: "evil" })],
  ["an absolute name", TOP, entry("OUTSIDE/escaped", "0", { content: "evil" })],
  ["a climbing name in a pax header", TOP, pax({ path: "./../escaped" }), entry("./fine", "0", { content: "evil" })],
  ["a file below a symlink that leads out", TOP, entry("./a", "2", { link: "OUTSIDE" }), entry("./a/escaped", "0", { content: "evil" })],
  ["a file below a relative symlink that leads out", TOP, entry("./a", "2", { link: "../outside" }), entry("./a/escaped", "0")],
  ["a directory that replaces a symlink", TOP, entry("./a", "2", { link: "OUTSIDE" }), entry("./a/", "5"), entry("./a/escaped", "0")],
  ["a file through a symlink of its own name", TOP, entry("./a", "2", { link: "OUTSIDE/escaped" }), entry("./a", "0", { content: "evil" })],
  ["a hard link to a file outside", TOP, entry("./a", "1", { link: "OUTSIDE/kept" }), entry("./b", "0")],
  ["a hard link that climbs out", TOP, entry("./a", "1", { link: "./../outside/kept" })],
  ["a hard link to what comes later", TOP, entry("./a", "1", { link: "./b" }), entry("./b", "0")],
  ["a hard link out through a pax header", TOP, pax({ linkpath: "./../outside/kept" }), entry("./a", "1", { link: "./b" })],
  ["no top directory first", entry("./a", "0")],
  ["a top directory that is a symlink", entry("./", "2", { link: "OUTSIDE" }), entry("./escaped", "0")],
  ["a file in a directory that was not listed", TOP, entry("./a/b", "0")],
  ["a file below a file", TOP, entry("./a", "0"), entry("./a/b", "0")],
  ["names out of order", TOP, entry("./b", "0"), entry("./a", "0")],
  ["an empty name inside", TOP, entry("./a/", "5"), entry("./a//b", "0")],
  ["a GNU long name", TOP, entry("././@LongLink", "L", { content: "./../escaped\0" }), entry("./x", "0")],
  ["a pax header for all that follow", TOP, entry("./g", "g", { content: "20 path=./../escaped\n" }), entry("./x", "0")],
  ["a record that images do not have", TOP, pax({ "GNU.sparse.name": "../escaped" }), entry("./x", "0")],
  [
    "a sparse map that leaves the file",
    TOP,
    pax({ "GNU.sparse.size": "10", "GNU.sparse.numblocks": "1", "GNU.sparse.offset": "8", "GNU.sparse.numbytes": "4" }),
    entry("./x", "0", { content: "evil" }),
  ],
  ["a multi-volume continuation", TOP, entry("./x", "M", { content: "evil" })],
  ["a directory with content", TOP, entry("./x/", "5", { content: "evil" })],
  ["a damaged header", TOP, Buffer.concat([Buffer.from("./x"), Buffer.alloc(509, 1)])],
]

test("an archive that no capture makes is refused before tar sees it, and touches nothing outside", async (t) => {
  for (const [what, ...entries] of attacks)
    await t.test(what, async (one) => {
      const work = await temporaryDirectory(one)
      const [target, outside] = [join(work, "target"), join(work, "outside")]
      await mkdir(target)
      await mkdir(outside)
      await writeFile(join(outside, "kept"), "kept")
      const archive = Buffer.concat([...entries, END])
      for (let at = archive.indexOf("OUTSIDE"); at >= 0; at = archive.indexOf("OUTSIDE")) {
        const block = at - (at % 512)
        const field = at - block < 100 ? 0 : 157
        const rest = archive.toString("latin1", at + 7, block + field + 100).replace(/\0.*$/s, "")
        assert.ok(`${outside}${rest}`.length < 100)
        archive.write(`${outside}${rest}`, at, "latin1")
        archive.write(" ".repeat(8), block + 148)
        const sum = archive.subarray(block, block + 512).reduce((total, byte) => total + byte, 0)
        archive.write(`${sum.toString(8).padStart(6, "0")}\0 `, block + 148, "latin1")
      }
      await assert.rejects(
        unpackTree(chunksOf(archive, 700), { target }),
        (error) =>
          error instanceof GridError && error.code === "EXTRACT_FAILED" && error.detail.startsWith("the archive is not one of an image"),
      )
      assert.deepEqual((await readdir(work)).sort(), ["outside", "target"])
      assert.deepEqual(await readdir(outside), ["kept"])
      assert.equal((await lstat(join(outside, "kept"))).nlink, 1)
    })
})

test("the same entries in good order are unpacked: it is the attacks that were refused", async (t) => {
  const work = await temporaryDirectory(t)
  const archive = [
    TOP,
    entry("./a/", "5"),
    entry("./a/b", "0", { content: "b" }),
    entry("./a/c", "1", { link: "./a/b" }),
    entry("./d", "2", { link: "a/b" }),
  ]
  await unpackTree(chunksOf(Buffer.concat([...archive, END]), 700), { target: work })
  assert.deepEqual((await readdir(work, { recursive: true })).sort(), ["a", "a/b", "a/c", "d"])
  assert.equal((await lstat(join(work, "a/b"))).nlink, 2)
})

test("an archive that ends early, or goes on after its end, is refused", async (t) => {
  const work = await temporaryDirectory(t)
  const whole = Buffer.concat([TOP, entry("./a", "0", { content: "content" })])
  for (const archive of [whole, whole.subarray(0, -100), Buffer.concat([whole, Buffer.alloc(512)]), Buffer.concat([whole, END, TOP])])
    await assert.rejects(
      unpackTree(chunksOf(archive, 300), { target: work }),
      (error) => error instanceof GridError && error.code === "EXTRACT_FAILED",
    )
})

test("an aborted unpacking ends at once, though the content is silent", async (t) => {
  const work = await temporaryDirectory(t)
  const abort = new AbortController()
  const reason = new Error("enough")
  async function* silent(): AsyncGenerator<Buffer> {
    yield TOP
    queueMicrotask(() => abort.abort(reason))
    await new Promise<never>(() => {})
  }
  await assert.rejects(unpackTree(silent(), { target: work, signal: abort.signal }), (error) => error === reason)
})

test("a content that fails passes its own error on", async (t) => {
  const work = await temporaryDirectory(t)
  const failure = new Error("no more seeders")
  async function* failing(): AsyncGenerator<Buffer> {
    yield TOP
    throw failure
  }
  await assert.rejects(unpackTree(failing(), { target: work }), (error) => error === failure)
})
