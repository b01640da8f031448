import assert from "node:assert/strict"
import { test } from "node:test"
import { faultsOf } from "../../scripts/placement/figures.ts"
import { playSequence, type SequenceOptions } from "../../scripts/placement/sequence.ts"

const small = (seed: number): SequenceOptions => ({ seed, events: 20, servers: 12, images: 300 })
const seeds = Array.from({ length: 20 }, (_, number) => 700 + number)

test("in 20 random sequences of 20 events every goal is met again, no drop goes under a goal, little moves without need, nothing storms", () => {
  let [moved, needed] = [0, 0]
  for (const seed of seeds) {
    const result = playSequence(small(seed))
    assert.deepEqual(faultsOf(result), [], `seed ${seed}`)
    moved += result.tally.movedBytes
    needed += result.tally.neededBytes
  }
  assert.ok(needed > 0 && moved / needed < 1.1, `${moved / needed} of what was needed`)
})

test("a sequence played again from its seed is the same", () => {
  assert.deepEqual(playSequence(small(700)), playSequence(small(700)))
})

test("the simulation finds it when copies are dropped as soon as they are not needed", () => {
  const limits = { surplusKeptMs: 0, surplusKeptScarceMs: 0 }
  const faults = seeds.flatMap((seed) => faultsOf(playSequence({ ...small(seed), limits })))
  assert.ok(
    faults.some((fault) => fault.startsWith("moved")),
    faults.join("\n"),
  )
})

test("the simulation finds it when fetches are never tried again", () => {
  const limits = { retryFirstMs: 2 ** 40, retryMaxMs: 2 ** 40, overdueMs: 2 ** 40 }
  assert.throws(() => {
    for (const seed of seeds) playSequence({ ...small(seed), limits })
  }, /under their goal/)
})
