import assert from "node:assert/strict"
import { test } from "node:test"
import { BLOCK_BYTES } from "#core/torrent.ts"
import { Bench, PIECE_BYTES } from "./played-peers.ts"

function piecesAsked(bench: Bench, peer: number): number[] {
  return [...new Set(bench.asked(peer).map((span) => span.piece))]
}

test("the rarest piece is asked for first", () => {
  const bench = new Bench({ pieces: 8, requestsFloor: 1 })
  bench.connect(
    1,
    [0, 1, 2, 3, 4, 5, 6, 7].filter((piece) => piece !== 5),
    { unchokes: false },
  )
  bench.connect(2, [0, 1, 2, 3, 4, 6, 7], { unchokes: false })
  bench.connect(3, [5, 6, 7], { unchokes: false })
  bench.say(3, { type: "unchoke" })
  assert.deepEqual(piecesAsked(bench, 3), [5])
})

test("a piece that many peers get by `have` gives way to one that stays rare", () => {
  const bench = new Bench({ pieces: 3, requestsFloor: 1 })
  bench.connect(1, [0, 1, 2], { unchokes: false })
  for (const peer of [2, 3]) {
    bench.connect(peer, "none", { unchokes: false })
    bench.say(peer, { type: "have", piece: 0 })
  }
  bench.say(2, { type: "have", piece: 2 })
  bench.say(1, { type: "unchoke" })
  assert.deepEqual(piecesAsked(bench, 1), [1])
})

test("a piece that was begun is finished before another is begun, by several peers together", () => {
  const bench = new Bench({ pieces: 8, requestsFirst: 2 })
  bench.connect(1, "all")
  const [first] = bench.asked(1)
  assert.ok(first)
  bench.connect(2, "all")
  assert.deepEqual([...piecesAsked(bench, 1), ...piecesAsked(bench, 2)], [first.piece, first.piece])
  assert.equal(new Set([...bench.asked(1), ...bench.asked(2)].map((span) => span.offset)).size, 4)
})

test("after the window moved, its first missing pieces are asked for before rarer ones, and the window before the rest", () => {
  const bench = new Bench({ pieces: 100, held: [20], windowPieces: 10, windowHeadPieces: 2, requestsFloor: 4 })
  bench.step({ kind: "window", firstPiece: 20 })
  bench.connect(1, "all")
  const order: number[] = []
  for (let asked = bench.asked(1); asked.length > 0; asked = bench.asked(1)) {
    const [span] = asked
    if (span === undefined) break
    if (order.at(-1) !== span.piece) order.push(span.piece)
    bench.bring(1, span)
  }
  assert.deepEqual(new Set(order.slice(0, 2)), new Set([21, 22]))
  assert.deepEqual(new Set(order.slice(0, 9)), new Set([21, 22, 23, 24, 25, 26, 27, 28, 29]))
  assert.equal(order.length, 99)
})

test("in the end game the last blocks are asked of a second peer, and withdrawn from the slower", () => {
  const bench = new Bench({ pieces: 1, requestsFloor: 4 })
  bench.connect(1, "all")
  assert.equal(bench.asked(1).length, 4)
  bench.connect(2, "all")
  bench.pass(100)
  const twice = bench.asked(2)
  assert.ok(twice.length > 0, "nothing was asked twice")
  const [span] = twice
  assert.ok(span)
  bench.bring(2, span)
  const withdrawn = bench.effects.filter((effect) => effect.kind === "send" && effect.message.type === "cancel")
  assert.deepEqual(withdrawn, [{ kind: "send", peer: 1, message: { type: "cancel", ...span } }])
  // The first sends it all the same: counted, and not kept again.
  bench.say(1, { type: "block", ...span, block: "late" })
  assert.equal(bench.core.statistics.duplicateBytes, BLOCK_BYTES)
  bench.finish([1, 2])
  assert.ok(bench.core.complete)
})

test("no block is asked twice while there is one that nobody is asked for", () => {
  const bench = new Bench({ pieces: 50 })
  for (const peer of [1, 2, 3, 4]) bench.connect(peer, "all")
  bench.pass(1_000)
  const spans = [1, 2, 3, 4].flatMap((peer) => bench.asked(peer).map((span) => `${span.piece} ${span.offset}`))
  assert.equal(new Set(spans).size, spans.length)
})

test("a peer that stalls loses its requests to another within seconds, and is dropped when it stays silent", () => {
  const bench = new Bench({ pieces: 2, requestsFloor: 4 })
  bench.connect(1, "all")
  const lost = bench.asked(1)
  assert.equal(lost.length, 4)
  bench.connect(2, [lost[0]?.piece ?? 0])
  bench.pass(6_000)
  assert.deepEqual(bench.asked(1), [])
  assert.deepEqual(
    bench.asked(2).toSorted((a, b) => a.offset - b.offset),
    lost,
  )
  for (let passed = 0; passed < 20_000; passed += 1_000) {
    bench.say(2, { type: "keep-alive" })
    bench.pass(1_000)
  }
  assert.ok(bench.effects.some((effect) => effect.kind === "disconnect" && effect.peer === 1 && effect.reason === "silent"))
})

test("a peer that goes leaves its requests to those that stay", () => {
  const bench = new Bench({ pieces: 1, requestsFloor: 4 })
  bench.connect(1, "all")
  bench.connect(2, "all")
  const lost = bench.asked(1)
  bench.step({ kind: "gone", peer: 1 })
  bench.pass(100)
  assert.ok(lost.every((span) => bench.asked(2).some((other) => other.offset === span.offset)))
  bench.finish([2])
  assert.ok(bench.core.complete)
  assert.equal(bench.core.census().inFlight, 0)
})

test("requests in flight follow the rate of the peer, from one piece up to the ceiling", () => {
  const bench = new Bench({ pieces: 2_000, requestsCeiling: 64 })
  bench.connect(1, "all")
  assert.equal(bench.asked(1).length, 4)
  for (let round = 0; round < 100; round += 1) {
    for (const span of bench.asked(1)) bench.bring(1, span)
    bench.pass(100)
  }
  assert.equal(bench.asked(1).length, 64)
})

test("a refused block is asked of another peer", () => {
  const bench = new Bench({ pieces: 1, requestsFloor: 1, requestsFirst: 1 })
  bench.connect(1, "all")
  const [span] = bench.asked(1)
  assert.ok(span)
  bench.connect(2, "all")
  bench.say(1, { type: "reject", ...span })
  bench.finish([2])
  assert.ok(bench.core.complete)
})

const askFor = (bench: Bench, peer: number, piece: number) => {
  for (let block = 0; block < 4; block += 1) bench.say(peer, { type: "request", piece, offset: block * BLOCK_BYTES, length: BLOCK_BYTES })
}

/** The operating system takes all that is to be sent; returns the pieces whose last block was sent, in order. */
function sendAll(bench: Bench): [peer: number, piece: number][] {
  const done: [number, number][] = []
  for (let at = bench.uploadsPlayed; at < bench.effects.length; at = bench.uploadsPlayed) {
    const effect = bench.effects[at]
    bench.uploadsPlayed += 1
    if (effect?.kind !== "upload") continue
    for (const block of effect.blocks) if (block.offset === 3 * BLOCK_BYTES) done.push([effect.peer, block.piece])
    bench.step({ kind: "uploaded", peer: effect.peer, bytes: effect.blocks.length * BLOCK_BYTES })
  }
  return done
}

test("few are served at a time; while others wait a turn ends with a piece, what was asked beyond is refused, and the next has its turn", () => {
  const bench = new Bench({ pieces: 4, held: "all", originSlotsMin: 2, originSlotsMax: 2 })
  for (const peer of [1, 2, 3]) {
    bench.connect(peer, "none")
    bench.say(peer, { type: "interested" })
  }
  assert.equal(bench.core.census().unchoked, 2)
  assert.ok(!bench.sent(3).includes("unchoke"))
  bench.say(3, { type: "request", piece: 0, offset: 0, length: BLOCK_BYTES })
  assert.ok(bench.sent(3).includes("reject"))
  askFor(bench, 1, 0)
  askFor(bench, 1, 1)
  assert.deepEqual(sendAll(bench), [[1, 0]])
  assert.deepEqual(
    bench.sent(1).filter((type) => type === "choke" || type === "reject"),
    ["choke", "reject", "reject", "reject", "reject"],
  )
  // What the operating system took has not arrived: the slot is another's when it has.
  assert.ok(!bench.sent(3).includes("unchoke"))
  bench.say(1, { type: "have", piece: 0 })
  assert.equal(bench.core.census().unchoked, 2)
  // One slot of the two is for those who made something of their turns; the other goes round.
  askFor(bench, 2, 2)
  sendAll(bench)
  bench.say(2, { type: "have", piece: 2 })
  assert.ok(bench.sent(3).includes("unchoke"))
  assert.equal(bench.core.census().unchoked, 2)
})

test("a slot is another's at once when its turn ended with a piece that comes from others too: nothing would tell that our part arrived", () => {
  const bench = new Bench({ pieces: 4, held: "all", originSlotsMin: 1, originSlotsMax: 1 })
  for (const peer of [1, 2]) {
    bench.connect(peer, "none")
    bench.say(peer, { type: "interested" })
  }
  bench.say(1, { type: "request", piece: 0, offset: PIECE_BYTES - BLOCK_BYTES, length: BLOCK_BYTES })
  assert.deepEqual(sendAll(bench), [[1, 0]])
  assert.ok(bench.sent(2).includes("unchoke"))
})

test("of the last pieces nobody is proposed more than a share, so that the slowest does not hold up the swarm", () => {
  const bench = new Bench({ pieces: 12, held: "all", originSlotsMin: 2, originSlotsMax: 2, slotMs: 1_000_000, slotTurnMs: 1_000_000 })
  for (const peer of [1, 2, 3]) {
    bench.connect(peer, "none")
    bench.say(peer, { type: "interested" })
  }
  const proposedTo = (peer: number) => bench.sent(peer).filter((type) => type === "suggest").length
  assert.deepEqual([proposedTo(1), proposedTo(2)], [1, 1])
  // Its rate is known from here on: a turn would be more than all that is left.
  askFor(bench, 1, bench.proposed(1)[0] ?? 0)
  sendAll(bench)
  bench.pass(100)
  askFor(bench, 2, bench.proposed(2)[0] ?? 0)
  sendAll(bench)
  // Ten were left for two: never more than half of what is left, and one at the least.
  assert.ok(proposedTo(2) > 1 && proposedTo(2) <= 1 + 5, `${proposedTo(2)} proposals`)
})

test("a slot whose peer never tells that its piece came is another's after a while", () => {
  const bench = new Bench({ pieces: 4, held: "all", originSlotsMin: 1, originSlotsMax: 1, slotPauseMs: 500 })
  for (const peer of [1, 2]) {
    bench.connect(peer, "none")
    bench.say(peer, { type: "interested" })
  }
  askFor(bench, 1, 0)
  sendAll(bench)
  bench.pass(400)
  assert.ok(!bench.sent(2).includes("unchoke"))
  bench.pass(100)
  assert.ok(bench.sent(2).includes("unchoke"))
  assert.equal(bench.core.census().unchoked, 1)
})

test("who makes nothing of its turns waits longer and longer for the next, while others are served", () => {
  const bench = new Bench({ pieces: 4, held: "all", originSlotsMin: 1, originSlotsMax: 1, slotIdleMs: 100, slotWastedMs: 1_000 })
  bench.connect(1, "none")
  bench.say(1, { type: "interested" })
  bench.connect(2, "none")
  bench.say(2, { type: "interested" })
  const turns = (peer: number) => bench.sent(peer).filter((type) => type === "unchoke").length
  bench.pass(60_000)
  // 1 + 2 + 4 + 8 + 16 seconds fit in: six turns, where it would be hundreds.
  assert.ok(turns(1) <= 7 && turns(2) <= 7, `${turns(1)} and ${turns(2)} turns`)
})

test("nobody is choked while nobody waits", () => {
  const bench = new Bench({ pieces: 4, held: "all", originSlotsMin: 2, originSlotsMax: 2 })
  for (const peer of [1, 2]) {
    bench.connect(peer, "none")
    bench.say(peer, { type: "interested" })
  }
  for (const piece of [0, 1, 2, 3]) askFor(bench, 1, piece)
  assert.equal(sendAll(bench).length, 4)
  assert.ok(!bench.sent(1).includes("choke"))
})

test("a slot of which nothing is made, or that is held too long, goes to someone who waits", () => {
  for (const asksOnce of [false, true]) {
    const bench = new Bench({ pieces: 4, held: "all", originSlotsMin: 1, originSlotsMax: 1, slotIdleMs: 200, slotTurnMs: 1_000 })
    for (const peer of [1, 2]) {
      bench.connect(peer, "none")
      bench.say(peer, { type: "interested" })
    }
    // The first block of a piece, and never its last.
    if (asksOnce) bench.say(1, { type: "request", piece: 0, offset: 0, length: BLOCK_BYTES })
    bench.pass(asksOnce ? 900 : 100)
    assert.ok(!bench.sent(2).includes("unchoke"))
    bench.pass(200)
    assert.ok(bench.sent(2).includes("unchoke"))
    assert.equal(bench.core.census().unchoked, 1)
  }
})

test("a slot of someone who wants nothing any more goes at once to someone who waits", () => {
  const bench = new Bench({ pieces: 4, held: "all", originSlotsMin: 1, originSlotsMax: 1 })
  for (const peer of [1, 2]) {
    bench.connect(peer, "none")
    bench.say(peer, { type: "interested" })
  }
  bench.say(1, { type: "not-interested" })
  assert.ok(bench.sent(1).includes("choke"))
  assert.ok(bench.sent(2).includes("unchoke"))
})

test("interest in a peer lasts until we have everything, or can store no more", () => {
  const interest = (bench: Bench) => bench.sent(2).findLast((type) => type.endsWith("interested"))
  for (const end of ["finish", "store-failed"] as const) {
    const bench = new Bench({ pieces: 2 })
    bench.connect(1, "all")
    bench.connect(2, [0])
    bench.finish([2])
    assert.equal(interest(bench), "interested", "it may have more to give")
    if (end === "finish") bench.finish([1, 2])
    else bench.step({ kind: "store-failed", piece: 1 })
    bench.pass(100)
    assert.equal(interest(bench), "not-interested")
  }
})

test("uploads wait for the peer to take what was sent: two turns are out at most", () => {
  const bench = new Bench({ pieces: 8, held: "all" })
  bench.connect(1, "none")
  bench.say(1, { type: "interested" })
  for (let piece = 0; piece < 8; piece += 1)
    for (let block = 0; block < 4; block += 1) bench.say(1, { type: "request", piece, offset: block * BLOCK_BYTES, length: BLOCK_BYTES })
  const uploads = () => bench.effects.filter((effect) => effect.kind === "upload").length
  assert.equal(uploads(), 2)
  bench.pass(1_000)
  assert.equal(uploads(), 2)
  bench.step({ kind: "uploaded", peer: 1, bytes: BLOCK_BYTES })
  assert.equal(uploads(), 3)
})

test("a peer that takes nothing of what it asked for is dropped", () => {
  const bench = new Bench({ pieces: 1, held: "all", unreadMs: 5_000 })
  bench.connect(1, "none")
  bench.say(1, { type: "interested" })
  bench.say(1, { type: "request", piece: 0, offset: 0, length: BLOCK_BYTES })
  bench.pass(5_100)
  assert.ok(bench.effects.some((effect) => effect.kind === "disconnect" && effect.reason === "unread"))
})

test("where too many came, those who have met others give way, and nobody who is being served", () => {
  const bench = new Bench({ pieces: 1, held: "all", peers: 2, settledMs: 1_000 })
  const gone = () => bench.effects.flatMap((effect) => (effect.kind === "disconnect" ? [[effect.peer, effect.reason]] : []))
  for (const peer of [1, 2, 3, 4]) bench.connect(peer, "none")
  bench.say(1, { type: "interested" })
  assert.ok(bench.core.hasRoomFor("here"))
  bench.step({ kind: "connected", peer: 5, key: "member 5", role: "client", site: "here", dialled: null })
  assert.deepEqual(gone(), [[5, "full"]])
  bench.pass(900)
  assert.equal(gone().length, 1)
  bench.pass(100)
  assert.deepEqual(gone().slice(1), [
    [2, "full"],
    [3, "full"],
  ])
})

test("who downloads takes no more connections than others have", () => {
  const bench = new Bench({ pieces: 1, connectionsTaken: 2 })
  for (const peer of [1, 2]) {
    assert.ok(bench.core.hasRoomFor("here"))
    bench.connect(peer, "none")
  }
  assert.ok(!bench.core.hasRoomFor("here"))
})

test("a cancelled request is answered with a refusal, once", () => {
  const bench = new Bench({ pieces: 1, held: "all" })
  bench.connect(1, "none")
  bench.say(1, { type: "interested" })
  const span = (block: number) => ({ piece: 0, offset: block * BLOCK_BYTES, length: BLOCK_BYTES })
  for (const block of [0, 1, 2]) bench.say(1, { type: "request", ...span(block) })
  bench.say(1, { type: "cancel", ...span(2) })
  bench.say(1, { type: "cancel", ...span(2) })
  assert.equal(bench.sent(1).filter((type) => type === "reject").length, 1)
  bench.step({ kind: "uploaded", peer: 1, bytes: BLOCK_BYTES })
  assert.equal(bench.effects.filter((effect) => effect.kind === "upload").length, 2)
})

test("new pieces are told to peers that lack them, together, and to the holder of everything that sent them", () => {
  const bench = new Bench({ pieces: 3, newsMs: 1_000 })
  bench.connect(1, "all")
  bench.connect(2, [0])
  bench.finish([1])
  bench.pass(1_000)
  const told = bench.effects.flatMap((effect) =>
    effect.kind === "send" && effect.message.type === "have" ? [[effect.peer, effect.message.piece]] : [],
  )
  const toldTo = (peer: number) => told.filter(([to]) => to === peer).map(([, piece = 0]) => piece)
  assert.deepEqual(
    toldTo(2).toSorted((a, b) => a - b),
    [1, 2],
  )
  assert.deepEqual(
    toldTo(1).toSorted((a, b) => a - b),
    [1, 2],
  )
})

test("beyond the first few a downloader dials one at a time, so that the first to come do not fill one another", () => {
  const bench = new Bench({ pieces: 4, dialledWanted: 2, connectionsFirst: 2, connectionsWanted: 4, dialPauseMs: 1_000 })
  const addresses = Array.from({ length: 8 }, (_, index) => ({ host: `10.0.0.${index + 1}`, port: 1 }))
  bench.step({ kind: "addresses", from: null, given: false, addresses })
  const dialled = () => bench.effects.flatMap((effect) => (effect.kind === "dial" ? [effect.address] : []))
  assert.equal(dialled().length, 3)
  bench.pass(900)
  assert.equal(dialled().length, 3)
  bench.pass(200)
  assert.equal(dialled().length, 4)
  bench.pass(5_000)
  assert.equal(dialled().length, 4, "enough")
})

test("a store that takes no more stops the download and not the upload", () => {
  const bench = new Bench({ pieces: 2, held: [0] })
  bench.connect(1, "all")
  for (let asked = bench.asked(1); asked.length > 0; asked = bench.asked(1))
    for (const span of asked) bench.say(1, { type: "block", ...span, block: "x" })
  assert.ok(bench.effects.some((effect) => effect.kind === "verify"))
  bench.step({ kind: "store-failed", piece: 1 })
  bench.pass(1_000)
  assert.deepEqual(bench.core.census(), { missing: 1, partial: 0, verifying: 0, held: 1, inFlight: 0, unchoked: 0 })
  bench.connect(2, "none")
  bench.say(2, { type: "interested" })
  bench.say(2, { type: "request", piece: 0, offset: 0, length: BLOCK_BYTES })
  assert.ok(bench.effects.some((effect) => effect.kind === "upload"))
})

test("a holder of everything sends each piece to one peer before any to a second", () => {
  const bench = new Bench({ pieces: 12, held: "all", originSlotsMin: 2, originSlotsMax: 2 })
  const peers = [1, 2, 3, 4]
  for (const peer of peers) {
    bench.connect(peer, "none")
    bench.say(peer, { type: "interested" })
  }
  const sent: number[] = []
  for (let seen = 0, round = 0; sent.length < 12 && round < 100; round += 1) {
    const suggestions = bench.effects
      .slice(seen)
      .flatMap((effect) => (effect.kind === "send" && effect.message.type === "suggest" ? [[effect.peer, effect.message.piece]] : []))
    seen = bench.effects.length
    for (const [peer = 0, piece = 0] of suggestions) askFor(bench, peer, piece)
    for (const [peer, piece] of sendAll(bench)) {
      sent.push(piece)
      bench.say(peer, { type: "have", piece })
    }
  }
  assert.deepEqual(
    sent.toSorted((a, b) => a - b),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
  )
})

test("a proposal to a peer that leaves, or of which nothing was made in its turn, is made to another", () => {
  for (const leaves of [true, false]) {
    const bench = new Bench({ pieces: 1, held: "all", originSlotsMin: 1, originSlotsMax: 1, slotIdleMs: 200 })
    for (const peer of [1, 2]) {
      bench.connect(peer, "none")
      bench.say(peer, { type: "interested" })
    }
    assert.ok(bench.sent(1).includes("suggest"))
    assert.ok(!bench.sent(2).includes("suggest"))
    if (leaves) bench.step({ kind: "gone", peer: 1 })
    else bench.pass(300)
    assert.ok(bench.sent(2).includes("suggest"))
  }
})

test("a holder of everything hears of a piece that it sent some of, whoever sent the rest", () => {
  const bench = new Bench({ pieces: 1, newsMs: 60_000 })
  bench.connect(1, "all")
  const [first = assert.fail(), ...rest] = bench.asked(1)
  bench.connect(2, [0])
  bench.bring(1, first)
  bench.say(1, { type: "choke" })
  for (const { piece, offset, length } of rest) bench.say(1, { type: "reject", piece, offset, length })
  assert.ok(!bench.sent(1).includes("have"))
  for (const span of bench.asked(2)) bench.bring(2, span)
  assert.ok(bench.core.complete)
  assert.ok(bench.sent(1).includes("have"))
})

test("of two that propose pieces each is told what came from the other", () => {
  const tell = (proposers: readonly number[]) => {
    const bench = new Bench({ pieces: 4, newsMs: 0 })
    for (const peer of [1, 2]) {
      bench.connect(peer, "all", { unchokes: false })
      if (proposers.includes(peer)) bench.say(peer, { type: "suggest", piece: peer })
      bench.say(peer, { type: "unchoke" })
    }
    for (const span of bench.asked(1)) bench.bring(1, span)
    return [1, 2].map((peer) => bench.sent(peer).includes("have"))
  }
  assert.deepEqual(tell([1, 2]), [true, true])
  // Who sent it hears of it in any case.
  assert.deepEqual(tell([1]), [true, false])
})

test("a proposer is asked for what it proposes and for nothing else until a while after", () => {
  const bench = new Bench({ pieces: 8, guidedMs: 300 })
  bench.connect(1, "all", { unchokes: false })
  bench.say(1, { type: "suggest", piece: 5 })
  bench.say(1, { type: "unchoke" })
  assert.deepEqual(piecesAsked(bench, 1), [5])
  for (const span of bench.asked(1)) bench.bring(1, span)
  assert.deepEqual(bench.asked(1), [])
  bench.pass(400)
  assert.ok(piecesAsked(bench, 1).length > 0)
})

test("addresses that were given are dialled first, failures again after growing pauses, and no more at a time than the bound", () => {
  const bench = new Bench({ pieces: 1, halfOpen: 2 })
  const at = (port: number) => ({ host: "192.0.2.1", port })
  bench.step({ kind: "addresses", from: null, given: false, addresses: [at(1), at(2), at(3)] })
  bench.step({ kind: "addresses", from: null, given: true, addresses: [at(9)] })
  const dials = () => bench.effects.flatMap((effect) => (effect.kind === "dial" ? [effect.address.port] : []))
  assert.equal(dials().length, 2)
  bench.step({ kind: "dial-failed", address: at(dials()[0] ?? 0) })
  bench.pass(100)
  assert.equal(dials().at(2), 9)
  const before = dials().length
  const failed = at(9)
  const pauses: number[] = []
  bench.step({ kind: "dial-failed", address: failed })
  for (let failures = 0; failures < 4; failures += 1) {
    const sinceMs = bench.nowMs
    while (dials().filter((port) => port === 9).length < failures + 2) {
      bench.pass(100)
      for (const port of dials()) if (port !== 9) bench.step({ kind: "dial-failed", address: at(port) })
    }
    pauses.push(bench.nowMs - sinceMs)
    bench.step({ kind: "dial-failed", address: failed })
  }
  assert.ok(before >= 3)
  assert.ok((pauses[3] ?? 0) > 3 * (pauses[0] ?? 0), `pauses of ${pauses.join(", ")} ms`)
})
