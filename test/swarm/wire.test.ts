import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { GridError } from "#core/errors.ts"
import { infohash } from "#core/identifiers.ts"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { ControlMessage } from "#swarm/core/messages.ts"
import {
  decodeHandshake,
  encodeExtended,
  encodeHandshake,
  encodeMessages,
  MessageDecoder,
  peerIdOf,
  writeBlockHeader,
} from "#swarm/wire.ts"
import type { WireMessage } from "#swarm/wire.ts"

const word = fc.integer({ min: 0, max: 0xffffffff })
const span = { piece: word, offset: word, length: word }
const control: fc.Arbitrary<ControlMessage> = fc.oneof(
  fc.record({
    type: fc.constantFrom("keep-alive", "choke", "unchoke", "interested", "not-interested", "have-all", "have-none"),
  }),
  fc.record({ type: fc.constantFrom("have", "suggest", "allowed-fast"), piece: word }),
  fc.record({ type: fc.constant("bitfield" as const), bits: fc.uint8Array({ minLength: 1, maxLength: 300 }) }),
  fc.record({ type: fc.constantFrom("request", "cancel", "reject"), ...span }),
)
type Sent =
  | { readonly control: ControlMessage }
  | { readonly extended: number; readonly payload: Uint8Array }
  | { readonly piece: number; readonly offset: number; readonly block: Uint8Array }
const sent: fc.Arbitrary<Sent> = fc.oneof(
  fc.record({ control }),
  fc.record({ extended: fc.integer({ min: 0, max: 255 }), payload: fc.uint8Array({ minLength: 0, maxLength: 500 }) }),
  fc.record({ piece: word, offset: word, block: fc.uint8Array({ minLength: 1, maxLength: 2_000, size: "max" }) }),
)

function bytesOf(message: Sent): Buffer {
  if ("control" in message) return encodeMessages([message.control])
  if ("extended" in message) return encodeExtended(message.extended, Buffer.from(message.payload))
  const bytes = Buffer.alloc(13 + message.block.length)
  writeBlockHeader(bytes, 0, message.piece, message.offset, message.block.length)
  bytes.set(message.block, 13)
  return bytes
}

/** What a message should come out as, with bytes as hex so that they compare. */
function expected(message: Sent): unknown {
  if ("extended" in message) return { type: "extended", id: message.extended, payload: Buffer.from(message.payload).toString("hex") }
  if ("block" in message) {
    const { piece, offset, block } = message
    return { type: "block", piece, offset, length: block.length, block: Buffer.from(block).toString("hex") }
  }
  return message.control.type === "bitfield"
    ? { type: "bitfield", bits: Buffer.from(message.control.bits).toString("hex") }
    : { ...message.control }
}

function comparable(message: WireMessage): unknown {
  if (message.type === "extended") return { ...message, payload: message.payload.toString("hex") }
  if (message.type === "bitfield") return { ...message, bits: Buffer.from(message.bits).toString("hex") }
  if (message.type === "block") return { ...message, block: Buffer.concat(message.block).toString("hex") }
  return message
}

function decodeInChunks(bytes: Buffer, cuts: readonly number[], bitfieldBytes = 300): unknown[] {
  const decoder = new MessageDecoder(bitfieldBytes)
  const messages: unknown[] = []
  // As a dialled socket has it: all that is read comes into the same memory.
  const shared = Buffer.alloc(bytes.length)
  const ends = [...new Set([...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b)
  let from = 0
  for (const end of ends) {
    const length = bytes.copy(shared, 0, from, end)
    decoder.push(shared.subarray(0, length), (message) => messages.push(comparable(message)))
    shared.fill(0xee)
    from = end
  }
  return messages
}

const misbehaved = (error: unknown): boolean => error instanceof GridError && error.code === "PEER_MISBEHAVED"

test("messages come out as they went in, wherever the stream is cut", () => {
  fc.assert(
    fc.property(fc.array(sent, { maxLength: 12, size: "max" }), fc.array(fc.nat(), { maxLength: 60, size: "max" }), (messages, cuts) => {
      assert.deepEqual(decodeInChunks(Buffer.concat(messages.map(bytesOf)), cuts), messages.map(expected))
    }),
    { numRuns: 200 },
  )
})

test("a block that comes byte by byte is whole", () => {
  const message = { piece: 3, offset: BLOCK_BYTES, block: Uint8Array.from({ length: BLOCK_BYTES }, (_, at) => at & 255) }
  const bytes = bytesOf(message)
  assert.deepEqual(
    decodeInChunks(
      bytes,
      Array.from({ length: bytes.length }, (_, at) => at),
    ),
    [expected(message)],
  )
})

test("random bytes are refused or wait for more, and nothing else", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.array(fc.nat(), { maxLength: 8 }), (bytes, cuts) => {
      try {
        decodeInChunks(Buffer.from(bytes), cuts)
      } catch (error) {
        assert.ok(misbehaved(error), String(error))
      }
    }),
    { numRuns: 500 },
  )
})

test("a message longer than any may be is refused before its bytes are kept", () => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(20 * 1024 + 1)
  assert.throws(() => decodeInChunks(length, []), misbehaved)
  length.writeUInt32BE(20 * 1024)
  assert.deepEqual(decodeInChunks(length, []), [])
})

test("a bitfield of the torrent's size is taken though it is longer than any other message", () => {
  const bits = new Uint8Array(50_000).fill(255)
  const bytes = encodeMessages([{ type: "bitfield", bits }])
  assert.equal(decodeInChunks(bytes, [], 50_000).length, 1)
  assert.throws(() => decodeInChunks(bytes, [], 49_999), misbehaved)
})

for (const [what, hex] of [
  ["of an unknown type", "0000000115"],
  ["of BEP 5, which has no place here,", "00000003091234"],
  ["have with two bytes too few", "00000003040000"],
  ["choke with a byte too many", "000000020000"],
  ["request without its length", "0000000906" + "00".repeat(8)],
  ["block without bytes", "0000000907" + "00".repeat(8)],
] as const)
  test(`a message ${what} is refused`, () => {
    assert.throws(() => decodeInChunks(Buffer.from(hex, "hex"), []), misbehaved)
  })

test("a handshake carries the infohash and the peer id that follows from the member id", () => {
  const memberId = "00112233445566778899aabbccddeeff"
  const handshake = { infohash: infohash("0123456789abcdef0123456789abcdef01234567"), peerId: peerIdOf(memberId) }
  const bytes = encodeHandshake(handshake)
  assert.equal(bytes.toString("latin1", 0, 20), "\u0013BitTorrent protocol")
  assert.equal(bytes.toString("latin1", 48, 56), "-IG0010-")
  assert.equal(bytes.toString("hex", 56), memberId.slice(0, 24))
  assert.deepEqual(decodeHandshake(bytes), handshake)
})

test("a handshake of another protocol, or without the fast extension, is refused", () => {
  const bytes = encodeHandshake({ infohash: infohash("0".repeat(40)), peerId: peerIdOf("ab".repeat(16)) })
  const other = Buffer.from(bytes)
  other[5] = 0x20
  const slow = Buffer.from(bytes)
  slow[27] = 0
  for (const bad of [other, slow, bytes.subarray(0, 67)]) assert.throws(() => decodeHandshake(bad), misbehaved)
})
