/**
 * The file that says which pieces of a layer are durable: a title, the infohash, one bit a piece, and a SHA-256 over all of that. Whatever
 * does not add up is no record, and its pieces are fetched again.
 */
import { createHash } from "node:crypto"
import type { Infohash } from "#core/identifiers.ts"
import { PieceSet } from "./piece-set.ts"

const TITLE = Buffer.from("imagegrid held 1\n")
const INFOHASH_BYTES = 20
const DIGEST_BYTES = 32

export function encodeHeld(infohash: Infohash, held: PieceSet): Buffer {
  const body = Buffer.concat([TITLE, Buffer.from(infohash, "hex"), held.toBytes()])
  return Buffer.concat([body, createHash("sha256").update(body).digest()])
}

/** Null for bytes that are damaged, cut off, or another torrent's. */
export function decodeHeld(bytes: Uint8Array, infohash: Infohash, pieceCount: number): PieceSet | null {
  if (bytes.length !== heldRecordBytes(pieceCount)) return null
  const body = bytes.subarray(0, bytes.length - DIGEST_BYTES)
  const bitsAt = TITLE.length + INFOHASH_BYTES
  if (!createHash("sha256").update(body).digest().equals(bytes.subarray(body.length))) return null
  if (!TITLE.equals(body.subarray(0, TITLE.length))) return null
  if (!Buffer.from(infohash, "hex").equals(body.subarray(TITLE.length, bitsAt))) return null
  return PieceSet.fromBytes(body.subarray(bitsAt), pieceCount)
}

export function heldRecordBytes(pieceCount: number): number {
  return TITLE.length + INFOHASH_BYTES + Math.ceil(pieceCount / 8) + DIGEST_BYTES
}
