/**
 * Blocks as they go over the wire, several in one buffer: read in whole runs from the store, in buffers that are used again and of which there are only
 * so many. While peers keep all of them waiting, blocks go out one by one in small buffers: whoever is slow to read costs others speed, and stops nobody.
 */
import type { PieceStore } from "#core/piece-store.ts"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { BlockSpan } from "./core/messages.ts"
import { BLOCK_HEADER_BYTES, writeBlockHeader } from "./wire.ts"

const FRAME_BLOCKS = 16
/** Frames of many blocks that are with peers at a time: some 17 MB. */
const FRAMES_MAX = 64
/** Buffers for one block that are kept for the next: some 1 MB. */
const SPARE_SINGLES_MAX = 64

/** `bytes` are the caller's until `giveBack`; `blocks` are in them. */
export type UploadFrame = { readonly bytes: Buffer; readonly blocks: readonly BlockSpan[]; readonly giveBack: () => void }

export class UploadFrames {
  readonly #frames = new Buffers(FRAME_BLOCKS, FRAMES_MAX)
  readonly #singles = new Buffers(1, SPARE_SINGLES_MAX)

  /**
   * As many of the first of these blocks as one frame takes, each after its header.
   * @throws whatever the store throws
   */
  async read(store: PieceStore, blocks: readonly BlockSpan[]): Promise<UploadFrame> {
    const buffers = blocks.length === 1 || this.#frames.lent >= FRAMES_MAX ? this.#singles : this.#frames
    const some = blocks.slice(0, buffers.blocksOfOne)
    const buffer = buffers.lend()
    try {
      return { bytes: await fill(store, some, buffer), blocks: some, giveBack: () => buffers.takeBack(buffer) }
    } catch (error) {
      buffers.takeBack(buffer)
      throw error
    }
  }

  /** Lets go of buffers that nobody uses. */
  trim(): void {
    this.#frames.trim()
    this.#singles.trim()
  }
}

/** Buffers of one size, used again. */
class Buffers {
  readonly blocksOfOne: number
  readonly #spareMax: number
  readonly #spare: Buffer[] = []
  #lent = 0

  constructor(blocksOfOne: number, spareMax: number) {
    this.blocksOfOne = blocksOfOne
    this.#spareMax = spareMax
  }

  get lent(): number {
    return this.#lent
  }

  lend(): Buffer {
    this.#lent += 1
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.blocksOfOne * (BLOCK_HEADER_BYTES + BLOCK_BYTES))
  }

  takeBack(buffer: Buffer): void {
    this.#lent -= 1
    if (this.#spare.length < this.#spareMax) this.#spare.push(buffer)
  }

  trim(): void {
    if (this.#lent === 0) this.#spare.length = 0
  }
}

/** Returns the part of `frame` that was filled. */
async function fill(store: PieceStore, blocks: readonly BlockSpan[], frame: Buffer): Promise<Buffer> {
  let at = 0
  for (let first = 0; first < blocks.length;) {
    const run = runFrom(blocks, first)
    await readRun(store, run, frame, at)
    for (const block of run) at += BLOCK_HEADER_BYTES + block.length
    first += run.length
  }
  return frame.subarray(0, at)
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
