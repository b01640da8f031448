import assert from "node:assert/strict"
import { test } from "node:test"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { BlockSpan } from "#swarm/core/messages.ts"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { UploadFrames } from "#swarm/upload-frames.ts"
import { MessageDecoder } from "#swarm/wire.ts"
import { testContent, torrentOf } from "./fixture.ts"

const PIECE_BYTES = 8 * BLOCK_BYTES
const content = testContent(5 * PIECE_BYTES + 100)
const torrent = torrentOf(content, PIECE_BYTES)
const store = MemoryPieceStore.full(torrent, content)
/** More than there will ever be frames of many blocks. */
const MANY = 1_000

const blockOf = (piece: number, block: number, length = BLOCK_BYTES): BlockSpan => ({ piece, offset: block * BLOCK_BYTES, length })
const wholePiece = (piece: number): BlockSpan[] => Array.from({ length: 8 }, (_, block) => blockOf(piece, block))

function contentOf({ piece, offset, length }: BlockSpan): Buffer {
  const from = piece * PIECE_BYTES + offset
  return content.subarray(from, from + length)
}

function requireBlocks(bytes: Buffer, expected: readonly BlockSpan[]): void {
  const came: BlockSpan[] = []
  new MessageDecoder(1).push(bytes, (message) => {
    assert.ok(message.type === "block")
    const { piece, offset, length } = message
    assert.ok(Buffer.concat(message.block).equals(contentOf(message)), `piece ${piece}, offset ${offset}`)
    came.push({ piece, offset, length })
  })
  assert.deepEqual(came, expected)
}

test("blocks go out in order, each after its header, whether they follow one another in the store or not", async () => {
  const frames = new UploadFrames()
  const blocks = [...wholePiece(1), blockOf(3, 2), blockOf(3, 4), blockOf(0, 0, 7), blockOf(5, 0, 100), blockOf(2, 7)]
  const frame = await frames.read(store, blocks)
  assert.deepEqual(frame.blocks, blocks)
  requireBlocks(frame.bytes, blocks)
})

test("blocks beyond what one frame takes are left for the next", async () => {
  const frames = new UploadFrames()
  let blocks = [0, 1, 2, 3, 4].flatMap(wholePiece)
  while (blocks.length > 0) {
    const frame = await frames.read(store, blocks)
    assert.ok(frame.blocks.length > 1)
    requireBlocks(frame.bytes, blocks.slice(0, frame.blocks.length))
    blocks = blocks.slice(frame.blocks.length)
  }
})

test("peers that leave what they are sent unread hold a bounded part of memory, and others are served all the same", async () => {
  const frames = new UploadFrames()
  let heldBytes = 0
  for (let count = 0; count < MANY; count += 1) {
    const frame = await frames.read(store, wholePiece(0))
    heldBytes += frame.bytes.buffer.byteLength
    requireBlocks(frame.bytes, wholePiece(0).slice(0, frame.blocks.length))
  }
  assert.ok(heldBytes < 32 * 1024 * 1024 + MANY * 2 * BLOCK_BYTES, `${heldBytes} bytes`)
})

test("a frame that was given back serves again", async () => {
  const frames = new UploadFrames()
  const memory = new Set<ArrayBufferLike>()
  for (let count = 0; count < MANY; count += 1) {
    const frame = await frames.read(store, wholePiece(count % 5))
    assert.equal(frame.blocks.length, 8)
    memory.add(frame.bytes.buffer)
    frame.giveBack()
  }
  assert.equal(memory.size, 1)
})

test("a store that fails keeps no frame from those that come after", async () => {
  const frames = new UploadFrames()
  const empty = new MemoryPieceStore(torrent)
  for (let count = 0; count < MANY; count += 1) await assert.rejects(frames.read(empty, wholePiece(0)), RangeError)
  const frame = await frames.read(store, wholePiece(0))
  assert.equal(frame.blocks.length, 8)
})
