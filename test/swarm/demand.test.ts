import assert from "node:assert/strict"
import { test } from "node:test"
import { BLOCK_BYTES } from "#core/torrent.ts"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { PeakRate } from "#swarm/core/rate.ts"
import { addressesOf, eventually, testContent, testSwarm, torrentOf } from "./fixture.ts"
import { Bench } from "./played-peers.ts"

/** Six members of the site and one of another beside the own one, "member 5". */
function seeding(): Bench {
  const bench = new Bench({ pieces: 8, held: "all", own: "member 5" })
  bench.connect(1, "all", { role: "server" })
  bench.connect(2, "all", { site: "elsewhere" })
  bench.connect(3, "none")
  bench.connect(4, "all")
  bench.connect(6, "all")
  return bench
}

test("other seeders are clients of the own site that have everything, and those of lower ids leave first", () => {
  const { otherSeeders, leavingBefore } = seeding().core.demand
  assert.deepEqual({ otherSeeders, leavingBefore }, { otherSeeders: 2, leavingBefore: 1 })
})

test("a peer that wanted something and wants nothing more has everything, though it did not tell of each piece", () => {
  const bench = seeding()
  assert.equal(bench.core.demand.otherSeeders, 2)
  bench.say(3, { type: "not-interested" })
  assert.equal(bench.core.demand.otherSeeders, 2, "it wanted nothing before")
  bench.say(3, { type: "interested" })
  assert.equal(bench.core.demand.peersInNeed, 1)
  bench.say(3, { type: "not-interested" })
  assert.equal(bench.core.demand.peersInNeed, 0)
  assert.equal(bench.core.demand.otherSeeders, 3)
})

test("who is served and neither asks for anything nor tells of new pieces for a minute is in need no more, until it does", () => {
  const bench = new Bench({ pieces: 8, held: "all" })
  bench.connect(1, "none")
  bench.say(1, { type: "interested" })
  bench.pass(59_000)
  assert.equal(bench.core.demand.peersInNeed, 1)
  bench.say(1, { type: "have", piece: 3 })
  bench.pass(59_000)
  assert.equal(bench.core.demand.peersInNeed, 1)
  bench.pass(2_000)
  assert.equal(bench.core.demand.peersInNeed, 0)
  bench.say(1, { type: "request", piece: 0, offset: 0, length: BLOCK_BYTES })
  assert.equal(bench.core.demand.peersInNeed, 1)
})

test("the gap is between those who come to download, of whom several at a time are one, and this member is the first", () => {
  const bench = new Bench({ pieces: 16, held: [0] })
  bench.connect(1, "none")
  bench.pass(20_000)
  bench.connect(2, [0, 1, 2])
  bench.connect(3, "all")
  assert.equal(bench.core.demand.arrivalGapMs, null, "who has some of it does not come to begin")
  bench.connect(4, "none")
  bench.pass(1_000)
  bench.connect(5, [1])
  bench.pass(19_000)
  bench.connect(6, "none")
  assert.equal(bench.core.demand.arrivalGapMs, 20_000)
})

test("a later leaver relieves a member only if it has seen as much: if it was there when the last one came", () => {
  const bench = new Bench({ pieces: 8, held: "all" })
  bench.connect(1, "all")
  assert.equal(bench.core.demand.relieved, true, "nobody came since either began")
  bench.pass(10_000)
  bench.connect(2, "none")
  assert.equal(bench.core.demand.relieved, true)
  bench.step({ kind: "gone", peer: 1 })
  bench.say(2, { type: "interested" })
  bench.say(2, { type: "not-interested" })
  assert.equal(bench.core.demand.otherSeeders, 1)
  assert.equal(bench.core.demand.relieved, false, "it does not know of this member's first gap")
  bench.pass(10_000)
  bench.connect(3, "none")
  assert.equal(bench.core.demand.relieved, true)
})

test("clients that were met are remembered, servers and other sites' members do not count", () => {
  const bench = new Bench({ pieces: 8, held: "all" })
  bench.connect(1, "none", { role: "server" })
  bench.connect(2, "none", { site: "elsewhere" })
  assert.equal(bench.core.demand.metClients, false)
  bench.connect(3, "none")
  bench.step({ kind: "gone", peer: 3 })
  assert.equal(bench.core.demand.metClients, true)
})

test("the time that the download took is told once it is over, and not where there was none", () => {
  assert.equal(new Bench({ pieces: 1, held: "all" }).core.demand.tookMs, null)
  const bench = new Bench({ pieces: 1 })
  bench.connect(1, "all")
  bench.pass(3_000)
  assert.equal(bench.core.demand.tookMs, null)
  bench.finish([1])
  bench.pass(5_000)
  assert.equal(bench.core.demand.tookMs, 3_000)
})

test(
  "over real connections two clients that finished know of each other, and of nobody in need; one of them leaves first",
  { timeout: 30_000 },
  async (t) => {
    const content = testContent(40 * 65_536)
    const torrent = torrentOf(content, 65_536)
    const origin = await testSwarm(t, "origin", "server")
    origin.join(torrent, MemoryPieceStore.full(torrent, content))
    const clients = await Promise.all(["one", "another"].map((name) => testSwarm(t, name, "client")))
    const sessions = clients.map((swarm) => swarm.join(torrent, new MemoryPieceStore(torrent)))
    for (const session of sessions) session.addPeers(addressesOf(origin, ...clients))
    await Promise.all(sessions.map((session) => session.whenComplete()))
    const demands = () => sessions.map((session) => session.demand())
    await eventually(() =>
      demands().every(({ otherSeeders, peersInNeed, metClients }) => otherSeeders === 1 && peersInNeed === 0 && metClients),
    )
    assert.deepEqual(
      demands()
        .map(({ leavingBefore }) => leavingBefore)
        .toSorted((one, other) => one - other),
      [0, 1],
    )
    await sessions[0]?.close()
    await eventually(() => sessions[1]?.demand().otherSeeders === 0)
  },
)

test("the peak is of whole seconds in a row, and a pause of days does not change it", () => {
  const peak = new PeakRate(0)
  for (let second = 0; second < 10; second += 1) peak.add(second === 5 ? 400 : 100, second * 1_000)
  assert.equal(peak.bytesPerSecond, 175)
  peak.add(1_000_000, 200_000_000_000)
  assert.equal(peak.bytesPerSecond, 175)
  for (let second = 1; second <= 4; second += 1) peak.add(0, 200_000_000_000 + second * 1_000)
  assert.equal(peak.bytesPerSecond, 250_000)
})
