import assert from "node:assert/strict"
import { test } from "node:test"
import { BLOCK_BYTES } from "#core/torrent.ts"
import { VirtualSwarm } from "../../bench/simulator/virtual-swarm.ts"

const PIECE_BYTES = 4 * BLOCK_BYTES
const PIECES = 150
const BYTES_PER_SECOND = 2_000_000

function swarmOf(leechers: number, seed: number): VirtualSwarm {
  const swarm = new VirtualSwarm({ contentBytes: PIECES * PIECE_BYTES - 5_000, pieceBytes: PIECE_BYTES, seed })
  const origin = swarm.add({ name: "origin", role: "server", holds: "all", bytesPerSecond: BYTES_PER_SECOND })
  for (let index = 0; index < leechers; index += 1)
    swarm.add({ name: `leecher ${index}`, role: "client", holds: "nothing", bytesPerSecond: BYTES_PER_SECOND })
  swarm.tellAll([origin])
  return swarm
}

for (const seed of [1, 2, 3])
  test(`twenty hosts finish, each piece is in one state at all times and no byte is counted twice (seed ${seed})`, () => {
    const swarm = swarmOf(19, seed)
    assert.ok(
      swarm.run(() => swarm.allDone()),
      "not done in ten minutes",
    )
    swarm.finish()
    for (const host of swarm.hosts)
      assert.deepEqual(
        host.disconnects.filter(({ reason }) => reason !== "both-complete"),
        [],
      )
  })

for (const [leechers, bytesPerSecond, pieces, ratioMax] of [
  [16, 3_750_000, 1_000, 1.15],
  [50, 1_250_000, 384, 1.5],
] as const)
  test(`${leechers} hosts on equal links take at most ${ratioMax} times as long as one alone would`, () => {
    const contentBytes = pieces * PIECE_BYTES
    const swarm = new VirtualSwarm({ contentBytes, pieceBytes: PIECE_BYTES, seed: 5 })
    const origin = swarm.add({ name: "origin", role: "server", holds: "all", bytesPerSecond })
    for (let index = 0; index < leechers; index += 1)
      swarm.add({ name: `leecher ${index}`, role: "client", holds: "nothing", bytesPerSecond })
    swarm.tellAll([origin])
    assert.ok(swarm.run(() => swarm.allDone()))
    const ratio = (swarm.nowMs * bytesPerSecond) / 1000 / contentBytes
    const copies = origin.core.statistics.uploadedBytes / contentBytes
    assert.ok(ratio < ratioMax, `took ${ratio.toFixed(2)} times as long as the link alone; the origin sent ${copies.toFixed(2)} copies`)
  })

test("the same seed gives the same run, to the byte and the millisecond; another seed another", () => {
  const run = (seed: number) => {
    const swarm = swarmOf(8, seed)
    assert.ok(swarm.run(() => swarm.allDone()))
    return swarm.hosts.map((host) => [host.doneAtMs, { ...host.core.statistics }])
  }
  assert.deepEqual(run(7), run(7))
  assert.notDeepEqual(run(7), run(8))
})

test("hosts finish though the fastest seeders freeze and die midway", () => {
  const swarm = swarmOf(10, 4)
  const fast = ["frozen", "dead"].map((name) => swarm.add({ name, role: "server", holds: "all", bytesPerSecond: 10 * BYTES_PER_SECOND }))
  const [origin] = swarm.hosts
  assert.ok(origin)
  swarm.tellAll([origin, ...fast])
  swarm.run(() => swarm.hosts.slice(1, 11).some((host) => host.core.held.count > PIECES / 3))
  const [frozen, dead] = fast
  assert.ok(frozen && dead)
  assert.ok(!swarm.allDone())
  swarm.freeze(frozen)
  swarm.kill(dead)
  const sinceMs = swarm.nowMs
  assert.ok(swarm.run(() => swarm.allDone()))
  const limitMs = (PIECES * PIECE_BYTES * 1000) / BYTES_PER_SECOND + 20_000
  assert.ok(swarm.nowMs - sinceMs < limitMs, `took ${swarm.nowMs - sinceMs} ms more`)
})

test("a host that knows one client finds others by peer exchange, and all finish when the origin is gone after a copy", () => {
  const swarm = swarmOf(6, 9)
  const [origin, first] = swarm.hosts
  assert.ok(origin && first)
  swarm.run(() => swarm.hosts.slice(1).every((host) => host.core.held.count > 10))
  const late = swarm.add({ name: "late", role: "client", holds: "nothing", bytesPerSecond: BYTES_PER_SECOND })
  swarm.tell(late, [first.address])
  const held = () => {
    const pieces = new Set<number>()
    for (const host of swarm.hosts.slice(1))
      for (let piece = 0; piece < PIECES; piece += 1) if (host.core.held.has(piece)) pieces.add(piece)
    return pieces.size
  }
  swarm.run(() => held() === PIECES)
  swarm.kill(origin)
  assert.ok(swarm.run(() => swarm.allDone()))
  assert.ok(late.links.size > 1)
})

test("an unpacker that moves its window gets the pieces nearly in order, and loses no time by it", () => {
  const run = (windowed: boolean) => {
    const swarm = swarmOf(3, 6)
    assert.ok(swarm.run(() => swarm.allDone()))
    const sinceMs = swarm.nowMs
    const known = swarm.hosts.map((host) => host.address)
    const late = swarm.add({
      name: "late",
      role: "client",
      holds: "nothing",
      bytesPerSecond: BYTES_PER_SECOND,
      limits: { windowPieces: 30 },
    })
    if (windowed) swarm.happen(late, { kind: "window", firstPiece: 0 })
    swarm.tell(late, known)
    let head = 0
    let headAtHalf: number | null = null
    swarm.run(() => {
      const before = head
      while (head < PIECES && late.core.held.has(head)) head += 1
      if (windowed && head > before && head < PIECES) swarm.happen(late, { kind: "window", firstPiece: head })
      if (late.core.held.count >= PIECES / 2) headAtHalf ??= head
      return swarm.allDone()
    })
    return { tookMs: swarm.nowMs - sinceMs, headAtHalf: headAtHalf ?? 0 }
  }
  const without = run(false)
  const windowed = run(true)
  assert.ok(
    without.headAtHalf < 15 && windowed.headAtHalf > 45,
    `${windowed.headAtHalf} pieces in a row at half, ${without.headAtHalf} without`,
  )
  assert.ok(windowed.tookMs < without.tookMs * 1.05, `${windowed.tookMs} ms, ${without.tookMs} ms without a window`)
})
