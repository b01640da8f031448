import assert from "node:assert/strict"
import { test } from "node:test"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { Message } from "#swarm/core/messages.ts"
import { Bench, PIECE_BYTES } from "./played-peers.ts"

const block = { piece: 0, offset: 0, length: BLOCK_BYTES }

function misbehaved(bench: Bench, peer = 1): boolean {
  return bench.effects.some((effect) => effect.kind === "disconnect" && effect.peer === peer && effect.reason === "misbehaved")
}

/** A peer that has everything, of one that lacks everything: 9 pieces, so that the bitfield has spare bits. */
function opened(held?: "all"): Bench {
  const bench = new Bench({ pieces: 9, ...(held === undefined ? {} : { held }) })
  bench.connect(1, held === undefined ? "all" : "none")
  if (held !== undefined) bench.say(1, { type: "interested" })
  assert.ok(!misbehaved(bench))
  return bench
}

for (const [what, message] of [
  ["a block that was not asked for", { type: "block", ...block, piece: 8, offset: 3 * BLOCK_BYTES, block: "x" }],
  ["a block of no whole position", { type: "block", ...block, offset: 1, block: "x" }],
  ["a `have` of a piece that does not exist", { type: "have", piece: 9 }],
  ["a proposal of a piece that does not exist", { type: "suggest", piece: 9 }],
  ["an allowance for a piece that does not exist", { type: "allowed-fast", piece: 0xffffffff }],
  ["a refusal of what was not asked for", { type: "reject", ...block, piece: 8, offset: 3 * BLOCK_BYTES }],
  ["its pieces twice", { type: "have-all" }],
  ["a bitfield after another word about its pieces", { type: "bitfield", bits: new Uint8Array(2) }],
] as const satisfies readonly (readonly [string, Message<string>])[])
  test(`a peer is dropped for ${what}`, () => {
    const bench = new Bench({ pieces: 9, requestsFloor: 1 })
    bench.connect(1, "all", { unchokes: false })
    bench.say(1, message)
    assert.ok(misbehaved(bench))
    assert.equal(bench.core.peerCount, 0)
  })

for (const [what, span] of [
  ["of a piece that does not exist", { ...block, piece: 9 }],
  ["of nothing", { ...block, length: 0 }],
  ["of more than a block", { ...block, length: BLOCK_BYTES + 1 }],
  ["beyond the piece's end", { ...block, offset: PIECE_BYTES - BLOCK_BYTES + 1 }],
  ["at an offset that overflows", { ...block, offset: 0xffffffff }],
] as const)
  test(`a peer is dropped for a request ${what}`, () => {
    const bench = opened("all")
    bench.say(1, { type: "request", ...span })
    assert.ok(misbehaved(bench))
    assert.ok(!bench.effects.some((effect) => effect.kind === "upload"))
  })

test("a peer is dropped for a block of another length than asked for", () => {
  const bench = opened()
  const [span] = bench.asked(1)
  assert.ok(span)
  bench.say(1, { type: "block", ...span, length: span.length - 1, block: "x" })
  assert.ok(misbehaved(bench))
})

test("a peer is dropped for sending a block twice", () => {
  const bench = opened()
  const [span] = bench.asked(1)
  assert.ok(span)
  bench.say(1, { type: "block", ...span, block: "x" })
  assert.ok(!misbehaved(bench))
  bench.say(1, { type: "block", ...span, block: "x" })
  assert.ok(misbehaved(bench))
})

for (const [what, bits] of [
  ["too short", Uint8Array.of(0xff)],
  ["too long", Uint8Array.of(0xff, 0x80, 0)],
  ["with spare bits set", Uint8Array.of(0xff, 0x81)],
] as const)
  test(`a peer is dropped for a bitfield ${what}`, () => {
    const bench = new Bench({ pieces: 9 })
    bench.step({ kind: "connected", peer: 1, key: "member 1", role: "client", site: "here", dialled: null })
    bench.say(1, { type: "bitfield", bits })
    assert.ok(misbehaved(bench))
  })

test("a peer is dropped for any message before it tells its pieces", () => {
  const bench = new Bench({ pieces: 9 })
  bench.step({ kind: "connected", peer: 1, key: "member 1", role: "client", site: "here", dialled: null })
  bench.say(1, { type: "interested" })
  assert.ok(misbehaved(bench))
})

test("a peer is dropped for one request more than may wait, and not for the last that may", () => {
  const bench = new Bench({ pieces: 9, held: "all", requestsQueued: 8 })
  bench.connect(1, "none")
  bench.say(1, { type: "interested" })
  // Two are being sent, eight wait.
  for (let count = 0; count < 10; count += 1) bench.say(1, { type: "request", ...block, offset: (count % 4) * BLOCK_BYTES })
  assert.ok(!misbehaved(bench))
  bench.say(1, { type: "request", ...block })
  assert.ok(misbehaved(bench))
})

for (const [what, messages] of [
  ["keep-alives", [{ type: "keep-alive" }]],
  ["`have`s of what it has told", [{ type: "have", piece: 1 }]],
  ["changes of interest", [{ type: "interested" }, { type: "not-interested" }]],
  ["chokes and unchokes", [{ type: "choke" }, { type: "unchoke" }]],
  ["cancels of nothing", [{ type: "cancel", ...block }]],
  ["requests that can't be met", [{ type: "request", ...block }]],
] as const satisfies readonly (readonly [string, readonly Message<string>[]])[])
  test(`a peer is dropped for a flood of ${what}, and a few are suffered`, () => {
    const bench = new Bench({ pieces: 9, uselessBurst: 50, uselessPerSecond: 10 })
    bench.connect(1, "all")
    for (let count = 0; count < 20; count += 1) for (const message of messages) bench.say(1, message)
    assert.ok(!misbehaved(bench))
    bench.pass(4_000)
    for (let count = 0; count < 20; count += 1) for (const message of messages) bench.say(1, message)
    assert.ok(!misbehaved(bench), "what was regained with time was not counted")
    for (let count = 0; count < 51; count += 1) for (const message of messages) bench.say(1, message)
    assert.ok(misbehaved(bench))
  })

test("a peer is dropped for a flood of addresses, and what is remembered of them is bounded", () => {
  const bench = new Bench({ pieces: 9, uselessBurst: 50, addresses: 100, halfOpen: 10_000, connectionsWanted: 10_000, peers: 10_000 })
  bench.connect(1, "none")
  for (let message = 0; message < 60; message += 1)
    bench.step({
      kind: "addresses",
      from: 1,
      given: false,
      addresses: Array.from({ length: 200 }, (_, index) => ({ host: "192.0.2.1", port: 1 + message * 200 + index })),
    })
  assert.ok(misbehaved(bench))
  assert.ok(bench.effects.filter((effect) => effect.kind === "dial").length <= 100)
})

test("a member that broke the rules three times is not admitted again", () => {
  const bench = new Bench({ pieces: 9 })
  for (const peer of [1, 2, 3, 4]) {
    bench.step({ kind: "connected", peer, key: "the same member", role: "client", site: "here", dialled: null })
    bench.say(peer, { type: "have", piece: 1 })
  }
  const reasons = bench.effects.flatMap((effect) => (effect.kind === "disconnect" ? [effect.reason] : []))
  assert.deepEqual(reasons, ["misbehaved", "misbehaved", "misbehaved", "banned"])
})
