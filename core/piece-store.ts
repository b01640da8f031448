/**
 * Where a torrent's verified pieces live. A piece is either held or missing, and `held` never claims a piece whose bytes
 * could be lost by a crash: an implementation makes the bytes durable first and records them after.
 */

/** For a store with room for a part of the torrent: pieces are taken in a window that moves on, and forgotten when it has passed them. */
export interface PieceWindow {
  /** How many pieces are taken from the first of the window on, itself among them. */
  readonly aheadPieces: number
  /** How many are kept behind it, for others. */
  readonly behindPieces: number
  /** From now on the piece is missing, and can be written again. Whoever reads it at this moment gets its bytes. */
  forget(piece: number): void
}

export interface PieceStore {
  readonly pieceCount: number
  /** Total bytes of the torrent's content. */
  readonly contentBytes: number
  readonly pieceBytes: number
  /** Absent where there is room for all pieces. */
  readonly window?: PieceWindow

  /** True once `write` of this piece was accepted: its bytes can be read back in this process. */
  has(piece: number): boolean
  /** Pieces that `has` answers true for. */
  readonly heldCount: number

  /**
   * Takes one verified piece whole; the caller has compared it with its SHA-1 and does not change `bytes` until the promise settles.
   * Resolves when the piece is readable; durability follows within a bounded time, or at `sync`.
   * @throws {GridError} DISK_FULL, STATE_DAMAGED
   */
  write(piece: number, bytes: Uint8Array): Promise<void>

  /**
   * Reads `length` bytes at `offset` of the content into `into` from its start.
   * @throws {RangeError} when a piece in that range is not held or the range is outside the content.
   */
  read(offset: number, length: number, into: Uint8Array): Promise<void>

  /** Resolves when all pieces accepted before the call are durable and recorded. */
  sync(): Promise<void>

  /** Syncs, then releases the files. Further calls throw. */
  close(): Promise<void>
}
