/** The danger: an image brings a device node that gives its holder the disk or the memory of the machine, where the client wants none. */
import assert from "node:assert/strict"
import { lstat, mkdir, readdir } from "node:fs/promises"
import { join } from "node:path"
import { test } from "node:test"
import { GridError } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { byteString } from "#image/byte-string.ts"
import type { Entry } from "#image/entry.ts"
import { decodeIndex, encodeIndex } from "#image/tree-index.ts"
import { unpackTree } from "#image/unpack.ts"
import { chunksOf, isRoot, temporaryDirectory } from "./support.ts"
import { END, entry, TOP } from "./tar-entries.ts"

const forbidden = (error: unknown) => error instanceof GridError && error.code === "DEVICE_FORBIDDEN"
const common = { mode: 0o600, uid: 0, gid: 0, mtimeNs: 0n, xattrs: [] } as const
const top: Entry = { ...common, path: byteString(Buffer.from(".")), kind: "directory" }
const device = (name: string, kind: "char-device" | "block-device"): Entry => ({
  ...common,
  path: byteString(Buffer.from(name)),
  kind,
  major: 1,
  minor: 3,
})
const file: Entry = {
  ...common,
  path: byteString(Buffer.from("a")),
  kind: "file",
  size: 0,
  sha256: "0".repeat(64) as Sha256,
  zeroBlocks: 0,
}
const fifo: Entry = { ...common, path: byteString(Buffer.from("b")), kind: "fifo" }

test("an index names its first device, character or block, and a FIFO is none", () => {
  assert.equal(decodeIndex(encodeIndex([top, file, fifo])).device, null)
  assert.equal(decodeIndex(encodeIndex([top, file, device("null", "char-device"), device("sda", "block-device")])).device, "null")
  assert.equal(decodeIndex(encodeIndex([top, device("sda", "block-device")])).device, "sda")
})

for (const [what, type] of [
  ["character", "3"],
  ["block", "4"],
] as const)
  test(`a ${what} device in the archive of an index that kept silent is refused before tar sees it, however the stream is cut`, async (t) => {
    const archive = Buffer.concat([TOP, entry("./a", "0", { content: "fine" }), entry("./dev", type), entry("./z", "0"), END])
    for (const chunkBytes of [1, 511, 512, 700, 100_000]) {
      const target = join(await temporaryDirectory(t), "target")
      await mkdir(target)
      await assert.rejects(unpackTree(chunksOf(archive, chunkBytes), { target, devices: "refuse" }), forbidden, `chunks of ${chunkBytes}`)
      assert.deepEqual(
        (await readdir(target)).filter((name) => name !== "a"),
        [],
      )
    }
  })

test("what is no device is unpacked all the same: files, links, FIFOs", async (t) => {
  const target = await temporaryDirectory(t)
  const archive = [TOP, entry("./a", "0", { content: "a" }), entry("./b", "6"), entry("./c", "2", { link: "a" })]
  await unpackTree(chunksOf(Buffer.concat([...archive, END]), 700), { target, devices: "refuse" })
  assert.deepEqual((await readdir(target)).sort(), ["a", "b", "c"])
})

test("where devices are not forbidden they are made", { skip: !isRoot && "only root makes devices" }, async (t) => {
  const target = await temporaryDirectory(t)
  await unpackTree(chunksOf(Buffer.concat([TOP, entry("./null", "3"), END]), 700), { target })
  assert.ok((await lstat(join(target, "null"))).isCharacterDevice())
})
