/** Blocks as they go over the wire, several in one buffer: read in whole runs from the store, in buffers that are used again. */
import type { PieceStore } from "#core/piece-store.ts"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { BlockSpan } from "./core/messages.ts"
import { defaultLimits } from "./core/limits.ts"
import { BLOCK_HEADER_BYTES, writeBlockHeader } from "./wire.ts"

/** Room for the largest turn: the core adds blocks until it is reached, and no more of them than may be queued. */
const FRAME_BYTES = defaultLimits.uploadTurnBytes + BLOCK_BYTES + defaultLimits.requestsQueued * BLOCK_HEADER_BYTES
const SPARE_MAX = 16

export class UploadFrames {
  readonly #spare: Buffer[] = []

  /**
   * One buffer with all of these blocks, each after its header. The buffer is the caller's until `giveBack`.
   * @throws whatever the store throws
   */
  async read(store: PieceStore, blocks: readonly BlockSpan[]): Promise<{ readonly frame: Buffer; readonly length: number }> {
    const frame = this.#spare.pop() ?? Buffer.allocUnsafeSlow(FRAME_BYTES)
    let at = 0
    for (let first = 0; first < blocks.length;) {
      const run = runFrom(blocks, first)
      await readRun(store, run, frame, at)
      for (const block of run) at += BLOCK_HEADER_BYTES + block.length
      first += run.length
    }
    return { frame, length: at }
  }

  giveBack(frame: Buffer): void {
    if (this.#spare.length < SPARE_MAX) this.#spare.push(frame)
  }
}

/** Blocks that follow one another in one piece. */
function runFrom(blocks: readonly BlockSpan[], first: number): readonly BlockSpan[] {
  let end = first + 1
  for (; end < blocks.length; end += 1) {
    const before = blocks[end - 1]
    const block = blocks[end]
    if (before === undefined || block === undefined) break
    if (block.piece !== before.piece || block.offset !== before.offset + before.length) break
  }
  return blocks.slice(first, end)
}

/**
 * The run is read in one go to where its last byte belongs; then each block, from the first, moves down to make room for the headers between.
 * Every move is downwards and ends before the next block's bytes begin, so nothing is overwritten before it was moved.
 */
async function readRun(store: PieceStore, run: readonly BlockSpan[], frame: Buffer, at: number): Promise<void> {
  const first = run[0]
  if (first === undefined) return
  const runBytes = run.reduce((sum, block) => sum + block.length, 0)
  let from = at + run.length * BLOCK_HEADER_BYTES
  await store.read(first.piece * store.pieceBytes + first.offset, runBytes, frame.subarray(from, from + runBytes))
  let to = at
  for (const block of run) {
    frame.copyWithin(to + BLOCK_HEADER_BYTES, from, from + block.length)
    writeBlockHeader(frame, to, block.piece, block.offset, block.length)
    to += BLOCK_HEADER_BYTES + block.length
    from += block.length
  }
}
