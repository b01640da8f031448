import assert from "node:assert/strict"
import { test } from "node:test"
import { BLOCK_BYTES } from "#core/torrent.ts"
import { Bench } from "./played-peers.ts"
import { VirtualSwarm } from "../../bench/simulator/virtual-swarm.ts"

function dropped(bench: Bench): [number, string][] {
  return bench.effects.flatMap((effect) => (effect.kind === "disconnect" ? [[effect.peer, effect.reason] as [number, string]] : []))
}

test("a peer that sent the whole of a corrupt piece is dropped and not admitted again", () => {
  const bench = new Bench({ pieces: 1, requestsFloor: 4 })
  bench.connect(1, "all")
  for (const span of bench.asked(1)) bench.say(1, { type: "block", ...span, block: "lie" })
  bench.step({ kind: "piece-corrupt", piece: 0 })
  assert.deepEqual(dropped(bench), [[1, "corrupt"]])
  assert.ok(bench.effects.some((effect) => effect.kind === "drop-piece" && effect.piece === 0))
  bench.step({ kind: "connected", peer: 2, key: "member 1", role: "client", site: "here", dialled: null })
  assert.deepEqual(dropped(bench).at(-1), [2, "banned"])
  bench.connect(3, "all")
  bench.finish([3])
  assert.ok(bench.core.complete)
})

/** Two peers sent two blocks each of a piece, which was corrupt. */
function disputed(): Bench {
  const bench = new Bench({ pieces: 1, requestsFirst: 2 })
  bench.connect(1, "all")
  bench.connect(2, "all")
  for (const peer of [1, 2]) for (const span of bench.asked(peer)) bench.say(peer, { type: "block", ...span, block: "?" })
  for (const effect of bench.effects.slice())
    if (effect.kind === "send" && effect.message.type === "cancel") bench.say(effect.peer, { ...effect.message, type: "reject" })
  bench.step({ kind: "piece-corrupt", piece: 0 })
  assert.deepEqual(dropped(bench), [])
  return bench
}

test("when several sent a corrupt piece, all of it is asked of one", () => {
  const bench = disputed()
  bench.pass(100)
  const askers = [1, 2].filter((peer) => bench.asked(peer).length > 0)
  assert.equal(askers.length, 1)
  const [solo = 0] = askers
  for (let count = 0; count < 4; count += 1) {
    const [span] = bench.asked(solo)
    assert.ok(span)
    bench.say(solo, { type: "block", ...span, block: "?" })
    bench.pass(100)
    assert.deepEqual(bench.asked(3 - solo), [])
  }
  bench.step({ kind: "piece-corrupt", piece: 0 })
  assert.deepEqual(dropped(bench), [[solo, "corrupt"]])
})

test("when the one that sent it anew was honest, the blocks that differ tell who lied", () => {
  const bench = disputed()
  bench.pass(100)
  const solo = [1, 2].find((peer) => bench.asked(peer).length > 0) ?? 0
  const supplied = bench.effects.flatMap((effect) => (effect.kind === "keep-block" ? [effect] : [])).slice(0, 4)
  assert.equal(supplied.length, 4)
  for (let asked = bench.asked(solo); asked.length > 0; asked = bench.asked(solo))
    for (const span of asked) bench.say(solo, { type: "block", ...span, block: "true" })
  // Bench's peers each supplied two blocks, in the order of their offsets: 1 the first two, 2 the others.
  const wrong = solo === 1 ? 3 : 0
  bench.step({ kind: "piece-stored", piece: 0, wrongBlocks: [wrong] })
  assert.deepEqual(dropped(bench), [[3 - solo, "corrupt"]])
  assert.ok(bench.core.complete)
})

test("when the one that is asked anew leaves, another is asked for all of it", () => {
  const bench = disputed()
  bench.pass(100)
  const solo = [1, 2].find((peer) => bench.asked(peer).length > 0) ?? 0
  const [span] = bench.asked(solo)
  assert.ok(span)
  bench.say(solo, { type: "block", ...span, block: "true" })
  bench.step({ kind: "gone", peer: solo })
  bench.pass(100)
  const offsets = new Set<number>()
  for (let asked = bench.asked(3 - solo); asked.length > 0; asked = bench.asked(3 - solo))
    for (const each of asked) {
      offsets.add(each.offset)
      bench.say(3 - solo, { type: "block", ...each, block: "true" })
    }
  assert.equal(offsets.size, 4)
  bench.step({ kind: "piece-stored", piece: 0, wrongBlocks: [] })
  assert.ok(bench.core.complete)
})

test("a swarm with one liar among eight finishes, and every victim has dropped the liar and nobody else", () => {
  const swarm = new VirtualSwarm({ contentBytes: 40 * 4 * BLOCK_BYTES, pieceBytes: 4 * BLOCK_BYTES, seed: 11 })
  const bytesPerSecond = 1_000_000
  const origin = swarm.add({ name: "origin", role: "server", holds: "all", bytesPerSecond })
  const liar = swarm.add({ name: "liar", role: "client", holds: "all", bytesPerSecond, lies: true })
  for (let index = 0; index < 6; index += 1) swarm.add({ name: `leecher ${index}`, role: "client", holds: "nothing", bytesPerSecond })
  swarm.tellAll([origin, liar])
  assert.ok(
    swarm.run(() => swarm.allDone()),
    "not done in time",
  )
  let victims = 0
  for (const host of swarm.hosts.slice(2)) {
    const offenders = new Set(host.disconnects.filter(({ reason }) => reason === "corrupt").map(({ key }) => key))
    if (host.core.statistics.corruptPieces > 0) victims += 1
    assert.deepEqual([...offenders], host.core.statistics.corruptPieces > 0 ? ["liar"] : [])
    assert.equal(host.books.wrongBlocks, 0)
  }
  assert.ok(victims > 0)
})
