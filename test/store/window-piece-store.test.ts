import assert from "node:assert/strict"
import { test } from "node:test"
import { windowFor, WindowPieceStore } from "#store/window-piece-store.ts"
import { contentOf, pieceOf, torrentOf } from "./torrents.ts"

const PIECE = 16 * 1024
const MEBI = 1024 * 1024
const content = contentOf("window", 40 * PIECE + 77)
const torrent = torrentOf(content, PIECE)

test("a window over a whole torrent never takes memory for more than its pieces, and gives each back as it was written", async () => {
  const store = new WindowPieceStore(torrent, { aheadPieces: 3, behindPieces: 2 })
  const buffersBefore = process.memoryUsage().arrayBuffers
  for (let piece = 0; piece < torrent.pieceCount; piece += 1) {
    store.window.forget(piece - 3)
    await store.write(piece, pieceOf(content, torrent, piece))
    const expected = pieceOf(content, torrent, piece)
    const into = Buffer.alloc(expected.length)
    await store.read(piece * PIECE, into.length, into)
    assert.ok(into.equals(expected), `piece ${piece}`)
    assert.ok(store.heldCount <= 3)
  }
  // 41 copies are read into, one at a time; what is kept beside them is not to grow with the torrent.
  assert.ok(process.memoryUsage().arrayBuffers - buffersBefore < torrent.contentBytes + 8 * PIECE)
})

test("a piece more than there is room for is refused, and taken once another was forgotten", async () => {
  const store = new WindowPieceStore(torrent, { aheadPieces: 2, behindPieces: 1 })
  for (const piece of [4, 5, 6]) await store.write(piece, pieceOf(content, torrent, piece))
  await assert.rejects(store.write(7, pieceOf(content, torrent, 7)), RangeError)
  store.window.forget(4)
  store.window.forget(4)
  assert.deepEqual([store.has(4), store.heldCount], [false, 2])
  await store.write(7, pieceOf(content, torrent, 7))
  await assert.rejects(store.read(4 * PIECE, 1, Buffer.alloc(1)), RangeError)
  await store.write(5, pieceOf(content, torrent, 5))
  assert.equal(store.heldCount, 3)
})

test("what is read at the moment in which a piece is forgotten, and its room given to another, is that piece", async () => {
  const store = new WindowPieceStore(torrent, { aheadPieces: 1, behindPieces: 0 })
  await store.write(0, pieceOf(content, torrent, 0))
  const into = Buffer.alloc(PIECE)
  const reading = store.read(0, PIECE, into)
  store.window.forget(0)
  await store.write(1, pieceOf(content, torrent, 1))
  await reading
  assert.ok(into.equals(pieceOf(content, torrent, 0)))
})

test("a window has the same room for pieces of any length up to 4 MiB, and a few of longer ones", () => {
  for (let pieceBytes = 256 * 1024; pieceBytes <= 4 * MEBI; pieceBytes *= 2) {
    const { aheadPieces, behindPieces } = windowFor(pieceBytes)
    assert.equal((aheadPieces + behindPieces) * pieceBytes, 28 * MEBI, `pieces of ${pieceBytes}`)
  }
  assert.deepEqual(windowFor(16 * MEBI), { aheadPieces: 4, behindPieces: 2 })
  assert.deepEqual(windowFor(64 * 1024), { aheadPieces: 192, behindPieces: 96 })
})
