import assert from "node:assert/strict"
import { test } from "node:test"
import { Crossings } from "#swarm/core/crossings.ts"
import { defaultLimits } from "#swarm/core/limits.ts"

const FED = false
const STARVED = true

test("a piece that a member of the site has is not fetched across, unless what it has does not come", () => {
  const crossings = new Crossings(4, defaultLimits)
  crossings.raise(2)
  assert.ok(!crossings.allows(2, FED, 0) && crossings.allows(1, FED, 0))
  assert.ok(crossings.allows(2, STARVED, 0))
  crossings.lower(2)
  assert.ok(crossings.allows(2, FED, 0))
})

test("a piece that another fetches is left to it until it says otherwise, or is gone", () => {
  const crossings = new Crossings(4, defaultLimits)
  crossings.claim(7, [0, 1], 0)
  crossings.claim(7, [1], 100)
  assert.ok(crossings.allows(0, FED, 100) && !crossings.allows(1, FED, 100))
  crossings.forget(7)
  assert.ok(crossings.allows(1, FED, 100))
})

test("a claim lapses when its piece takes four times as long as others did, however often it is repeated, and is another's then", () => {
  const crossings = new Crossings(4, { ...defaultLimits, claimMinMs: 1_000, claimMaxMs: 60_000 })
  crossings.claim(7, [0], 0)
  crossings.claim(7, [1], 2_000)
  for (let nowMs = 2_100; nowMs < 10_000; nowMs += 100) {
    assert.ok(!crossings.allows(1, FED, nowMs), `${nowMs} ms`)
    crossings.claim(7, [1], nowMs)
  }
  assert.ok(crossings.allows(1, FED, 10_000))
  crossings.claim(8, [1], 10_000)
  assert.ok(!crossings.allows(1, FED, 10_100))
})

test("a piece that is claimed, let go and claimed again is another's to fetch after so many times, whoever claims it", () => {
  const crossings = new Crossings(4, { ...defaultLimits, claimsOfPiece: 3 })
  for (const peer of [7, 8, 7]) {
    crossings.claim(peer, [1], 0)
    assert.ok(!crossings.allows(1, FED, 0))
    if (peer === 8) crossings.forget(peer)
    else crossings.claim(peer, [], 0)
  }
  crossings.claim(9, [1, 2], 0)
  assert.ok(crossings.allows(1, FED, 0) && !crossings.allows(2, FED, 0))
})

test("one member claims no more than it may", () => {
  const crossings = new Crossings(100, { ...defaultLimits, claims: 3 })
  crossings.claim(
    7,
    Array.from({ length: 100 }, (_, piece) => piece),
    0,
  )
  const claimed = Array.from({ length: 100 }, (_, piece) => piece).filter((piece) => !crossings.allows(piece, FED, 0))
  assert.deepEqual(claimed, [0, 1, 2])
})

test("what this member fetches it may go on asking for, whoever else says that he fetches it", () => {
  const crossings = new Crossings(4, defaultLimits)
  crossings.begin(3)
  crossings.claim(7, [3], 0)
  crossings.raise(3)
  assert.ok(crossings.allows(3, FED, 0))
  assert.deepEqual([...crossings.own], [3])
  crossings.end(3)
  assert.ok(!crossings.allows(3, FED, 0))
})
