import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { memberId, type MemberId } from "#core/identifiers.ts"
import { choose, goalOf, place, Ranking, ROSTER_SERVERS_MAX, standing, type Goal, type RosterServer } from "#grid/core/placement.ts"

const idOf = (number: number): MemberId => memberId((number * 7919 + 1).toString(16).padStart(32, "0"))
const anyGoal = (copies: number, sites = 1): Goal => ({ copies, sites, pins: [], refuse: [] })
const even = (count: number, siteCount = 1): RosterServer[] =>
  Array.from({ length: count }, (_, number) => ({ memberId: idOf(number), site: `site-${number % siteCount}`, weight: 1 }))

/** Rosters of unequal sites and weights, each server known by its number. */
const rosters = fc
  .array(fc.record({ site: fc.integer({ min: 0, max: 4 }), weight: fc.integer({ min: 1, max: 8 }) }), { minLength: 1, maxLength: 24 })
  .map((servers) => servers.map(({ site, weight }, number) => ({ memberId: idOf(number), site: `site-${site}`, weight })))
const goals = fc.record({ copies: fc.integer({ min: 1, max: 6 }), sites: fc.integer({ min: 1, max: 4 }) })

function loads(ranking: Ranking, goal: Goal, imageCount: number): Map<MemberId, number> {
  const held = new Map<MemberId, number>(ranking.servers.map((server) => [server.memberId, 0]))
  for (let image = 0; image < imageCount; image += 1)
    for (const holder of place(`main/image:${image}`, ranking, goal).holders) held.set(holder, (held.get(holder) ?? 0) + 1)
  return held
}

test("standing() is the same for ever: these were written down when it was made", () => {
  // From Python: -1/math.log(((int.from_bytes(sha256(...).digest()[:8]) >> 11) + 0.5) / 2**53)
  assert.equal(standing("main/debian:1", idOf(0)).toPrecision(12), "0.642638401903")
  assert.equal(standing("main/debian:1", idOf(1)).toPrecision(12), "1.28573857403")
})

test("place() finds the same holders whatever the order of the roster", () => {
  fc.assert(
    fc.property(rosters, goals, fc.string(), fc.integer(), (roster, { copies, sites }, image, salt) => {
      const shuffled = [...roster].sort((a, b) => standing(`${salt}`, a.memberId) - standing(`${salt}`, b.memberId))
      const goal = anyGoal(copies, sites)
      assert.deepEqual(place(image, new Ranking(shuffled), goal), place(image, new Ranking(roster), goal))
    }),
  )
})

test("place() takes as many copies and sites as are wanted, or as there are, and says what is short", () => {
  fc.assert(
    fc.property(rosters, goals, fc.string(), (roster, { copies, sites }, image) => {
      const { holders, missingCopies, missingSites } = place(image, new Ranking(roster), anyGoal(copies, sites))
      const siteOf = new Map(roster.map((server) => [server.memberId, server.site]))
      const siteCount = new Set(siteOf.values()).size
      assert.equal(new Set(holders).size, holders.length)
      assert.equal(holders.length, Math.min(Math.max(copies, Math.min(sites, siteCount)), roster.length))
      assert.ok(new Set(holders.map((holder) => siteOf.get(holder))).size >= Math.min(sites, siteCount))
      assert.equal(missingCopies, Math.max(0, copies - roster.length))
      assert.equal(missingSites, Math.max(0, sites - siteCount))
    }),
  )
})

test("place() always gives to pinned servers, never to refused ones, and counts pins as copies", () => {
  const subset = fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 6 }).map((numbers) => numbers.map(idOf))
  fc.assert(
    fc.property(rosters, goals, subset, subset, fc.string(), (roster, { copies, sites }, pins, refuse, image) => {
      const { holders } = place(image, new Ranking(roster), { copies, sites, pins, refuse })
      const there = new Set(roster.map((server) => server.memberId))
      for (const pin of pins) assert.equal(holders.includes(pin), there.has(pin) && !refuse.includes(pin))
      for (const refused of refuse) assert.ok(!holders.includes(refused))
      const pinned = new Set(pins.filter((pin) => holders.includes(pin))).size
      assert.ok(holders.length <= Math.max(copies, pinned + sites, pinned))
    }),
  )
})

test("choose() takes whom it takes among many among any part of them too, where that part meets the goal", () => {
  const subset = fc.uniqueArray(fc.integer({ min: 0, max: 11 }), { maxLength: 12 })
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 12, maxLength: 12 }),
      goals,
      subset,
      subset,
      (siteOf, goal, some, more) => {
        const wanted = { copies: Math.max(goal.copies, goal.sites), sites: goal.sites }
        const many = [...new Set([...some, ...more])].sort((a, b) => a - b)
        const part = [...some].sort((a, b) => a - b)
        const isMet = (chosen: readonly number[]) =>
          chosen.length >= wanted.copies && new Set(chosen.map((server) => siteOf[server])).size >= wanted.sites
        const ofPart = choose(part, siteOf, wanted)
        fc.pre(isMet(ofPart))
        const ofMany = choose(many, siteOf, wanted)
        for (const server of part) if (ofMany.includes(server)) assert.ok(ofPart.includes(server))
      },
    ),
    { numRuns: 1_000 },
  )
})

test("20,000 images of three copies load equal servers within 5 % of their fair share, and weighted ones too", () => {
  for (const weights of [Array<number>(10).fill(1), [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]]) {
    const roster = weights.map((weight, number) => ({ memberId: idOf(number), site: "site-0", weight }))
    const held = loads(new Ranking(roster), anyGoal(1), 20_000)
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    for (const { memberId: server, weight } of roster) {
      const share = (held.get(server) ?? 0) / ((20_000 * weight) / total)
      assert.ok(share > 0.95 && share < 1.05, `weight ${weight}: ${share} of the fair share`)
    }
  }
  const spread = loads(new Ranking(even(12, 3)), anyGoal(3, 2), 20_000)
  for (const count of spread.values()) assert.ok(Math.abs(count / 5_000 - 1) < 0.05, `${count} of 5000`)
})

test("a server that leaves moves its own share alone, and one that joins takes about its share", () => {
  const [small, large] = [even(9, 3), even(10, 3)]
  const goal = anyGoal(3)
  const [without, within] = [new Ranking(small), new Ranking(large)]
  const last = idOf(9)
  let moved = 0
  const imageCount = 10_000
  for (let image = 0; image < imageCount; image += 1) {
    const before = place(`main/image:${image}`, without, goal).holders
    const after = place(`main/image:${image}`, within, goal).holders
    const came = after.filter((holder) => !before.includes(holder))
    assert.ok(came.length <= 1 && came.every((holder) => holder === last))
    moved += came.length
  }
  const share = moved / (imageCount * 3)
  assert.ok(share > 0.095 && share < 0.105, `${share} of all copies`)
})

test("goalOf() takes the first rule that fits, and all servers of the image's site where none does", () => {
  const rules = [
    { names: ["hpc/*"], copies: 3, sites: 2, pins: [], refuse: [] },
    { names: ["*"], copies: 2, sites: 1, pins: [], refuse: [] },
  ]
  const roster = even(4, 2)
  assert.equal(goalOf({ site: "site-0", name: "hpc/debian" }, rules, roster).copies, 3)
  assert.equal(goalOf({ site: "site-0", name: "web" }, rules, roster).copies, 2)
  const unruled = goalOf({ site: "site-1", name: "web" }, rules.slice(0, 1), roster)
  assert.deepEqual(place("site-1/web:1", new Ranking(roster), unruled).holders.toSorted(), [idOf(1), idOf(3)].toSorted())
})

test("a roster out of form is refused", () => {
  const [server] = even(1)
  assert.ok(server !== undefined)
  assert.throws(() => new Ranking([server, server]), RangeError)
  for (const weight of [0, -1, Number.NaN, Infinity]) assert.throws(() => new Ranking([{ ...server, weight }]), RangeError)
  assert.throws(() => new Ranking(even(ROSTER_SERVERS_MAX + 1)), RangeError)
})
