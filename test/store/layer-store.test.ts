import assert from "node:assert/strict"
import { mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { test, type TestContext } from "node:test"
import { infohash } from "#core/identifiers.ts"
import type { Torrent } from "#core/torrent.ts"
import { LayerStore } from "#store/layer-store.ts"
import { contentOf, pieceOf, temporaryDirectory, torrentOf } from "./torrents.ts"

const PIECE = 16 * 1024
const content = contentOf("layer store", 5 * PIECE + 5)
const torrent = torrentOf(content, PIECE)
const unknown = infohash("0".repeat(40))

function sealedFile(context: TestContext, bytes: Buffer = content, parent?: string): string {
  const path = join(temporaryDirectory(context, parent), "sealed")
  writeFileSync(path, bytes)
  return path
}

async function readAll(layers: LayerStore, of: Torrent = torrent): Promise<Buffer> {
  const pieces = await layers.pieces(of)
  const into = Buffer.alloc(of.contentBytes)
  await pieces.read(0, into.length, into)
  return into
}

test("an empty store knows nothing, and says so without an error", async (context) => {
  await using layers = await LayerStore.open(join(temporaryDirectory(context), "deep/layers"))
  assert.deepEqual(await layers.infohashes(), [])
  assert.equal(await layers.torrent(unknown), null)
  assert.equal(await layers.isWhole(unknown), false)
  await layers.remove(unknown)
})

test("a layer that is downloaded piece by piece is continued by the next store", async (context) => {
  const directory = temporaryDirectory(context)
  const first = await LayerStore.open(directory)
  const pieces = await first.pieces(torrent)
  await pieces.write(1, pieceOf(content, torrent, 1))
  assert.equal(await first.isWhole(torrent.infohash), false)
  await first.close()
  assert.equal(pieces.closed, true)

  await using second = await LayerStore.open(directory)
  assert.deepEqual(await second.infohashes(), [torrent.infohash])
  const kept = await second.torrent(torrent.infohash)
  assert.ok(kept !== null && kept.infoBytes.equals(torrent.infoBytes))
  const continued = await second.pieces(kept)
  assert.deepEqual([continued.has(1), continued.heldCount], [true, 1])
  for (let piece = 0; piece < torrent.pieceCount; piece++) await continued.write(piece, pieceOf(content, torrent, piece))
  assert.equal(await second.isWhole(torrent.infohash), true)
})

test("all who ask for a layer share one piece store; a closed one is opened anew", async (context) => {
  await using layers = await LayerStore.open(temporaryDirectory(context))
  const [one, two] = await Promise.all([layers.pieces(torrent), layers.pieces(torrent)])
  assert.equal(one, two)
  await one.write(0, pieceOf(content, torrent, 0))
  const closing = one.close()
  const three = await layers.pieces(torrent)
  await closing
  assert.notEqual(three, one)
  assert.equal(three.has(0), true)
})

test("adopt() takes a whole file over by moving it, and doing it again is harmless", async (context) => {
  const directory = temporaryDirectory(context)
  const sealed = sealedFile(context, content, directory)
  await using layers = await LayerStore.open(join(directory, "layers"))
  await layers.adopt(torrent, sealed)
  assert.throws(() => readFileSync(sealed), { code: "ENOENT" })
  assert.equal(await layers.isWhole(torrent.infohash), true)
  assert.ok((await readAll(layers)).equals(content))
  await layers.adopt(torrent, sealed)
  writeFileSync(sealed, content)
  await layers.adopt(torrent, sealed)
  assert.throws(() => readFileSync(sealed), { code: "ENOENT" })
  assert.ok((await readAll(layers)).equals(content))
})

test("adopt() copies from another file system", async (context) => {
  if (spawnSync("stat", ["-f", "-c", "%T", "/dev/shm"], { encoding: "utf8" }).stdout.trim() !== "tmpfs")
    return context.skip("/dev/shm is no tmpfs here")
  const sealed = sealedFile(context, content, "/dev/shm")
  await using layers = await LayerStore.open(temporaryDirectory(context))
  await layers.adopt(torrent, sealed)
  assert.throws(() => readFileSync(sealed), { code: "ENOENT" })
  assert.ok((await readAll(layers)).equals(content))
})

test("adopt() completes a layer that was half downloaded, also while its pieces are open", async (context) => {
  const directory = temporaryDirectory(context)
  await using layers = await LayerStore.open(join(directory, "layers"))
  const half = await layers.pieces(torrent)
  await half.write(0, pieceOf(content, torrent, 0))
  await layers.adopt(torrent, sealedFile(context, content, directory))
  assert.equal(half.closed, true)
  assert.equal(await layers.isWhole(torrent.infohash), true)
  assert.ok((await readAll(layers)).equals(content))
})

test("adopt() refuses a file of another length and leaves it", async (context) => {
  await using layers = await LayerStore.open(temporaryDirectory(context))
  const sealed = sealedFile(context, content.subarray(1))
  await assert.rejects(layers.adopt(torrent, sealed), RangeError)
  assert.equal(readFileSync(sealed).length, content.length - 1)
  assert.equal(await layers.isWhole(torrent.infohash), false)
})

test("an adoption that was cut off at any step leaves the layer whole or missing, and can be repeated", async (context) => {
  const directory = temporaryDirectory(context)
  const whole = await LayerStore.open(join(directory, "whole"))
  await whole.adopt(torrent, sealedFile(context, content, directory))
  await whole.close()
  const kept = (name: string) => readFileSync(join(directory, "whole", torrent.infohash, name))
  // The steps in the order of adopt(): directory, info, the file, the record.
  const steps = ["info", "layer.age", "held"]
  for (let done = 0; done <= steps.length; done++) {
    const at = join(directory, `cut-${done}`)
    mkdirSync(join(at, torrent.infohash), { recursive: true })
    for (const name of steps.slice(0, done)) writeFileSync(join(at, torrent.infohash, name), kept(name))
    await using layers = await LayerStore.open(at)
    assert.equal(await layers.isWhole(torrent.infohash), done === steps.length, `after ${done} steps`)
    const pieces = await layers.pieces(torrent)
    assert.equal(pieces.heldCount, done === steps.length ? torrent.pieceCount : 0)
    await layers.adopt(torrent, sealedFile(context, content, directory))
    assert.ok((await readAll(layers)).equals(content), `repeated after ${done} steps`)
  }
})

test("a layer that another process adopted is seen by a store that is open already", async (context) => {
  const directory = temporaryDirectory(context)
  await using server = await LayerStore.open(directory)
  assert.equal(await server.isWhole(torrent.infohash), false)
  await using publisher = await LayerStore.open(directory)
  await publisher.adopt(torrent, sealedFile(context))
  assert.equal(await server.isWhole(torrent.infohash), true)
  assert.ok((await readAll(server)).equals(content))
})

test("remove() forgets a layer and its bytes, and closes its piece store", async (context) => {
  const directory = temporaryDirectory(context)
  await using layers = await LayerStore.open(directory)
  await layers.adopt(torrent, sealedFile(context))
  const pieces = await layers.pieces(torrent)
  await layers.remove(torrent.infohash)
  assert.equal(pieces.closed, true)
  assert.deepEqual(readdirSync(directory), [])
  assert.equal(await layers.torrent(torrent.infohash), null)
  assert.equal((await layers.pieces(torrent)).heldCount, 0)
})

test("infohashes() answers after close, and when the directory is gone", async (context) => {
  const directory = temporaryDirectory(context)
  const layers = await LayerStore.open(directory)
  await layers.adopt(torrent, sealedFile(context))
  await layers.close()
  assert.deepEqual(await layers.infohashes(), [torrent.infohash])
  await assert.rejects(layers.pieces(torrent), TypeError)
  rmSync(directory, { recursive: true })
  assert.deepEqual(await layers.infohashes(), [])
})

test("what dead processes left half done is cleared away at the opening", async (context) => {
  const directory = temporaryDirectory(context)
  const dead = spawnSync("true").pid
  mkdirSync(join(directory, `${torrent.infohash}.tmp-${dead}-0123456789ab`, "layer.age"), { recursive: true })
  mkdirSync(join(directory, `${torrent.infohash}.tmp-${process.pid}-0123456789ab`))
  await using layers = await LayerStore.open(directory)
  assert.deepEqual(readdirSync(directory), [`${torrent.infohash}.tmp-${process.pid}-0123456789ab`])
  assert.deepEqual(await layers.infohashes(), [])
})

test("hostile contents of the directory are passed over", async (context) => {
  const directory = temporaryDirectory(context)
  const [a, b, c, d] = ["a", "b", "c", "d"].map((digit) => infohash(digit.repeat(40)))
  assert.ok(a !== undefined && b !== undefined && c !== undefined && d !== undefined)
  writeFileSync(join(directory, "stray"), "x")
  mkdirSync(join(directory, "not an infohash"))
  mkdirSync(join(directory, "A".repeat(40)))
  writeFileSync(join(directory, a), "a file in a directory's place")
  symlinkSync("/etc", join(directory, b))
  mkdirSync(join(directory, c, "info"), { recursive: true })
  mkdirSync(join(directory, d))
  writeFileSync(join(directory, d, "info"), torrent.infoBytes)
  await using layers = await LayerStore.open(directory)
  assert.deepEqual(await layers.infohashes(), [c, d])
  for (const each of [a, b, c, d]) {
    assert.equal(await layers.torrent(each), null)
    assert.equal(await layers.isWhole(each), false)
  }
  await layers.remove(c)
  assert.deepEqual(await layers.infohashes(), [d])
})

test("layers that are all read keep no more than 128 files open", async (context) => {
  const directory = temporaryDirectory(context)
  const tiny = Array.from({ length: 300 }, (_, index) => contentOf(`tiny ${index}`, 100))
  await using layers = await LayerStore.open(directory)
  const before = readdirSync("/proc/self/fd").length
  const into = Buffer.alloc(100)
  for (const bytes of tiny) {
    const of = torrentOf(bytes, PIECE)
    const layer = join(directory, of.infohash)
    // Laid out by hand: three hundred adoptions would wait for the disk each time.
    mkdirSync(layer)
    writeFileSync(join(layer, "info"), of.infoBytes)
    writeFileSync(join(layer, "layer.age"), bytes)
    const pieces = await layers.pieces(of)
    await pieces.write(0, bytes)
    await pieces.read(0, 100, into)
    assert.ok(into.equals(bytes))
  }
  const one = torrentOf(tiny[0] ?? Buffer.alloc(0), PIECE)
  assert.ok((await readAll(layers, one)).equals(tiny[0] ?? Buffer.alloc(0)), "a file that was closed meanwhile is opened again")
  await Promise.all(tiny.map(async (bytes) => (await layers.pieces(torrentOf(bytes, PIECE))).sync()))
  const open = readdirSync("/proc/self/fd").length - before
  assert.ok(open <= 128, `${open} files`)
})

test("recheck() strikes off the pieces that are bad on the disk, for good, and keeps the others", async (context) => {
  const directory = temporaryDirectory(context)
  const layers = await LayerStore.open(directory)
  await layers.adopt(torrent, sealedFile(context))
  assert.equal(await layers.recheck(torrent.infohash), 0)
  assert.equal(await layers.isWhole(torrent.infohash), true)
  const path = join(directory, torrent.infohash, "layer.age")
  const bytes = readFileSync(path)
  bytes[3 * PIECE + 7] = (bytes[3 * PIECE + 7] ?? 0) ^ 1
  writeFileSync(path, bytes.subarray(0, 5 * PIECE + 4))
  // One piece is changed, and the last one is cut off.
  assert.equal(await layers.recheck(torrent.infohash), 2)
  assert.equal(await layers.isWhole(torrent.infohash), false)
  await layers.close()

  await using later = await LayerStore.open(directory)
  const pieces = await later.pieces(torrent)
  assert.deepEqual(
    Array.from({ length: torrent.pieceCount }, (_, piece) => pieces.has(piece)),
    [true, true, true, false, true, false],
  )
  for (const piece of [3, 5]) await pieces.write(piece, pieceOf(content, torrent, piece))
  assert.ok((await readAll(later)).equals(content))
  assert.equal(await later.recheck(unknown), 0)
})
