import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { test } from "node:test"
import fc from "fast-check"
import { infohash } from "#core/identifiers.ts"
import {
  documentDigest,
  documentKinds,
  isSignedBy,
  nextSeq,
  readHoldings,
  readState,
  signDocument,
  writeHoldings,
  writeState,
} from "#grid/core/documents.ts"
import { identityOf } from "./planes.ts"
import { holdingsOf, serving, setOf, signed, stateOf } from "./signed.ts"

const [a, b] = [identityOf(0), identityOf(1)]

test("the seq of a document is the time of its signing, and always greater than the last", () => {
  assert.equal(nextSeq(null, 1_000.7), 1_000)
  assert.equal(nextSeq(999, 1_000), 1_000)
  assert.equal(nextSeq(1_000, 1_000), 1_001)
  // A clock that was set back.
  assert.equal(nextSeq(5_000, 1_000), 5_001)
})

test("what is signed begins with what it is, so that no other signature of the member's key is one of a document", () => {
  const document = signed(a, 7, stateOf(1))
  const bytes = Buffer.concat([
    Buffer.from("imagegrid server document\0"),
    Buffer.from(a.memberId, "hex"),
    Buffer.from([16, 0, 0, 0, 0, 0, 0, 0, 7]),
    stateOf(1),
  ])
  assert.deepEqual(documentDigest(document), createHash("sha256").update(bytes).digest())
  assert.ok(isSignedBy(document, a.signing.publicKeyHex))
  assert.ok(!isSignedBy(document, b.signing.publicKeyHex))
})

test("a signature holds for its member, kind, seq and data, and for nothing else", () => {
  const document = signed(a, 7, Buffer.alloc(0), "holdings/0")
  for (const changed of [
    { ...document, memberId: b.memberId },
    { ...document, kind: "holdings/1" as const },
    { ...document, seq: 8 },
    { ...document, data: Buffer.alloc(20) },
    { ...document, signature: Buffer.alloc(64) },
    { ...document, signature: Buffer.alloc(0) },
  ])
    assert.ok(!isSignedBy(changed, a.signing.publicKeyHex))
})

test("the layers of 20,000 images fit into the sixteen documents of holdings, and come out as they went in", () => {
  const held = Array.from({ length: 40_000 }, (_, number) => infohash(createHash("sha1").update(`layer ${number}`).digest("hex")))
  const byKind = writeHoldings(held)
  assert.equal(byKind.size, 16)
  const read = [...byKind].flatMap(([kind, data]) => readHoldings(kind, data))
  assert.deepEqual(read, held.toSorted())
})

test("more holdings than a document takes are not cut off in silence", () => {
  assert.equal(holdingsOf("7", 13_107).length, 13_107 * 20)
  assert.throws(() => holdingsOf("7", 13_108), RangeError)
})

test("holdings out of order, of another digit, twice or of half a hash are refused", () => {
  const [first, second] = ["30".padEnd(40, "0"), "31".padEnd(40, "0")]
  for (const hex of [second + first, first + first, "40".padEnd(40, "0"), first.slice(2)])
    assert.throws(() => readHoldings("holdings/3", Buffer.from(hex, "hex")), { code: "PEER_MISBEHAVED" }, hex)
  assert.throws(() => readHoldings("holdings/0", Buffer.alloc(256 * 1024 + 4)), { code: "PEER_MISBEHAVED" })
  assert.deepEqual(readHoldings("holdings/3", Buffer.from(first + second, "hex")), [first, second])
})

test("a state comes out as it went in, and one out of form is refused", () => {
  const state = { ...serving, phase: "draining" as const, repairing: [infohash("ab".repeat(20))], doubts: [b.memberId] }
  assert.deepEqual(readState(writeState(state)), state)
  for (const bad of [
    {},
    { ...state, phase: "gone" },
    { ...state, heldBytes: -1 },
    { ...state, more: 1 },
    { ...state, doubts: Array.from({ length: 1_001 }, () => b.memberId) },
    { ...state, repairing: ["x"] },
  ])
    assert.throws(() => readState(Buffer.from(JSON.stringify(bad))), { code: "PEER_MISBEHAVED" })
  assert.throws(() => readState(Buffer.from("{")), { code: "PEER_MISBEHAVED" })
  assert.throws(() => readState(Buffer.alloc(64 * 1024 + 1, " ")), { code: "PEER_MISBEHAVED" })
})

test("a document is taken when it is newer, and stale when it is not", () => {
  const set = setOf([a])
  assert.equal(set.take(signed(a, 5, stateOf(1))), "taken")
  assert.equal(set.take(signed(a, 5, stateOf(1))), "known")
  assert.equal(set.take(signed(a, 4, stateOf(2))), "stale")
  assert.equal(set.take(signed(a, 6, stateOf(3))), "taken")
  assert.equal(readState(set.get(a.memberId, "state")?.data ?? assert.fail()).heldBytes, 3)
  assert.equal(set.newestSeqOf(a.memberId), 6)
})

test("a document that is forged, foreign or out of form is refused, and what was held stays", () => {
  const set = setOf([a], [signed(a, 5, stateOf(1))])
  const before = set.vector()
  assert.equal(set.take({ ...signed(b, 9, stateOf(2)), memberId: a.memberId }), "forged")
  assert.equal(set.take({ ...signed(a, 9, stateOf(2)), seq: 10 }), "forged")
  assert.equal(set.take(signed(b, 9, stateOf(2))), "foreign")
  assert.equal(set.take(signed(a, 9, Buffer.from("{}"))), "malformed")
  assert.equal(set.take(signed(a, 9, Buffer.alloc(300 * 1024), "holdings/0")), "malformed")
  assert.deepEqual(set.vector(), before)
})

test("who leaves the roster is forgotten, and comes back with nothing", () => {
  const set = setOf([a, b], [signed(a, 5, stateOf(1)), signed(b, 5, stateOf(1))])
  const signerOf = ({ memberId, signing }: typeof a) => ({ memberId, signingKeyHex: signing.publicKeyHex })
  set.setRoster([signerOf(a)])
  assert.deepEqual(
    set.vector().map(({ memberId }) => memberId),
    [a.memberId],
  )
  set.setRoster([signerOf(a), signerOf(b)])
  assert.equal(set.get(b.memberId, "state"), null)
})

test("a roster of more than 1,000 servers, or with an id that is not its key's, is a mistake of the caller", () => {
  const signer = { memberId: a.memberId, signingKeyHex: a.signing.publicKeyHex }
  assert.throws(() => setOf([]).setRoster(Array.from({ length: 1_001 }, () => signer)), RangeError)
  assert.throws(() => setOf([]).setRoster([{ ...signer, memberId: b.memberId }]), TypeError)
})

test("what is not to be seen is in no vector, in no summary and is not asked for", () => {
  const set = setOf([a, b], [signed(a, 5, stateOf(1)), signed(b, 5, stateOf(1))])
  const onlyA = setOf([a], [signed(a, 5, stateOf(1))])
  const visible = (memberId: string) => memberId === a.memberId
  assert.deepEqual(set.vector(visible), onlyA.vector())
  assert.deepEqual(set.summary(visible), onlyA.summary())
  assert.notDeepEqual(set.summary(), onlyA.summary())
  assert.deepEqual(setOf([a, b]).lackedHere(set.vector(), visible), onlyA.vector())
})

const servers = [0, 1, 2].map(identityOf)
const someDocument = fc
  .record({ server: fc.nat(2), kind: fc.constantFrom(...documentKinds.slice(-2)), seq: fc.integer({ min: 1, max: 4 }), variant: fc.nat(2) })
  .map(({ server, kind, seq, variant }) => {
    const data = kind === "state" ? stateOf(variant) : holdingsOf("f", variant)
    const { memberId, signing } = servers[server] ?? assert.fail()
    return signDocument({ memberId, kind, seq, data }, signing)
  })

test("sets that heard the same documents hold the same, in whatever order they came", () => {
  fc.assert(
    fc.property(fc.array(someDocument, { maxLength: 25 }), fc.infiniteStream(fc.nat()), (documents, dice) => {
      const shuffled = documents.map((document) => ({ document, at: dice.next().value })).toSorted((x, y) => x.at - y.at)
      const [one, other] = [
        setOf(servers, documents),
        setOf(
          servers,
          shuffled.map(({ document }) => document),
        ),
      ]
      assert.deepEqual(one.vector(), other.vector())
      assert.deepEqual(one.summary(), other.summary())
    }),
    { numRuns: 200 },
  )
})

test("sets that give each other what they lack, pair by pair in any order, come to hold the same: of each the newest", () => {
  const pairs = fc.shuffledSubarray(
    [0, 1, 2, 3].flatMap((from) => [0, 1, 2, 3].filter((to) => to !== from).map((to) => [from, to] as const)),
    {
      minLength: 12,
    },
  )
  fc.assert(
    fc.property(fc.array(fc.array(someDocument, { maxLength: 8 }), { minLength: 4, maxLength: 4 }), pairs, (documents, order) => {
      const sets = documents.map((ones) => setOf(servers, ones))
      // Once round in any order, and again: by then all has been everywhere.
      for (const [from, to] of [...order, ...order]) {
        const [giver, taker] = [sets[from] ?? assert.fail(), sets[to] ?? assert.fail()]
        for (const { memberId, kind } of taker.lackedHere(giver.vector()))
          assert.equal(taker.take(giver.get(memberId, kind) ?? assert.fail()), "taken")
        assert.deepEqual(taker.lackedHere(giver.vector()), [])
      }
      const all = setOf(servers, documents.flat())
      for (const set of sets) assert.deepEqual(set.vector(), all.vector())
    }),
    { numRuns: 100 },
  )
})
