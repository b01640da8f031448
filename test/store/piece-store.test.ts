/** One suite for every piece store: the one in memory is a true twin of the one on disk. */
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { describe, test, type TestContext } from "node:test"
import type { PieceStore } from "#core/piece-store.ts"
import type { Torrent } from "#core/torrent.ts"
import { FilePieceStore } from "#store/file-piece-store.ts"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { WindowPieceStore } from "#store/window-piece-store.ts"
import { contentOf, pieceOf, seededNumbers, temporaryDirectory, torrentOf } from "./torrents.ts"

const PIECE = 16 * 1024
const content = contentOf("conformance", 5 * PIECE + 1_000)
const torrent = torrentOf(content, PIECE)

/** A tmpfs nearly everywhere. */
const SHARED_MEMORY = "/dev/shm"

type MakeStore = (context: TestContext, torrent: Torrent) => Promise<PieceStore>

const stores: Readonly<Record<string, MakeStore>> = {
  MemoryPieceStore: async (_context, of) => new MemoryPieceStore(of),
  "WindowPieceStore as wide as the torrent": async (_context, of) =>
    new WindowPieceStore(of, { aheadPieces: of.pieceCount, behindPieces: 0 }),
  FilePieceStore: async (context, of) => FilePieceStore.open(temporaryDirectory(context), of),
  ...(existsSync(SHARED_MEMORY) && {
    "FilePieceStore in memory": async (context, of) => FilePieceStore.open(temporaryDirectory(context, SHARED_MEMORY), of),
  }),
}

/** Closed before its directory is removed: what is done after a test is done in the order of asking. */
async function opened(context: TestContext, make: () => Promise<PieceStore>): Promise<PieceStore> {
  let store: PieceStore | null = null
  context.after(() => store?.close())
  store = await make()
  return store
}

for (const [name, make] of Object.entries(stores)) describe(name, () => conformance(make))

function conformance(make: MakeStore): void {
  const open = (context: TestContext, of: Torrent = torrent) => opened(context, () => make(context, of))

  test("begins with every piece missing and the torrent's measures", async (context) => {
    const store = await open(context)
    assert.deepEqual([store.pieceCount, store.contentBytes, store.pieceBytes, store.heldCount], [6, content.length, PIECE, 0])
    for (let piece = 0; piece < 6; piece++) assert.equal(store.has(piece), false)
  })

  test("holds a piece once its write resolves, and gives the same bytes back", async (context) => {
    const store = await open(context)
    await store.write(2, pieceOf(content, torrent, 2))
    assert.deepEqual([store.has(2), store.has(1), store.heldCount], [true, false, 1])
    const into = Buffer.alloc(PIECE)
    await store.read(2 * PIECE, PIECE, into)
    assert.ok(into.equals(pieceOf(content, torrent, 2)))
  })

  test("copies what is written: the caller's buffer is free after the promise settles", async (context) => {
    const store = await open(context)
    const bytes = Buffer.from(pieceOf(content, torrent, 0))
    await store.write(0, bytes)
    bytes.fill(0)
    const into = Buffer.alloc(64)
    await store.read(0, 64, into)
    assert.ok(into.equals(content.subarray(0, 64)))
  })

  test("takes a piece again, and twice at once, as one", async (context) => {
    const store = await open(context)
    await Promise.all([store.write(5, pieceOf(content, torrent, 5)), store.write(5, pieceOf(content, torrent, 5))])
    await store.write(5, pieceOf(content, torrent, 5))
    assert.equal(store.heldCount, 1)
  })

  test("never changes a piece that is held", async (context) => {
    const store = await open(context)
    await store.write(1, pieceOf(content, torrent, 1))
    await store.write(1, Buffer.alloc(PIECE))
    const into = Buffer.alloc(PIECE)
    await store.read(PIECE, PIECE, into)
    assert.ok(into.equals(pieceOf(content, torrent, 1)))
  })

  test("reads any range of held pieces, across their borders, into the start of the buffer", async (context) => {
    const seed = 20_261_122
    const number = seededNumbers(seed)
    const store = await open(context)
    for (let piece = 0; piece < 6; piece++) await store.write(piece, pieceOf(content, torrent, piece))
    for (let round = 0; round < 100; round++) {
      const offset = number(content.length + 1)
      const length = number(content.length - offset + 1)
      const into = Buffer.alloc(length + 3, 0xee)
      await store.read(offset, length, into)
      assert.ok(into.subarray(0, length).equals(content.subarray(offset, offset + length)), `seed ${seed}, ${length} at ${offset}`)
      assert.ok(into.subarray(length).equals(Buffer.alloc(3, 0xee)), "the rest of the buffer is left alone")
    }
  })

  test("refuses to read a range that touches a missing piece", async (context) => {
    const store = await open(context)
    await store.write(1, pieceOf(content, torrent, 1))
    const into = Buffer.alloc(3 * PIECE)
    for (const [offset, length] of [
      [0, 1],
      [PIECE - 1, 2],
      [PIECE, PIECE + 1],
      [2 * PIECE, 1],
    ] as const)
      await assert.rejects(store.read(offset, length, into), RangeError, `${length} at ${offset}`)
    await store.read(PIECE, PIECE, into)
  })

  test("refuses ranges outside the content and buffers too short for them", async (context) => {
    const store = await open(context)
    for (let piece = 0; piece < 6; piece++) await store.write(piece, pieceOf(content, torrent, piece))
    const into = Buffer.alloc(content.length + 10)
    for (const [offset, length] of [
      [-1, 2],
      [0, -1],
      [content.length, 1],
      [0, content.length + 1],
      [0.5, 1],
      [Number.NaN, 1],
      [Number.MAX_SAFE_INTEGER, 1],
    ] as const)
      await assert.rejects(store.read(offset, length, into), RangeError, `${length} at ${offset}`)
    await assert.rejects(store.read(0, 10, Buffer.alloc(9)), RangeError)
  })

  test("refuses pieces of another position or length than the torrent's", async (context) => {
    const store = await open(context)
    for (const piece of [-1, 6, 0.5, Number.NaN]) await assert.rejects(store.write(piece, Buffer.alloc(PIECE)), RangeError)
    await assert.rejects(store.write(0, Buffer.alloc(PIECE - 1)), RangeError)
    await assert.rejects(store.write(5, Buffer.alloc(PIECE)), RangeError)
    assert.equal(store.heldCount, 0)
    for (const piece of [-1, 6, 0.5, Number.NaN, 1e9]) assert.equal(store.has(piece), false)
  })

  test("takes many pieces at once, in any order", async (context) => {
    const many = contentOf("many", 64 * PIECE - 5)
    const of = torrentOf(many, PIECE)
    const store = await open(context, of)
    const order = Array.from({ length: of.pieceCount }, (_, index) => (index * 37) % of.pieceCount)
    await Promise.all(order.map((piece) => store.write(piece, pieceOf(many, of, piece))))
    assert.equal(store.heldCount, of.pieceCount)
    await store.sync()
    const into = Buffer.alloc(many.length)
    await store.read(0, many.length, into)
    assert.ok(into.equals(many))
  })

  test("takes a torrent of one short piece", async (context) => {
    const tiny = contentOf("tiny", 1)
    const of = torrentOf(tiny, PIECE)
    const store = await open(context, of)
    await store.write(0, tiny)
    const into = Buffer.alloc(1)
    await store.read(0, 1, into)
    assert.deepEqual(into, tiny)
  })

  test("throws after close, and closes twice without harm", async (context) => {
    const store = await open(context)
    await store.write(0, pieceOf(content, torrent, 0))
    await Promise.all([store.close(), store.close()])
    await assert.rejects(store.read(0, 1, Buffer.alloc(1)), TypeError)
    await assert.rejects(store.write(1, pieceOf(content, torrent, 1)), TypeError)
    await assert.rejects(store.sync(), TypeError)
    await store.close()
  })
}

test("MemoryPieceStore.full() holds everything, and refuses content of another length", async () => {
  const store = MemoryPieceStore.full(torrent, content)
  assert.deepEqual([store.heldCount, store.complete], [6, true])
  const into = Buffer.alloc(content.length)
  await store.read(0, content.length, into)
  assert.ok(into.equals(content))
  assert.throws(() => MemoryPieceStore.full(torrent, content.subarray(1)), RangeError)
})
