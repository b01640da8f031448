import assert from "node:assert/strict"
import { test } from "node:test"
import { defaultUsefulness, reasonToLeave, type SeedingFacts } from "../../client/usefulness.ts"

const idle: SeedingFacts = { nowMs: 20_000, seedingSinceMs: 10_000, uploadBytesPerSecond: 0, peersInNeed: 0 }
const useful = (facts: Partial<SeedingFacts>) => reasonToLeave("useful", defaultUsefulness, { ...idle, ...facts })

test("a client leaves when it uploaded too little for the whole period and nobody is in need", () => {
  assert.match(String(useful({})), /not useful any more/)
})

test("a client does not leave a millisecond before the period is over", () => {
  assert.equal(useful({ nowMs: 19_999 }), null)
})

test("a client stays while it uploads at the threshold, and leaves just below it", () => {
  assert.equal(useful({ uploadBytesPerSecond: 500_000 }), null)
  assert.notEqual(useful({ uploadBytesPerSecond: 499_999 }), null)
})

test("a client stays for a single peer in need, however slow", () => {
  assert.equal(useful({ peersInNeed: 1 }), null)
})

test("'forever' never leaves and 'done' leaves at once", () => {
  assert.equal(reasonToLeave("forever", defaultUsefulness, { ...idle, nowMs: 1e15 }), null)
  assert.match(String(reasonToLeave("done", defaultUsefulness, { ...idle, nowMs: 10_000, peersInNeed: 5 })), /done/)
})
