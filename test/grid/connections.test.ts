import assert from "node:assert/strict"
import { test } from "node:test"
import { memberId } from "#core/identifiers.ts"
import { Allowance } from "#grid/core/allowance.ts"
import { chooseConnection, type End } from "#grid/core/connection-choice.ts"
import { isLasting, redialAfterMs } from "#grid/core/redial.ts"
import { WaitingRoom } from "#grid/core/waiting-room.ts"

const [low, high] = [memberId("0".repeat(32)), memberId("f".repeat(32))]
const otherEnd = { self: "peer", peer: "self" } as const

test("of two connections between the same servers both ends keep the one that the lower id dialled", () => {
  for (const [first, second] of [
    ["self", "peer"],
    ["peer", "self"],
  ] as const) {
    const atLow = chooseConnection({ self: low, peer: high, existing: first, isDialling: false }, second)
    const atHigh = chooseConnection({ self: high, peer: low, existing: otherEnd[first], isDialling: false }, otherEnd[second])
    assert.equal(atLow, atHigh)
    assert.equal(atLow, second === "self" ? "replace" : "refuse")
  }
})

test("the first connection is taken, unless the lower id is dialling just then", () => {
  const choose = (self: typeof low, isDialling: boolean, dialledBy: End) =>
    chooseConnection({ self, peer: self === low ? high : low, existing: null, isDialling }, dialledBy)
  assert.equal(choose(low, false, "peer"), "take")
  assert.equal(choose(low, true, "peer"), "refuse")
  assert.equal(choose(low, true, "self"), "take")
  assert.equal(choose(high, true, "peer"), "take")
  assert.equal(choose(high, true, "self"), "take")
})

test("a server that dials anew has lost its former connection, which goes", () => {
  for (const self of [low, high])
    for (const end of ["self", "peer"] as const)
      assert.equal(chooseConnection({ self, peer: self === low ? high : low, existing: end, isDialling: false }, end), "replace")
})

test("a server is dialled again after 2 s, then ever later, but never later than 30 s", () => {
  const longest = [1, 2, 3, 4, 5, 6, 100].map((failures) => redialAfterMs(failures, "self", 0.999_999))
  const shortest = [1, 2, 3, 4, 5, 6, 100].map((failures) => redialAfterMs(failures, "self", 0))
  assert.deepEqual(
    longest.map((ms) => Math.round(ms)),
    [2_500, 5_000, 10_000, 20_000, 30_000, 30_000, 30_000],
  )
  assert.deepEqual(shortest, [1_500, 3_000, 6_000, 12_000, 22_500, 22_500, 22_500])
})

test("at first the lower id dials at once, and the other leaves it time to", () => {
  assert.ok(redialAfterMs(0, "self", 0.99) <= 200)
  assert.ok(redialAfterMs(0, "peer", 0) >= 2_000)
  assert.ok(isLasting(10_000) && !isLasting(9_999))
})

test("who uses up what it is allowed has more after a while, and never more than at once", () => {
  const allowance = new Allowance({ atOnce: 3, perSecond: 2 }, 0)
  assert.deepEqual(
    [0, 0, 0, 0, 499, 500, 501, 1_000].map((atMs) => allowance.use(atMs)),
    [true, true, true, false, false, true, false, true],
  )
  assert.deepEqual(
    Array.from({ length: 5 }, () => allowance.use(100_000)),
    [true, true, true, false, false],
  )
})

test("when too many wait, the longest of the source that has most goes", () => {
  const room = new WaitingRoom<string>()
  assert.equal(room.enter("honest", "192.0.2.1", false), null)
  for (let number = 0; number < 63; number += 1) assert.equal(room.enter(`junk ${number}`, "192.0.2.66", false), null)
  assert.equal(room.enter("junk 63", "192.0.2.66", false), "junk 0")
  assert.equal(room.enter("late", "192.0.2.2", false), "junk 1")
  // Those from where servers of the roster are have a room of their own.
  assert.equal(room.enter("server", "192.0.2.3", true), null)
  assert.equal(room.size, 65)
  room.leave("junk 2")
  assert.equal(room.enter("junk 64", "192.0.2.66", false), null)
  for (let number = 0; number < 1_000; number += 1) room.enter(`more ${number}`, "192.0.2.66", false)
  assert.equal(room.size, 65)
  room.leave("honest")
  room.leave("late")
  assert.equal(room.size, 63)
})

test("who comes from very many addresses pushes out the longest of all, and nobody of the roster", () => {
  const room = new WaitingRoom<string>()
  room.enter("server", "192.0.2.3", true)
  for (let number = 0; number < 5_000; number += 1) room.enter(`junk ${number}`, `10.${number >> 8}.0.${number & 255}`, false)
  assert.equal(room.size, 65)
  for (let number = 0; number < 5_000; number += 1) room.enter(`near ${number}`, "192.0.2.4", true)
  assert.equal(room.size, 256 + 64)
})
