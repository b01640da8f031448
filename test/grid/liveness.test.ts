import assert from "node:assert/strict"
import { test } from "node:test"
import { isTooManyGone, livenessOf, nextChangeMs } from "#grid/core/liveness.ts"

test("a connected server is live however long ago anything came", () => {
  assert.equal(livenessOf(null, 10 ** 12), "live")
  assert.equal(nextChangeMs(null, 10 ** 12), Infinity)
})

test("a silent server is suspect after 15 s, missed after 60 s, out after 10 min, to the millisecond", () => {
  const at = 1_000_000
  for (const [silentMs, liveness, changesAfterMs] of [
    [0, "live", 15_000],
    [14_999, "live", 15_000],
    [15_000, "suspect", 60_000],
    [59_999, "suspect", 60_000],
    [60_000, "missed", 600_000],
    [599_999, "missed", 600_000],
    [600_000, "out", Infinity],
  ] as const) {
    assert.equal(livenessOf(at, at + silentMs), liveness, `${silentMs} ms`)
    assert.equal(nextChangeMs(at, at + silentMs), at + changesAfterMs, `${silentMs} ms`)
  }
})

test("a quarter of the roster may be gone, not more", () => {
  assert.equal(isTooManyGone(3, 12), false)
  assert.equal(isTooManyGone(4, 12), true)
  assert.equal(isTooManyGone(0, 1), false)
})
