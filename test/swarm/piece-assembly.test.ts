import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { BLOCK_BYTES } from "#core/torrent.ts"
import { PieceAssembly } from "#swarm/piece-assembly.ts"
import { testContent, torrentOf } from "./fixture.ts"

const PIECE_BYTES = 4 * BLOCK_BYTES
/** Three whole pieces and one that ends within its second block. */
const content = testContent(3 * PIECE_BYTES + BLOCK_BYTES + 77)
const torrent = torrentOf(content, PIECE_BYTES)

/** Where each block of a piece begins in it. */
function offsetsOf(piece: number): number[] {
  const pieceBytes = Math.min(PIECE_BYTES, content.length - piece * PIECE_BYTES)
  return Array.from({ length: Math.ceil(pieceBytes / BLOCK_BYTES) }, (_, block) => block * BLOCK_BYTES)
}

function blockAt(piece: number, offset: number): Buffer {
  const from = piece * PIECE_BYTES + offset
  return Buffer.from(content.subarray(from, Math.min(from + BLOCK_BYTES, (piece + 1) * PIECE_BYTES, content.length)))
}

test("pieces are verified in whatever order their blocks come, and however each is cut", () => {
  const everyBlock = [0, 1, 2, 3].flatMap((piece) => offsetsOf(piece).map((offset) => ({ piece, offset })))
  const order = fc.shuffledSubarray(everyBlock, { minLength: everyBlock.length })
  fc.assert(
    fc.property(order, fc.nat({ max: 76 }), (blocks, cut) => {
      const assembly = new PieceAssembly(torrent)
      for (const { piece, offset } of blocks) {
        const block = blockAt(piece, offset)
        assembly.keep(piece, offset, [block.subarray(0, cut), block.subarray(cut)])
        // The socket's next bytes come into the same memory.
        block.fill(0)
      }
      for (const piece of [0, 1, 2, 3]) {
        const from = piece * PIECE_BYTES
        const verified = assembly.verify(piece)
        assert.ok(verified?.bytes.equals(content.subarray(from, from + PIECE_BYTES)))
        assert.deepEqual(verified?.wrongBlocks, [])
        assembly.drop(piece)
      }
    }),
    { numRuns: 100 },
  )
})

test("a piece with a wrong byte is refused, and the wrong block is named when a right attempt follows", () => {
  const assembly = new PieceAssembly(torrent)
  for (const offset of offsetsOf(1)) {
    const block = blockAt(1, offset)
    if (offset === 2 * BLOCK_BYTES) block[5] = (block[5] ?? 0) ^ 1
    assembly.keep(1, offset, [block])
  }
  assert.equal(assembly.verify(1), null)
  assembly.drop(1)
  for (const offset of offsetsOf(1)) assembly.keep(1, offset, [blockAt(1, offset)])
  assert.deepEqual(assembly.verify(1)?.wrongBlocks, [2])
})

test("a piece that was dropped half way begins anew, with nothing of the first attempt", () => {
  const assembly = new PieceAssembly(torrent)
  assembly.keep(0, 0, [Buffer.alloc(BLOCK_BYTES, 7)])
  assembly.keep(0, 2 * BLOCK_BYTES, [Buffer.alloc(BLOCK_BYTES, 7)])
  assembly.drop(0)
  for (const offset of offsetsOf(0).toReversed()) assembly.keep(0, offset, [blockAt(0, offset)])
  assert.deepEqual(assembly.verify(0)?.wrongBlocks, [])
})

test("a piece of which a block is missing is not verified", () => {
  const assembly = new PieceAssembly(torrent)
  assert.equal(assembly.verify(0), null)
  for (const offset of offsetsOf(0).slice(1)) assembly.keep(0, offset, [blockAt(0, offset)])
  assert.equal(assembly.verify(0), null)
})

test("bytes that were verified stay as they are while other pieces come, until they are dropped", () => {
  const assembly = new PieceAssembly(torrent)
  for (const offset of offsetsOf(0)) assembly.keep(0, offset, [blockAt(0, offset)])
  const verified = assembly.verify(0)
  for (const piece of [1, 2]) for (const offset of offsetsOf(piece)) assembly.keep(piece, offset, [blockAt(piece, offset)])
  assert.ok(verified?.bytes.equals(content.subarray(0, PIECE_BYTES)))
  assembly.drop(0)
  for (const offset of offsetsOf(3)) assembly.keep(3, offset, [blockAt(3, offset)])
  assert.ok(assembly.verify(3)?.bytes.equals(content.subarray(3 * PIECE_BYTES)))
})
