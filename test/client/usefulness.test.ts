import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { defaultUsefulness as rule, Usefulness, usefulnessOver } from "../../client/usefulness.ts"
import type { Demand } from "#swarm/swarm.ts"

const LOOK_MS = 500
const lonely: Demand = {
  peersInNeed: 0,
  otherSeeders: 0,
  leavingBefore: 0,
  relieved: false,
  metClients: false,
  arrivalGapMs: null,
  tookMs: 10_000,
  uploadedBytes: 0,
  uploadPeakBytesPerSecond: 1_000_000,
  downloadPeakBytesPerSecond: 1_000_000,
}
const needed: Demand = { ...lonely, peersInNeed: 1, metClients: true }
const reserve: Demand = { ...lonely, metClients: true }

/** Looks twice a second for so long; when it left, and why. */
function seed(of: (atMs: number) => Demand, forMs: number, rules = rule): { readonly atMs: number; readonly why: string } | null {
  const usefulness = new Usefulness(rules, 0)
  for (let atMs = 0; atMs <= forMs; atMs += LOOK_MS) {
    const why = usefulness.look([of(atMs)], atMs)
    if (why !== null) return { atMs, why }
  }
  return null
}

/** What has been uploaded at a steady share of all that this client can. */
const uploading = (share: number, atMs: number) => (share * lonely.uploadPeakBytesPerSecond * atMs) / 1_000

test("a client that never met another leaves when nobody was in need for the quiet time, and not before", () => {
  assert.deepEqual(
    seed(() => lonely, 600_000),
    { atMs: rule.quietMs, why: "not useful any more: nobody needed it for 3 s" },
  )
})

test("need puts the quiet time off", () => {
  assert.equal(seed((atMs) => ({ ...lonely, peersInNeed: atMs < 20_000 ? 1 : 0 }), 600_000)?.atMs, 19_500 + rule.quietMs)
})

test("of those who see one another the last in order stays in reserve where clients came before, the others leave", () => {
  assert.equal(seed(() => ({ ...reserve, otherSeeders: 4, leavingBefore: 3, relieved: true }), 600_000)?.atMs, rule.quietMs)
  assert.equal(seed(() => ({ ...reserve, otherSeeders: 4, leavingBefore: 4 }), 600_000)?.atMs, rule.reserveMs)
  assert.equal(seed(() => reserve, 600_000)?.atMs, rule.reserveMs)
})

test("the reserve stays as long as its download took, or some times the pause between those who came, within bounds", () => {
  assert.equal(seed(() => ({ ...reserve, tookMs: 100_000 }), 700_000)?.atMs, 100_000)
  assert.equal(seed(() => ({ ...reserve, tookMs: 1e9 }), 700_000)?.atMs, rule.reserveMaxMs)
  assert.equal(seed(() => ({ ...reserve, tookMs: null }), 700_000)?.atMs, rule.reserveMs)
  assert.equal(seed(() => ({ ...reserve, arrivalGapMs: 100_000 }), 700_000)?.atMs, 2 * 100_000)
  assert.equal(seed(() => ({ ...reserve, arrivalGapMs: 1 }), 700_000)?.atMs, rule.reserveMs)
  assert.equal(seed(() => ({ ...reserve, arrivalGapMs: 1e9 }), 700_000)?.atMs, rule.reserveMaxMs)
})

test("where a time is given, it is all that is waited for", () => {
  assert.equal(seed(() => reserve, 600_000, usefulnessOver(1_000))?.atMs, 1_000)
  assert.equal(seed(() => ({ ...reserve, arrivalGapMs: 1e9 }), 700_000, usefulnessOver(90_000))?.atMs, 90_000)
})

test("a slow peer holds one of many, not all", () => {
  const slow = (leavingBefore: number) => (atMs: number) => ({
    ...needed,
    otherSeeders: 11,
    leavingBefore,
    uploadedBytes: uploading(0.01, atMs),
  })
  for (let before = 0; before < 11; before += 1) assert.match(seed(slow(before), 600_000)?.why ?? "", /others .* carry/)
  assert.equal(seed(slow(11), 600_000), null)
})

test("nobody leaves while all are as busy as they can be", () => {
  for (let before = 0; before <= 9; before += 1)
    assert.equal(
      seed((atMs) => ({ ...needed, otherSeeders: 9, leavingBefore: before, uploadedBytes: uploading(1, atMs) }), 600_000),
      null,
    )
})

test("who never uploaded much is taken to be able to upload half of what it downloaded", () => {
  const shared = (downloadPeakBytesPerSecond: number) => (atMs: number) => ({
    ...needed,
    otherSeeders: 9,
    leavingBefore: 3,
    uploadedBytes: uploading(0.1, atMs),
    uploadPeakBytesPerSecond: 100_000,
    downloadPeakBytesPerSecond,
  })
  assert.equal(seed(shared(200_000), 60_000), null)
  assert.notEqual(seed(shared(1_000_000), 60_000), null)
})

test("when others have just left, what they carried is still counted", () => {
  // Two of ten that were busy to a half are gone: ten at a half are eight at 5/8, of which one more can be missed at most.
  const after = (before: number) => (atMs: number) => ({
    ...needed,
    otherSeeders: atMs < 9_500 ? 9 : 7,
    leavingBefore: before,
    uploadedBytes: uploading(0.5, atMs),
  })
  assert.equal(seed(after(1), 2 * rule.overMs), null)
})

test("where downloaders come one after another, those stay who carried the last one, for as long as one may be expected", () => {
  // Busy for 20 s, so that four of six are needed; then nobody comes.
  const intermittent = (leavingBefore: number) => (atMs: number) => ({
    ...reserve,
    peersInNeed: atMs < 20_000 ? 1 : 0,
    otherSeeders: 5,
    leavingBefore,
    relieved: leavingBefore < 5,
    arrivalGapMs: 15_000,
    uploadedBytes: uploading(0.45, Math.min(atMs, 20_000)),
  })
  assert.match(seed(intermittent(1), 20_000)?.why ?? "", /others .* carry/)
  assert.equal(seed(intermittent(2), 20_000), null)
  const leftAtMs = seed(intermittent(2), 600_000)?.atMs ?? 0
  assert.ok(leftAtMs > 20_000 + rule.quietMs && leftAtMs <= 20_000 + 15_000 + rule.overMs, `left after ${leftAtMs} ms`)
})

test("a client that serves several torrents stays for the one that needs it", () => {
  const usefulness = new Usefulness(rule, 0)
  const covered = { ...needed, otherSeeders: 3 }
  for (let atMs = 0; atMs < 60_000; atMs += LOOK_MS) assert.equal(usefulness.look([covered, needed], atMs), null)
})

const demands = fc.record({
  peersInNeed: fc.integer({ min: 0, max: 5 }),
  otherSeeders: fc.integer({ min: 0, max: 20 }),
  load: fc.double({ min: 0, max: 1, noNaN: true }),
  arrivalGapMs: fc.option(fc.integer({ min: 0, max: 1_000_000 })),
})

test("whatever is seen, of those who see the same one stays while anyone is in need, and those who stay can carry it", () => {
  fc.assert(
    fc.property(demands, ({ peersInNeed, otherSeeders, load, arrivalGapMs }) => {
      const places = Array.from({ length: otherSeeders + 1 }, (_, place) => place)
      const staying = places.filter(
        (leavingBefore) =>
          seed(
            (atMs) => ({
              ...needed,
              peersInNeed,
              otherSeeders,
              leavingBefore,
              relieved: leavingBefore < otherSeeders,
              arrivalGapMs,
              uploadedBytes: uploading(load, atMs),
            }),
            2 * rule.overMs,
          ) === null,
      )
      assert.ok(staying.includes(otherSeeders), "the last in order")
      if (peersInNeed === 0) return
      assert.ok(staying.length === places.length || (load * places.length) / staying.length <= rule.fullShare + 1e-9)
    }),
  )
})

test("two who see the same never leave at the same moment for want of need", () => {
  fc.assert(
    fc.property(fc.option(fc.integer({ min: 0, max: 1_000_000 })), (arrivalGapMs) => {
      const [first, second] = [0, 1].map((leavingBefore) =>
        seed(() => ({ ...reserve, otherSeeders: 1, leavingBefore, relieved: leavingBefore === 0, arrivalGapMs }), 2 * rule.reserveMaxMs),
      )
      assert.ok(first !== undefined && first !== null && second !== undefined && second !== null)
      assert.ok(first.atMs < second.atMs)
    }),
  )
})
