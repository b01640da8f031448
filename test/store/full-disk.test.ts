/** The danger: a file system that fills up in the middle of anything. Needs root, for a small file system of its own. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test, type TestContext } from "node:test"
import { GridError } from "#core/errors.ts"
import { writeFileDurably } from "#store/atomic-file.ts"
import { FilePieceStore } from "#store/file-piece-store.ts"
import { LayerStore } from "#store/layer-store.ts"
import { chooseStaging, stagingPlaces } from "#store/staging.ts"
import { contentOf, pieceOf, temporaryDirectory, torrentOf } from "./torrents.ts"

const PIECE = 64 * 1024
const skip = process.getuid?.() !== 0 && "needs root to mount a small file system"

function smallFileSystem(context: TestContext, bytes: number): string {
  const at = mkdtempSync(join(tmpdir(), "imagegrid-small-"))
  assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", `size=${bytes},mode=0700`, "tmpfs", at]).status, 0)
  context.after(() => {
    assert.equal(spawnSync("umount", ["-l", at]).status, 0)
    rmSync(at, { recursive: true })
  })
  return at
}

function isDiskFull(error: unknown): boolean {
  if (!(error instanceof GridError) || error.code !== "DISK_FULL") return false
  assert.match(error.message, /has \d+ bytes free and \d+ bytes more are needed; make room/)
  return true
}

test(
  "a piece that finds no room is refused with figures, the others stay, and it is taken when there is room",
  { skip },
  async (context) => {
    const small = smallFileSystem(context, 1024 * 1024)
    const content = contentOf("full disk", 40 * PIECE)
    const torrent = torrentOf(content, PIECE)
    const directory = join(small, "layer")
    const store = await FilePieceStore.open(directory, torrent)
    const accepted: number[] = []
    const fillUp = async () => {
      for (let piece = 0; piece < torrent.pieceCount; piece++) {
        await store.write(piece, pieceOf(content, torrent, piece))
        accepted.push(piece)
      }
    }
    await assert.rejects(fillUp(), isDiskFull)
    assert.ok(accepted.length > 5 && accepted.length < 16, `${accepted.length} pieces found room`)
    assert.equal(store.heldCount, accepted.length)
    assert.equal(store.has(accepted.length), false)

    assert.equal(spawnSync("mount", ["-o", "remount,size=8m", small]).status, 0)
    for (let piece = 0; piece < torrent.pieceCount; piece++) await store.write(piece, pieceOf(content, torrent, piece))
    await store.close()
    assert.ok(readFileSync(store.path).equals(content))
  },
)

test("a record that finds no room fails the sync, loses nothing, and is written when there is room", { skip }, async (context) => {
  const small = smallFileSystem(context, 512 * 1024)
  const content = contentOf("no room to record", 4 * PIECE)
  const torrent = torrentOf(content, PIECE)
  const directory = join(small, "layer")
  const store = await FilePieceStore.open(directory, torrent)
  await store.write(0, pieceOf(content, torrent, 0))
  fill(join(small, "ballast"))
  await assert.rejects(store.sync(), isDiskFull)
  assert.deepEqual(readdirSync(directory).sort(), ["info", "layer.age"], "no half-written record is left")
  rmSync(join(small, "ballast"))
  await store.sync()
  await store.close()
  const again = await FilePieceStore.open(directory, torrent)
  assert.deepEqual([again.has(0), again.heldCount], [true, 1])
  await again.close()
})

test("writeFileDurably() on a full disk leaves the old file and no other", { skip }, async (context) => {
  const small = smallFileSystem(context, 256 * 1024)
  const path = join(small, "state.json")
  await writeFileDurably(path, "old")
  fill(join(small, "ballast"))
  await assert.rejects(writeFileDurably(path, Buffer.alloc(64 * 1024)), isDiskFull)
  assert.equal(readFileSync(path, "utf8"), "old")
  assert.deepEqual(readdirSync(small).sort(), ["ballast", "state.json"])
})

test("adopting a layer onto a full disk from elsewhere leaves the file where it was", { skip }, async (context) => {
  const small = smallFileSystem(context, 512 * 1024)
  const content = contentOf("too large", 20 * PIECE)
  const torrent = torrentOf(content, PIECE)
  const sealed = join(temporaryDirectory(context), "sealed")
  writeFileSync(sealed, content)
  await using layers = await LayerStore.open(join(small, "layers"))
  await assert.rejects(layers.adopt(torrent, sealed), isDiskFull)
  assert.ok(readFileSync(sealed).equals(content))
  assert.equal(await layers.isWhole(torrent.infohash), false)
  assert.deepEqual(readdirSync(join(small, "layers", torrent.infohash)), ["info"])
})

test("a wanted stage without room is refused with its figures", { skip }, async (context) => {
  const small = smallFileSystem(context, 1024 * 1024)
  const wanted = join(small, "not/yet/there")
  const places = await stagingPlaces(join(small, "target"), wanted)
  assert.throws(() => chooseStaging(places, 1_000), { code: "DISK_FULL", message: new RegExp(`${wanted} has only \\d+ bytes free`) })
  mkdirSync(wanted, { recursive: true })
  assert.throws(() => chooseStaging(places, 1_000), { code: "DISK_FULL" })
})

/** Leaves no room at all. */
function fill(path: string): void {
  spawnSync("dd", ["if=/dev/zero", `of=${path}`, "bs=4096"])
}
