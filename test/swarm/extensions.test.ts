import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { GridError } from "#core/errors.ts"
import {
  decodeDontHave,
  decodeIntroduction,
  decodeMetadataMessage,
  decodePeerExchange,
  DONT_HAVE,
  encodeDontHave,
  encodeIntroduction,
  encodeMetadataMessage,
  encodePeerExchange,
  METADATA,
  NEWS,
  PEER_EXCHANGE,
  SITE,
} from "#swarm/extensions.ts"
import { readBencoded } from "#core/strict-bencode.ts"

const misbehaved = (error: unknown): boolean => error instanceof GridError && error.code === "PEER_MISBEHAVED"

test("an introduction comes out as it went in", () => {
  assert.deepEqual(decodeIntroduction(encodeIntroduction({ listenPort: 7401, requestQueueLimit: 512, metadataBytes: 4000 })), {
    peerExchange: PEER_EXCHANGE,
    metadata: METADATA,
    news: NEWS,
    site: SITE,
    dontHave: DONT_HAVE,
    metadataBytes: 4000,
    listenPort: 7401,
    requestQueueLimit: 512,
  })
})

test("an introduction of a stranger's choosing yields nulls or is refused: names of JavaScript mean nothing in it", () => {
  const plain = decodeIntroduction(Buffer.from("d1:md1:ad8:toStringi1ee9:__proto__i1eee"))
  const nothing = { peerExchange: null, metadata: null, news: null, site: null, dontHave: null, metadataBytes: null, listenPort: null }
  assert.deepEqual(plain, { ...nothing, requestQueueLimit: 250 })
  assert.equal(decodeIntroduction(Buffer.from("d1:pi70000ee")).listenPort, null)
  assert.equal(decodeIntroduction(Buffer.from("d1:md11:ut_metadatai-3eee")).metadata, null)
  assert.throws(() => decodeIntroduction(Buffer.from("le")), misbehaved)
})

test("word of a forgotten piece comes out as it went in, and in any other length is refused", () => {
  for (const piece of [0, 77, 0xffffffff]) assert.equal(decodeDontHave(encodeDontHave(piece)), piece)
  for (const length of [0, 3, 5]) assert.throws(() => decodeDontHave(Buffer.alloc(length)), misbehaved)
})

test("metadata messages come out as they went in", () => {
  for (const message of [
    { type: "request", part: 3 },
    { type: "reject", part: 0 },
    { type: "data", part: 1, totalBytes: 20_000, bytes: Buffer.from("spam") },
  ] as const)
    assert.deepEqual(decodeMetadataMessage(encodeMetadataMessage(message)), message)
})

test("peer exchange carries IPv4 addresses; others and port 0 are left out", () => {
  const added = [
    { host: "192.0.2.7", port: 7401 },
    { host: "seed.example", port: 7401 },
  ]
  assert.deepEqual(decodePeerExchange(encodePeerExchange(added, [], [])).near, [{ host: "192.0.2.7", port: 7401 }])
  assert.deepEqual(decodePeerExchange(Buffer.from("d5:added6:\u0001\u0002\u0003\u0004\u0000\u0000e", "latin1")).unknown, [])
  assert.throws(() => decodePeerExchange(Buffer.from("d5:added5:12345e")), misbehaved)
})

for (const [what, text] of [
  ["a negative length, which would have it read the same bytes for ever,", "l-3:e"],
  ["a length beyond the message", "9:abc"],
  ["a list without an end", "li1e"],
  ["an integer with a leading zero", "i01e"],
  ["minus zero", "i-0e"],
  ["an integer beyond what JavaScript carries", "i99999999999999999e"],
  ["lists nested a thousand deep", "l".repeat(1000) + "e".repeat(1000)],
  ["more items than any message has", `l${"i1e".repeat(2_001)}e`],
  ["nothing", ""],
] as const)
  test(`bencoding refuses ${what}`, () => {
    assert.throws(() => readBencoded(Buffer.from(text)), misbehaved)
  })

test("bencoding of random bytes ends, with a value or a refusal", () => {
  const nearly = fc.array(fc.constantFrom("d", "l", "i", "e", ":", "-", "0", "1", "2", "a"), { maxLength: 60, size: "max" })
  fc.assert(
    fc.property(nearly, (parts) => {
      try {
        readBencoded(Buffer.from(parts.join("")))
      } catch (error) {
        assert.ok(misbehaved(error), String(error))
      }
    }),
    { numRuns: 1_000 },
  )
})
