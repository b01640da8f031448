/** Piece positions given by callers. */
import { GridError } from "#core/errors.ts"

/** @throws {GridError} PIECE_OUT_OF_RANGE */
export function pieceIndex(piece: number, pieceCount: number): number {
  if (!Number.isInteger(piece) || piece < 0 || piece >= pieceCount)
    throw new GridError("PIECE_OUT_OF_RANGE", `piece ${piece} of a torrent of ${pieceCount}`)
  return piece
}
