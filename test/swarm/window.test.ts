/** A member with room for a window of a torrent: it takes pieces as the window comes to them, and gives what it still has. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { WindowPieceStore } from "#store/window-piece-store.ts"
import { BLOCK_BYTES, pieceBytesAt } from "#core/torrent.ts"
import type { TorrentSession } from "#swarm/swarm.ts"
import { addressesOf, eventually, readAll, testContent, testSwarm, torrentOf } from "./fixture.ts"
import { Bench, PIECE_BYTES } from "./played-peers.ts"

const TIMEOUT = { timeout: 60_000 }
const WINDOW = { aheadPieces: 4, behindPieces: 2 }

const blocksOf = (piece: number) => [0, 1, 2, 3].map((block) => ({ piece, offset: block * BLOCK_BYTES, length: BLOCK_BYTES }))
const piecesAsked = (bench: Bench, peer: number) => [...new Set(bench.asked(peer).map((span) => span.piece))].sort((a, b) => a - b)

function refused(bench: Bench, peer: number): number[] {
  const rejects = bench.effects.flatMap((effect) =>
    effect.kind === "send" && effect.peer === peer && effect.message.type === "reject" ? [effect.message.piece] : [],
  )
  return [...new Set(rejects)]
}

test("no piece ahead of the window is asked for, whoever has it or proposes it", () => {
  const bench = new Bench({ pieces: 20, window: WINDOW, requestsFloor: 200, requestsFirst: 200 })
  bench.connect(1, "all", { unchokes: false })
  bench.say(1, { type: "suggest", piece: 11 })
  bench.say(1, { type: "unchoke" })
  assert.deepEqual(piecesAsked(bench, 1), [0, 1, 2, 3])
  bench.finish([1])
  assert.deepEqual([bench.core.held.count, bench.core.had.count], [4, 4])
  bench.step({ kind: "window", firstPiece: 1 })
  assert.deepEqual(piecesAsked(bench, 1), [4])
})

test("what the window has passed is forgotten, counts as had, and the torrent is complete in the end", () => {
  const bench = new Bench({ pieces: 20, window: WINDOW })
  bench.connect(1, "all")
  for (let first = 0; first < 20; first += 1) {
    bench.step({ kind: "window", firstPiece: first })
    bench.finish([1])
    assert.ok(bench.core.held.count <= 6)
    assert.equal(bench.core.had.count, Math.min(20, first + 4))
  }
  assert.ok(bench.core.complete)
  assert.deepEqual(
    Array.from({ length: 20 }, (_, piece) => piece).filter((piece) => bench.core.held.has(piece)),
    [17, 18, 19],
  )
  const forgotten = bench.effects.flatMap((effect) => (effect.kind === "forget-piece" ? [effect.piece] : []))
  assert.deepEqual(
    forgotten,
    Array.from({ length: 17 }, (_, piece) => piece),
  )
  bench.pass(100)
  assert.ok(bench.sent(1).includes("not-interested"))
})

test("peers that lack a forgotten piece are told, once; those that connect after see what is held, and those that take no word are not told", () => {
  const bench = new Bench({ pieces: 20, window: WINDOW })
  bench.connect(1, "all", { takesDontHave: true })
  bench.connect(2, "none", { takesDontHave: true })
  bench.connect(3, "none")
  bench.finish([1])
  bench.step({ kind: "window", firstPiece: 3 })
  assert.deepEqual([bench.toldForgotten(1), bench.toldForgotten(2), bench.toldForgotten(3)], [[], [0], []])
  // Of what was forgotten between the first message and the introduction it hears with it.
  bench.introduce(3)
  assert.deepEqual(bench.toldForgotten(3), [0])
  bench.connect(4, "none", { takesDontHave: true })
  const told = bench.effects.flatMap((effect) =>
    effect.kind === "send" && effect.peer === 4 && effect.message.type === "bitfield" ? [...effect.message.bits] : [],
  )
  assert.deepEqual(told, [0b0111_0000, 0, 0])
  assert.deepEqual(bench.toldForgotten(4), [])
})

test("requests for a piece are refused when it is forgotten, and after; the peer is not dropped for them", () => {
  const bench = new Bench({ pieces: 20, window: WINDOW, writesInFlight: 1 })
  bench.connect(1, "all")
  bench.finish([1])
  bench.connect(2, "none", { takesDontHave: true })
  bench.say(2, { type: "interested" })
  for (const piece of [1, 0]) for (const span of blocksOf(piece)) bench.say(2, { type: "request", ...span })
  bench.step({ kind: "window", firstPiece: 3 })
  assert.deepEqual(refused(bench, 2), [0])
  for (const span of blocksOf(0)) bench.say(2, { type: "request", ...span })
  assert.equal(bench.effects.filter((effect) => effect.kind === "disconnect").length, 0)
})

test("a piece that a peer has forgotten is asked of others, at once; one that had everything is counted piece by piece from then on", () => {
  const bench = new Bench({ pieces: 3, requestsFloor: 200, requestsFirst: 200 })
  bench.connect(1, "all", { unchokes: false })
  bench.step({ kind: "dont-have", peer: 1, piece: 1 })
  bench.say(1, { type: "unchoke" })
  assert.deepEqual(piecesAsked(bench, 1), [0, 2])
  // Refused of what is forgotten: the peer is asked on without a pause.
  const [span] = bench.asked(1)
  assert.ok(span)
  bench.step({ kind: "dont-have", peer: 1, piece: span.piece })
  bench.say(1, { type: "reject", ...span })
  bench.connect(2, "all")
  assert.ok(bench.asked(2).some(({ piece }) => piece === 1))
  bench.step({ kind: "gone", peer: 1 })
  bench.finish([2])
  assert.ok(bench.core.complete)
})

test("a peer that says again and again that it forgot, and has, and forgot, is dropped for it", () => {
  const bench = new Bench({ pieces: 8 })
  bench.connect(1, "all")
  let said = 0
  while (said < 1_000 && !bench.effects.some((effect) => effect.kind === "disconnect")) {
    bench.step({ kind: "dont-have", peer: 1, piece: 2 })
    bench.say(1, { type: "have", piece: 2 })
    said += 1
  }
  assert.ok(said < 200, `${said} times`)
})

test("a forgotten piece that does not exist, or is told of before any other, ends the connection", () => {
  const bench = new Bench({ pieces: 8 })
  bench.connect(1, "all")
  bench.step({ kind: "dont-have", peer: 1, piece: 8 })
  bench.step({ kind: "connected", peer: 2, key: "member 2", role: "client", site: "here", dialled: null })
  bench.step({ kind: "dont-have", peer: 2, piece: 1 })
  const dropped = bench.effects.flatMap((effect) => (effect.kind === "disconnect" ? [[effect.peer, effect.reason]] : []))
  assert.deepEqual(dropped, [
    [1, "misbehaved"],
    [2, "misbehaved"],
  ])
})

test("the one piece that a full window waits for is asked of a second peer, and no other", () => {
  const bench = new Bench({ pieces: 20, window: WINDOW, requestsFloor: 4, requestsFirst: 4 })
  bench.connect(1, "all")
  const waitsFor = bench.asked(1)
  assert.deepEqual([...new Set(waitsFor.map(({ piece }) => piece))], [0])
  bench.connect(2, "all")
  for (let more = true; more;) {
    const span = bench.asked(2).find(({ piece }) => piece !== 0)
    more = span !== undefined
    if (span !== undefined) bench.bring(2, span)
  }
  assert.equal(bench.core.held.count, 3)
  bench.pass(1_000)
  assert.deepEqual(piecesAsked(bench, 2), [0])
})

/** As an unpacker reads: in order, each piece as soon as it is held, with `rest` after it. */
async function readInOrder(session: TorrentSession, rest: (piece: number) => Promise<void> | undefined): Promise<Buffer> {
  const { torrent, pieces } = session
  const parts: Buffer[] = []
  for (let piece = 0; piece < torrent.pieceCount; piece += 1) {
    session.moveWindow(piece)
    await session.whenHeld(piece)
    const bytes = Buffer.alloc(pieceBytesAt(torrent, piece))
    await pieces.read(piece * torrent.pieceBytes, bytes.length, bytes)
    parts.push(bytes)
    await rest(piece)
  }
  return Buffer.concat(parts)
}

test(
  "members with small windows read all of it from a server and from one another, and nobody is dropped or banned",
  TIMEOUT,
  async (t) => {
    const content = testContent(200 * PIECE_BYTES + 5)
    const torrent = torrentOf(content, PIECE_BYTES)
    const warnings: unknown[] = []
    const log = { debug() {}, info() {}, warn: (fields: object, message: string) => void warnings.push([fields, message]) }
    // So slow that what one member has is worth asking it for.
    const server = await testSwarm(t, "server", "server", { uploadBytesPerSecondLimit: 8_000_000, log })
    server.join(torrent, MemoryPieceStore.full(torrent, content))
    const members = await Promise.all(["one", "two", "three"].map((name) => testSwarm(t, name, "client", { log })))
    const sessions = members.map((member) => member.join(torrent, new WindowPieceStore(torrent, { aheadPieces: 24, behindPieces: 24 })))
    for (const session of sessions) session.addPeers(addressesOf(server, ...members))
    const read = await Promise.all(
      sessions.map((session) =>
        readInOrder(session, () => {
          assert.ok(session.pieces.heldCount <= 48)
          return undefined
        }),
      ),
    )
    for (const bytes of read) assert.ok(bytes.equals(content))
    for (const session of sessions) await session.whenComplete()
    const fromMembers = sessions.reduce((sum, session) => sum + session.statistics().fromClientsBytes, 0)
    assert.ok(fromMembers > content.length / 2, `${fromMembers} bytes came from members`)
    assert.deepEqual(warnings, [])
  },
)

test("a member with a small window that reads slowly keeps no other waiting", TIMEOUT, async (t) => {
  const content = testContent(200 * PIECE_BYTES)
  const torrent = torrentOf(content, PIECE_BYTES)
  const server = await testSwarm(t, "server", "server")
  server.join(torrent, MemoryPieceStore.full(torrent, content))
  const slow = await testSwarm(t, "slow", "client")
  const quick = await testSwarm(t, "quick", "client")
  const slowSession = slow.join(torrent, new WindowPieceStore(torrent, { aheadPieces: 6, behindPieces: 2 }))
  slowSession.addPeers(addressesOf(server, quick))
  const held = Promise.withResolvers<void>()
  // It goes on when the others are done, and not before.
  const reading = readInOrder(slowSession, (piece) => (piece === 3 ? held.promise : undefined))
  await slowSession.whenHeld(3)
  const quickSession = quick.join(torrent, new MemoryPieceStore(torrent))
  quickSession.addPeers(addressesOf(server, slow))
  await quickSession.whenComplete()
  assert.ok((await readAll(quickSession)).equals(content))
  assert.ok(slowSession.statistics().hadPieces <= 9)
  await assert.rejects(slowSession.whenHeld(0), RangeError)
  held.resolve()
  assert.ok((await reading).equals(content))
  await eventually(() => slowSession.statistics().hadPieces === torrent.pieceCount)
})
