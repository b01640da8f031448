/**
 * The peer protocol (BEP 3, 6, 10) between values and bytes. What a message carries is handed on as slices of what the socket gave; only the beginning
 * of a message that has not come whole is copied, into a buffer that is used again. So whoever takes a message copies what is to last.
 */
import { GridError } from "#core/errors.ts"
import { infohash, type Infohash } from "#core/identifiers.ts"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { ControlMessage, Message } from "./core/messages.ts"

/** Consecutive parts of a block; they last until the next bytes are read. */
export type BlockSlices = readonly Buffer[]

export type WireMessage = Message<BlockSlices> | { readonly type: "extended"; readonly id: number; readonly payload: Buffer }

export type Handshake = { readonly infohash: Infohash; readonly peerId: Buffer }

const PROTOCOL = Buffer.from("\u0013BitTorrent protocol", "latin1")
export const HANDSHAKE_BYTES = 68
/** Reserved bits that both ends must set: the extension protocol (BEP 10) and the fast extension (BEP 6). */
const EXTENSION_BYTE = 5
const EXTENSION_BIT = 0x10
const FAST_BYTE = 7
const FAST_BIT = 0x04

/** Length, type, piece and offset before the bytes of a block. */
export const BLOCK_HEADER_BYTES = 13
/** The message of a whole block, its length aside. */
const BLOCK_MESSAGE_BYTES = 9 + BLOCK_BYTES
const NOTHING = Buffer.alloc(0)
/** Largest extended message that is taken: a part of metadata with its dictionary fits. */
const EXTENDED_BYTES_MAX = 20 * 1024

const types = {
  choke: 0,
  unchoke: 1,
  interested: 2,
  "not-interested": 3,
  have: 4,
  bitfield: 5,
  request: 6,
  block: 7,
  cancel: 8,
  suggest: 13,
  "have-all": 14,
  "have-none": 15,
  reject: 16,
  "allowed-fast": 17,
  extended: 20,
} as const
const BLOCK_TYPE = types.block
const byNumber = new Map<number, keyof typeof types>(Object.entries(types).map(([name, number]) => [number, name as keyof typeof types]))

/** "-IG0010-" and the first 12 bytes of the member id. */
export function peerIdOf(memberId: string): Buffer {
  return Buffer.concat([Buffer.from("-IG0010-", "latin1"), Buffer.from(memberId, "hex").subarray(0, 12)])
}

export function encodeHandshake(handshake: Handshake): Buffer {
  const bytes = Buffer.alloc(HANDSHAKE_BYTES)
  PROTOCOL.copy(bytes)
  bytes[PROTOCOL.length + EXTENSION_BYTE] = EXTENSION_BIT
  bytes[PROTOCOL.length + FAST_BYTE] = FAST_BIT
  bytes.write(handshake.infohash, 28, "hex")
  handshake.peerId.copy(bytes, 48)
  return bytes
}

/**
 * Reads the 68 bytes of a handshake.
 * @throws {GridError} PEER_MISBEHAVED
 */
export function decodeHandshake(bytes: Buffer): Handshake {
  if (bytes.length !== HANDSHAKE_BYTES || !bytes.subarray(0, PROTOCOL.length).equals(PROTOCOL)) refuse("not a BitTorrent handshake")
  const reserved = bytes.subarray(PROTOCOL.length, 28)
  if (((reserved[EXTENSION_BYTE] ?? 0) & EXTENSION_BIT) === 0 || ((reserved[FAST_BYTE] ?? 0) & FAST_BIT) === 0)
    refuse("a peer without the extension protocol or the fast extension")
  return { infohash: infohash(bytes.toString("hex", 28, 48)), peerId: Buffer.from(bytes.subarray(48, 68)) }
}

function bodyBytes(message: ControlMessage): number {
  switch (message.type) {
    case "keep-alive":
      return 0
    case "have":
    case "suggest":
    case "allowed-fast":
      return 5
    case "request":
    case "cancel":
    case "reject":
      return 13
    case "bitfield":
      return 1 + message.bits.length
    default:
      return 1
  }
}

/** Several messages as one run of bytes. */
export function encodeMessages(messages: readonly ControlMessage[]): Buffer {
  let length = 0
  for (const message of messages) length += 4 + bodyBytes(message)
  const bytes = Buffer.allocUnsafe(length)
  let at = 0
  for (const message of messages) {
    at = bytes.writeUInt32BE(bodyBytes(message), at)
    if (message.type === "keep-alive") continue
    at = bytes.writeUInt8(types[message.type], at)
    if ("piece" in message) at = bytes.writeUInt32BE(message.piece, at)
    if ("offset" in message) {
      at = bytes.writeUInt32BE(message.offset, at)
      at = bytes.writeUInt32BE(message.length, at)
    }
    if (message.type === "bitfield") {
      bytes.set(message.bits, at)
      at += message.bits.length
    }
  }
  return bytes
}

export function encodeExtended(id: number, payload: Buffer): Buffer {
  const head = Buffer.allocUnsafe(6)
  head.writeUInt32BE(2 + payload.length)
  head.writeUInt8(types.extended, 4)
  head.writeUInt8(id, 5)
  return Buffer.concat([head, payload])
}

/** Writes what stands before a block's bytes. */
export function writeBlockHeader(into: Buffer, at: number, piece: number, offset: number, length: number): void {
  into.writeUInt32BE(9 + length, at)
  into.writeUInt8(BLOCK_TYPE, at + 4)
  into.writeUInt32BE(piece, at + 5)
  into.writeUInt32BE(offset, at + 9)
}

/** Cuts a stream of bytes into messages, wherever the chunks begin and end. */
export class MessageDecoder {
  readonly #messageBytesMax: number
  readonly #length = Buffer.alloc(4)
  #lengthHave = 0
  /** The message that is coming, of which `#have` bytes came with earlier chunks; null between messages. */
  #message: Buffer | null = null
  #have = 0
  /** Room for a block's message, used again. */
  #blockMessage: Buffer | null = null

  /** `bitfieldBytes`: of the torrent's bitfield; a longer one is refused before it is received. */
  constructor(bitfieldBytes: number) {
    this.#messageBytesMax = Math.max(EXTENDED_BYTES_MAX, BLOCK_MESSAGE_BYTES, 1 + bitfieldBytes)
  }

  /**
   * Calls `take` for each message that this chunk completes. What the message carries lasts until `take` returns.
   * @throws {GridError} PEER_MISBEHAVED
   */
  push(chunk: Buffer, take: (message: WireMessage) => void): void {
    let at = this.#message === null ? 0 : this.#continue(chunk, take)
    while (at < chunk.length) {
      at += this.#takeLength(chunk, at)
      if (this.#lengthHave < 4) return
      this.#lengthHave = 0
      const length = this.#length.readUInt32BE()
      if (length > this.#messageBytesMax) refuse(`a message of ${length} bytes, at most ${this.#messageBytesMax} are taken`)
      if (length === 0) take({ type: "keep-alive" })
      else if (chunk.length - at >= length) take(decode(chunk.subarray(at, at + length), NOTHING))
      else return this.#begin(chunk.subarray(at), length)
      at += length
    }
  }

  #takeLength(chunk: Buffer, at: number): number {
    const count = Math.min(4 - this.#lengthHave, chunk.length - at)
    chunk.copy(this.#length, this.#lengthHave, at, at + count)
    this.#lengthHave += count
    return count
  }

  #begin(start: Buffer, length: number): void {
    this.#message = length === BLOCK_MESSAGE_BYTES ? (this.#blockMessage ??= Buffer.allocUnsafeSlow(length)) : Buffer.allocUnsafe(length)
    this.#have = start.copy(this.#message)
  }

  /** Returns where the next message begins. */
  #continue(chunk: Buffer, take: (message: WireMessage) => void): number {
    const message = this.#message
    if (message === null) return 0
    const missing = message.length - this.#have
    if (chunk.length < missing) {
      this.#have += chunk.copy(message, this.#have)
      return chunk.length
    }
    this.#message = null
    take(decode(message.subarray(0, this.#have), chunk.subarray(0, missing)))
    return missing
  }
}

/** A message that came in two parts, of which the second may be empty. */
function decode(first: Buffer, second: Buffer): WireMessage {
  if (first[0] === BLOCK_TYPE && first.length > 9) {
    const slice = first.subarray(9)
    return {
      type: "block",
      piece: first.readUInt32BE(1),
      offset: first.readUInt32BE(5),
      length: slice.length + second.length,
      block: second.length === 0 ? [slice] : [slice, second],
    }
  }
  return decodeWhole(second.length === 0 ? first : Buffer.concat([first, second]))
}

function decodeWhole(body: Buffer): WireMessage {
  const type = byNumber.get(body[0] ?? -1)
  if (type === undefined) refuse(`a message of unknown type ${body[0]}`)
  switch (type) {
    case "have":
    case "suggest":
    case "allowed-fast":
      requireBytes(body, 5, type)
      return { type, piece: body.readUInt32BE(1) }
    case "request":
    case "cancel":
    case "reject":
      requireBytes(body, 13, type)
      return { type, piece: body.readUInt32BE(1), offset: body.readUInt32BE(5), length: body.readUInt32BE(9) }
    case "bitfield":
      return { type, bits: body.subarray(1) }
    case "block":
      if (body.length < 10) refuse("a block without bytes")
      return { type, piece: body.readUInt32BE(1), offset: body.readUInt32BE(5), length: body.length - 9, block: [body.subarray(9)] }
    case "extended":
      if (body.length < 2) refuse("an extended message without its number")
      return { type, id: body.readUInt8(1), payload: body.subarray(2) }
    default:
      requireBytes(body, 1, type)
      return { type }
  }
}

function requireBytes(body: Buffer, expected: number, type: string): void {
  if (body.length !== expected) refuse(`"${type}" of ${body.length} bytes, expected ${expected}`)
}

function refuse(detail: string): never {
  throw new GridError("PEER_MISBEHAVED", detail)
}
