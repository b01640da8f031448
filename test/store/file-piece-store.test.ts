import assert from "node:assert/strict"
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { test, type TestContext } from "node:test"
import { GridError } from "#core/errors.ts"
import { FilePieceStore } from "#store/file-piece-store.ts"
import { contentOf, pieceOf, temporaryDirectory, torrentOf } from "./torrents.ts"

const PIECE = 16 * 1024
const content = contentOf("file", 20 * PIECE - 77)
const torrent = torrentOf(content, PIECE)

/** A directory with these pieces written and recorded by a store that is closed. */
async function written(context: TestContext, pieces: readonly number[]): Promise<string> {
  const directory = join(temporaryDirectory(context), "layer")
  const store = await FilePieceStore.open(directory, torrent)
  for (const piece of pieces) await store.write(piece, pieceOf(content, torrent, piece))
  await store.close()
  return directory
}

async function heldAfterReopening(directory: string): Promise<number[]> {
  const store = await FilePieceStore.open(directory, torrent)
  try {
    const held = Array.from({ length: torrent.pieceCount }, (_, piece) => piece).filter((piece) => store.has(piece))
    for (const piece of held) {
      const expected = pieceOf(content, torrent, piece)
      const into = Buffer.alloc(expected.length)
      await store.read(piece * PIECE, expected.length, into)
      assert.ok(into.equals(expected), `piece ${piece} is held and is not what was written`)
    }
    return held
  } finally {
    await store.close()
  }
}

test("a store that is opened again has the pieces that were synced, and goes on", async (context) => {
  const directory = await written(context, [0, 7, 19])
  assert.deepEqual(await heldAfterReopening(directory), [0, 7, 19])
  const store = await FilePieceStore.open(directory, torrent)
  for (let piece = 0; piece < torrent.pieceCount; piece++) await store.write(piece, pieceOf(content, torrent, piece))
  assert.equal(store.complete, true)
  await store.close()
  assert.ok(readFileSync(store.path).equals(content), "a whole layer's file is the sealed layer itself")
})

test("sync() records what was accepted before it: another process sees it at once", async (context) => {
  const directory = join(temporaryDirectory(context), "layer")
  const store = await FilePieceStore.open(directory, torrent)
  await store.write(3, pieceOf(content, torrent, 3))
  await store.sync()
  assert.deepEqual(await heldAfterReopening(directory), [3])
  await store.close()
})

test("pieces are recorded by themselves within a bounded time", async (context) => {
  const directory = join(temporaryDirectory(context), "layer")
  const store = await FilePieceStore.open(directory, torrent)
  await store.write(3, pieceOf(content, torrent, 3))
  const deadline = AbortSignal.timeout(5_000)
  while (!existsSync(join(directory, "held"))) {
    deadline.throwIfAborted()
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.deepEqual(await heldAfterReopening(directory), [3])
  await store.close()
})

test("opening and closing a store writes nothing that was there already", async (context) => {
  const directory = await written(context, [1, 2])
  const before = readdirSync(directory).map((name) => [name, statSync(join(directory, name), { bigint: true }).ctimeNs])
  await heldAfterReopening(directory)
  const after = readdirSync(directory).map((name) => [name, statSync(join(directory, name), { bigint: true }).ctimeNs])
  assert.deepEqual(after, before)
})

test("the file is sparse: a late piece alone takes no room for those before it", async (context) => {
  const directory = await written(context, [19])
  const { size, blocks } = statSync(join(directory, "layer.age"))
  assert.equal(size, content.length)
  assert.ok(blocks * 512 <= 4 * PIECE, `${blocks} blocks`)
})

test("a torn, damaged or foreign record means that nothing is held, and never a lie", async (context) => {
  const directory = await written(context, [0, 1, 2, 3])
  const file = join(directory, "held")
  const good = readFileSync(file)
  const other = torrentOf(contentOf("another", content.length), PIECE)
  const foreign = await FilePieceStore.open(join(directory, "other"), other)
  await foreign.write(0, pieceOf(contentOf("another", content.length), other, 0))
  await foreign.close()
  const records: Record<string, Buffer> = {
    empty: Buffer.alloc(0),
    "cut off": good.subarray(0, good.length - 1),
    longer: Buffer.concat([good, Buffer.alloc(1)]),
    zeros: Buffer.alloc(good.length),
    "another torrent's": readFileSync(join(directory, "other/held")),
  }
  for (let byte = 0; byte < good.length; byte++) {
    const flipped = Buffer.from(good)
    flipped[byte] = (flipped[byte] ?? 0) ^ 0x10
    records[`byte ${byte} flipped`] = flipped
  }
  for (const [what, record] of Object.entries(records)) {
    writeFileSync(file, record)
    assert.deepEqual(await heldAfterReopening(directory), [], what)
  }
  writeFileSync(file, good)
  assert.deepEqual(await heldAfterReopening(directory), [0, 1, 2, 3])
})

test("pieces behind the end of a file that was cut are missing", async (context) => {
  const directory = await written(context, [0, 1, 2, 19])
  truncateSync(join(directory, "layer.age"), 2 * PIECE + 1)
  assert.deepEqual(await heldAfterReopening(directory), [0, 1])
})

test("a record that claimed too much is put right before a later piece can hide it", async (context) => {
  const directory = await written(context, [0, 1, 19])
  rmSync(join(directory, "layer.age"))
  const store = await FilePieceStore.open(directory, torrent)
  await store.write(19, pieceOf(content, torrent, 19))
  // As if the process died here: the file has its full length again, and a hole where pieces 0 and 1 were.
  const record = readFileSync(join(directory, "held"))
  await store.close()
  writeFileSync(join(directory, "held"), record)
  assert.deepEqual(await heldAfterReopening(directory), [])
})

test("damaged metadata is written anew", async (context) => {
  const directory = await written(context, [4])
  writeFileSync(join(directory, "info"), "nonsense")
  assert.deepEqual(await heldAfterReopening(directory), [4])
  assert.ok(readFileSync(join(directory, "info")).equals(torrent.infoBytes))
})

test("what stands in a file's place and is none is refused, and never followed", async (context) => {
  for (const name of ["held", "info", "layer.age"])
    for (const kind of ["directory", "link", "fifo"] as const) {
      const directory = temporaryDirectory(context)
      const path = join(directory, name)
      if (kind === "directory") mkdirSync(path)
      else if (kind === "link") symlinkSync("/etc/passwd", path)
      else assert.equal(spawnSync("mkfifo", [path]).status, 0)
      await assert.rejects(
        FilePieceStore.open(directory, torrent),
        (error) => error instanceof GridError && error.code === "STATE_DAMAGED",
        `${name} as a ${kind}`,
      )
    }
})

test("a file that shrinks while it is open is an error, not zeros", async (context) => {
  const directory = await written(context, [0, 1])
  const store = await FilePieceStore.open(directory, torrent)
  truncateSync(store.path, PIECE)
  const into = Buffer.alloc(PIECE)
  await store.read(0, PIECE, into)
  await assert.rejects(store.read(PIECE, PIECE, into), (error) => error instanceof GridError && error.code === "STATE_DAMAGED")
  await store.close()
})

test("what a dead process left half written is cleared away, what a living one writes is not", async (context) => {
  const directory = await written(context, [0])
  const dead = spawnSync("true").pid
  writeFileSync(join(directory, `held.tmp-${dead}-0123456789ab`), "x")
  writeFileSync(join(directory, `held.tmp-${process.pid}-0123456789ab`), "x")
  assert.deepEqual(await heldAfterReopening(directory), [0])
  assert.deepEqual(readdirSync(directory).sort(), ["held", `held.tmp-${process.pid}-0123456789ab`, "info", "layer.age"])
})

test("close() waits for writes under way and records them", async (context) => {
  const directory = join(temporaryDirectory(context), "layer")
  const store = await FilePieceStore.open(directory, torrent)
  const writes = [5, 6, 7].map((piece) => store.write(piece, pieceOf(content, torrent, piece)))
  await store.close()
  await Promise.all(writes)
  assert.deepEqual(await heldAfterReopening(directory), [5, 6, 7])
})
