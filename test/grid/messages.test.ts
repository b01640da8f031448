import assert from "node:assert/strict"
import { test } from "node:test"
import { encode } from "cborg"
import fc from "fast-check"
import { GridError } from "#core/errors.ts"
import { documentKinds } from "#grid/core/documents.ts"
import { readHint, readMessage, writeHint, writeMessage, type ExchangeMessage } from "#grid/core/messages.ts"
import { identityOf } from "./planes.ts"
import { setOf, signed, stateOf } from "./signed.ts"

const [a, b] = [identityOf(0), identityOf(1)]
const set = setOf([a, b], [signed(a, 5, stateOf(1)), signed(a, 2 ** 50, Buffer.alloc(0), "holdings/3"), signed(b, 9, stateOf(2))])
const id = Buffer.from(a.memberId, "hex")
const refused = { code: "PEER_MISBEHAVED" }

const messages: ExchangeMessage[] = [
  { is: "hello", summary: Uint8Array.from(set.summary()) },
  { is: "same" },
  { is: "vector", vector: set.vector() },
  { is: "vector", vector: [] },
  { is: "want", wants: set.vector().map(({ memberId, kind }) => ({ memberId, kind })) },
  { is: "want", wants: [] },
  { is: "documents", documents: set.documentsOf(a.memberId) },
]

test("messages come out as they went in", () => {
  for (const message of messages) assert.deepEqual(readMessage(writeMessage(message)), message)
})

test("the bytes of a message are those of docs/protocol.md", () => {
  const want: ExchangeMessage = { is: "want", wants: [{ memberId: a.memberId, kind: "state" }] }
  assert.equal(Buffer.from(writeMessage(want)).toString("hex"), `8203818250${a.memberId}8110`)
  assert.equal(Buffer.from(writeMessage({ is: "same" })).toString("hex"), "8101")
  assert.equal(Buffer.from(writeHint(5)).toString("hex"), "8105")
})

test("a vector of a full grid fits into a message", () => {
  const digest = "ab".repeat(16)
  const vector = Array.from({ length: 1_000 }, (_, server) => server.toString(16).padStart(32, "0")).flatMap((memberId) =>
    documentKinds.map((kind) => ({ memberId: memberId as typeof a.memberId, kind, seq: Date.now(), digest })),
  )
  const bytes = writeMessage({ is: "vector", vector })
  assert.ok(bytes.length < 600_000, `${bytes.length} bytes`)
  assert.deepEqual(readMessage(bytes), { is: "vector", vector })
})

test("messages out of form are refused", () => {
  const document = [id, 16, 5, Buffer.alloc(3), Buffer.alloc(64)]
  const version = [16, 5, Buffer.alloc(16)]
  const bad: [string, unknown][] = [
    ["not a list", 1],
    ["empty", []],
    ["of no kind", [9, []]],
    ["with a part too many", [1, []]],
    ["without a part", [2]],
    ["three parts", [0, Buffer.alloc(32), 1]],
    ["a short summary", [0, Buffer.alloc(31)]],
    ["a text for a summary", [0, "x".repeat(32)]],
    ["a member id of 15 bytes", [2, [[id.subarray(1), [version]]]]],
    ["a version without a digest", [2, [[id, [[16, 5]]]]]],
    ["a kind that there is not", [2, [[id, [[17, 5, Buffer.alloc(16)]]]]]],
    ["a kind below the first", [2, [[id, [[-1, 5, Buffer.alloc(16)]]]]]],
    ["half a kind", [3, [[id, [1.5]]]]],
    ["a seq below zero", [2, [[id, [[16, -5, Buffer.alloc(16)]]]]]],
    ["one version twice", [2, [[id, [version, version]]]]],
    [
      "one server twice",
      [
        2,
        [
          [id, [version]],
          [id, [version]],
        ],
      ],
    ],
    ["too many versions of one server", [2, [[id, Array.from({ length: 18 }, () => version)]]]],
    ["too many servers", [2, Array.from({ length: 1_001 }, () => [id, []])]],
    ["too many wants", [3, Array.from({ length: 1_000 }, (_, at) => [Buffer.alloc(16, `${at} `), [0, 1]])]],
    ["a document without its signature", [4, [document.slice(0, 4)]]],
    ["a document whose signature is short", [4, [[...document.slice(0, 4), Buffer.alloc(63)]]]],
    ["a document whose data is text", [4, [[id, 16, 5, "data", Buffer.alloc(64)]]]],
    ["a document that is too large", [4, [[id, 0, 5, Buffer.alloc(256 * 1024 + 1), Buffer.alloc(64)]]]],
    ["too many documents", [4, Array.from({ length: 1_001 }, () => document)]],
    ["a map", { is: "same" }],
  ]
  for (const [what, bare] of bad) assert.throws(() => readMessage(encode(bare)), refused, what)
})

test("bytes that are no CBOR, or CBOR that makes readers stumble, are refused in little time", () => {
  const bad: [string, Buffer][] = [
    ["nothing", Buffer.alloc(0)],
    ["something after the end", Buffer.concat([writeMessage({ is: "same" }), Buffer.from([0])])],
    ["lists within lists until the stack ends", Buffer.alloc(1024 * 1024, 0x81)],
    ["a list longer than any memory", Buffer.from("9bffffffffffffffff", "hex")],
    ["a list of two thousand million", Buffer.from("9a7fffffff", "hex")],
    ["a byte string longer than the message", Buffer.from("5a7fffffff", "hex")],
    ["a list without a length", Buffer.from("9f01ff", "hex")],
    ["a tag", Buffer.from("8102c11a514b67b0", "hex")],
    ["NaN", Buffer.from("8202f97e00", "hex")],
    ["a length in more bytes than needed", Buffer.from("980101", "hex")],
    ["more than a message", Buffer.alloc(1024 * 1024 + 1)],
  ]
  for (const [what, bytes] of bad) assert.throws(() => readMessage(bytes), refused, what)
})

test("any bytes give a message or a refusal, and end", () => {
  const written = messages.map((message) => Buffer.from(writeMessage(message)))
  const change = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(fc.constantFrom(...written), change, (message, changes) => {
      const bytes = Buffer.from(message)
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte
      for (const read of [readMessage, readHint])
        try {
          read(bytes)
        } catch (error) {
          assert.ok(error instanceof GridError, String(error))
        }
    }),
    { numRuns: 2_000 },
  )
})

test("hints come out as they went in, and those out of form are refused", () => {
  for (const seq of [0, Date.now(), Number.MAX_SAFE_INTEGER]) assert.equal(readHint(writeHint(seq)), seq)
  for (const bad of [[], 1, [-1], ["1"], [1, 2], [[1]], [2 ** 60]])
    assert.throws(() => readHint(encode(bad)), GridError, JSON.stringify(bad))
  assert.throws(() => readHint(encode(["a".repeat(300)])), refused)
})
