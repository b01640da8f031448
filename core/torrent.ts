/** The info dictionary of a single-file torrent (BEP 3): the only kind there is here. */
import { createHash, hash } from "node:crypto"
import bencode from "bencode"
import { GridError } from "./errors.ts"
import { infohash, type Infohash } from "./identifiers.ts"
import { readBencoded, type Bencoded } from "./strict-bencode.ts"

/** Smallest and largest piece that a torrent may be cut into. */
export const PIECE_BYTES_MIN = 16 * 1024
export const PIECE_BYTES_MAX = 16 * 1024 * 1024
/** Largest info dictionary taken from a peer (BEP 9): 400,000 pieces. */
export const INFO_BYTES_MAX = 8 * 1024 * 1024
/** Bytes that one request message asks for (BEP 3). */
export const BLOCK_BYTES = 16 * 1024

export type Torrent = {
  readonly infohash: Infohash
  readonly name: string
  readonly contentBytes: number
  readonly pieceBytes: number
  readonly pieceCount: number
  /** SHA-1 digests of the pieces, 20 bytes each, in order. */
  readonly pieceDigests: Buffer
  /** The bencoded info dictionary, whose SHA-1 is the infohash. */
  readonly infoBytes: Buffer
}

export type TorrentParts = Pick<Torrent, "name" | "contentBytes" | "pieceBytes" | "pieceDigests">

/** Encodes the info dictionary; the same parts always give the same infohash. */
export function makeTorrent(parts: TorrentParts): Torrent {
  return parseTorrent(
    Buffer.from(
      bencode.encode({
        length: parts.contentBytes,
        name: Buffer.from(parts.name),
        "piece length": parts.pieceBytes,
        pieces: parts.pieceDigests,
      }),
    ),
  )
}

/** Whether these are the bytes of that piece. */
export function isPieceGood(torrent: Torrent, piece: number, bytes: Uint8Array): boolean {
  return hash("sha1", bytes, "buffer").equals(torrent.pieceDigests.subarray(piece * 20, piece * 20 + 20))
}

/**
 * Reads an info dictionary and checks every number in it.
 * @throws {GridError} TORRENT_INVALID
 */
export function parseTorrent(infoBytes: Buffer): Torrent {
  if (infoBytes.length > INFO_BYTES_MAX) refuse(`${infoBytes.length} bytes of metadata, at most ${INFO_BYTES_MAX} are taken`)
  const fields = readDictionary(infoBytes)
  const contentBytes = fields.get("length")
  const pieceBytes = fields.get("piece length")
  const digests = fields.get("pieces")
  const name = fields.get("name")
  if (typeof contentBytes !== "number" || contentBytes < 1) refuse("no length")
  if (typeof pieceBytes !== "number") refuse("no piece length")
  if (pieceBytes < PIECE_BYTES_MIN || pieceBytes > PIECE_BYTES_MAX || (pieceBytes & (pieceBytes - 1)) !== 0)
    refuse(`piece length ${pieceBytes} is not a power of two from ${PIECE_BYTES_MIN} to ${PIECE_BYTES_MAX}`)
  const pieceCount = Math.ceil(contentBytes / pieceBytes)
  if (!(digests instanceof Buffer) || digests.length !== pieceCount * 20) refuse(`not ${pieceCount} piece digests`)
  if (!(name instanceof Buffer) || name.length > 255) refuse("no name")
  return {
    infohash: infohash(createHash("sha1").update(infoBytes).digest("hex")),
    name: name.toString("utf8"),
    contentBytes,
    pieceBytes,
    pieceCount,
    pieceDigests: Buffer.from(digests),
    infoBytes,
  }
}

/** Bytes of one piece; the last one may be shorter. */
export function pieceBytesAt(torrent: Pick<Torrent, "contentBytes" | "pieceBytes" | "pieceCount">, piece: number): number {
  return piece === torrent.pieceCount - 1 ? torrent.contentBytes - piece * torrent.pieceBytes : torrent.pieceBytes
}

/**
 * The piece length for a content: about 4,000 pieces, of 64 KiB to 4 MiB, or 32 KiB where even those would be few. Small pieces start exchanges
 * sooner; many of them cost messages and memory.
 */
export function pieceBytesFor(contentBytes: number): number {
  if (contentBytes <= 32 * 1024 * 1024) return 32 * 1024
  let pieceBytes = 64 * 1024
  while (pieceBytes < 4 * 1024 * 1024 && contentBytes / pieceBytes > 4_096) pieceBytes *= 2
  return pieceBytes
}

function readDictionary(bytes: Buffer): ReadonlyMap<string, Bencoded> {
  const { value, end } = readWhole(bytes)
  if (!(value instanceof Map) || end !== bytes.length) refuse("not one bencoded dictionary")
  return value
}

function readWhole(bytes: Buffer): ReturnType<typeof readBencoded> {
  try {
    return readBencoded(bytes)
  } catch (cause) {
    return refuse("not bencoded", cause)
  }
}

function refuse(detail: string, cause?: unknown): never {
  throw new GridError("TORRENT_INVALID", detail, { cause })
}
