/** How a file is cut: pieces into blocks, each block with one number. */
import { BLOCK_BYTES, pieceBytesAt } from "#core/torrent.ts"
import type { TorrentShape } from "#swarm/core/board.ts"
import type { BlockSpan } from "#swarm/core/messages.ts"

export class Cutting {
  readonly shape: TorrentShape
  readonly blockBytes: number
  readonly blocksPerPiece: number
  /** One more than the highest block number; where the last piece is shorter, not every number is in use. */
  readonly blockNumbers: number

  constructor(shape: TorrentShape) {
    this.shape = shape
    this.blockBytes = shape.blockBytes ?? BLOCK_BYTES
    this.blocksPerPiece = Math.ceil(shape.pieceBytes / this.blockBytes)
    this.blockNumbers = shape.pieceCount * this.blocksPerPiece
  }

  blockOf(span: Pick<BlockSpan, "piece" | "offset">): number {
    return span.piece * this.blocksPerPiece + Math.floor(span.offset / this.blockBytes)
  }

  pieceOf(block: number): number {
    return Math.floor(block / this.blocksPerPiece)
  }

  offsetOf(block: number): number {
    return (block % this.blocksPerPiece) * this.blockBytes
  }

  bytesOf(block: number): number {
    return Math.min(this.blockBytes, this.pieceBytes(this.pieceOf(block)) - this.offsetOf(block))
  }

  pieceBytes(piece: number): number {
    return pieceBytesAt(this.shape, piece)
  }

  blocksOf(piece: number): number {
    return Math.ceil(this.pieceBytes(piece) / this.blockBytes)
  }
}
