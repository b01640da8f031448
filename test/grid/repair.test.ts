import assert from "node:assert/strict"
import { test } from "node:test"
import { memberId, type MemberId } from "#core/identifiers.ts"
import { place, Ranking, type Goal, type RosterServer } from "#grid/core/placement.ts"
import { RepairCore } from "#grid/core/repair.ts"
import type { AuditOutcome, RepairEffect, RepairEvent, ServerState } from "#grid/core/repair-events.ts"
import { repairLimits } from "#grid/core/repair-limits.ts"
import { seededRandom } from "#swarm/core/random.ts"

const MINUTE_MS = 60_000
const IMAGE = "main/debian:1"
const idOf = (number: number): MemberId => memberId(number.toString(16).padStart(32, "0"))
const roster: RosterServer[] = Array.from({ length: 9 }, (_, number) => ({ memberId: idOf(number), site: `site-${number % 3}`, weight: 1 }))
const goal: Goal = { copies: 3, sites: 2, pins: [], refuse: [] }
const serving: ServerState = { phase: "serving", isFull: false, doubts: [] }

/** All servers for this image, first choice first. */
function rankedFor(image: string): MemberId[] {
  const ranking = new Ranking(roster)
  return [...ranking.of(image)].map((position) => ranking.servers[position]?.memberId ?? idOf(0))
}

function holdersOf(image: string, wanted: Goal = goal): readonly MemberId[] {
  return place(image, new Ranking(roster), wanted).holders
}

/** One core, everyone else played by hand: who holds what is told, and all are heard. */
class Bench {
  readonly core: RepairCore
  readonly self: MemberId
  readonly effects: RepairEffect[] = []
  nowMs = 1_700_000_000_000
  /** Effects whose audits are answered. */
  #answered = 0

  constructor(
    self: MemberId,
    holdings: ReadonlyMap<MemberId, readonly string[]>,
    { images = [IMAGE], wanted = goal, room = 10 ** 12 } = {},
  ) {
    this.self = self
    this.core = new RepairCore({ self, random: seededRandom(1) })
    this.step({ kind: "roster", servers: roster })
    this.step({ kind: "images", added: images.map((image) => ({ image, sealedBytes: 1_000_000, goal: wanted })), retired: [] })
    this.step({ kind: "space", roomBytes: room })
    this.step({ kind: "own", added: holdings.get(self) ?? [], removed: [] })
    for (const { memberId: server } of roster) {
      if (server === self) continue
      this.step({ kind: "holdings", server, added: holdings.get(server) ?? [], removed: [] })
      this.step({ kind: "heard", server })
    }
  }

  step(event: RepairEvent): readonly RepairEffect[] {
    const effects = this.core.step(event, this.nowMs)
    this.effects.push(...effects)
    return effects
  }

  /** Wakes the core whenever it asks for it, and answers its audits. */
  pass(ms: number, answer: (server: MemberId, image: string) => AuditOutcome = () => "passed"): void {
    const untilMs = this.nowMs + ms
    const answerAll = () => {
      for (; this.#answered < this.effects.length; this.#answered += 1) {
        const effect = this.effects[this.#answered]
        if (effect?.kind === "audit")
          this.step({ kind: "audited", server: effect.server, image: effect.image, outcome: answer(effect.server, effect.image) })
      }
    }
    answerAll()
    while (this.nowMs < untilMs) {
      this.nowMs = Math.min(untilMs, Math.max(this.core.wakeAtMs(), this.nowMs + 1_000))
      this.step({ kind: "tick" })
      answerAll()
    }
  }

  silence(...servers: readonly MemberId[]): void {
    for (const server of servers) this.step({ kind: "silent", server, sinceMs: this.nowMs })
  }

  /** Images it was told to fetch so far. */
  fetched(): string[] {
    return this.effects.flatMap((effect) => (effect.kind === "fetch" ? [effect.image] : []))
  }

  dropped(): string[] {
    return this.effects.flatMap((effect) => (effect.kind === "drop" ? [effect.image] : []))
  }
}

function held(servers: readonly MemberId[], images: readonly string[] = [IMAGE]): Map<MemberId, readonly string[]> {
  return new Map(servers.map((server) => [server, images]))
}

test("a new image is fetched by those it belongs to, and by nobody else", () => {
  const [publisher = idOf(0)] = rankedFor(IMAGE).toReversed()
  const takers = roster
    .map((server) => server.memberId)
    .filter((self) => {
      const bench = new Bench(self, held([publisher]))
      bench.pass(MINUTE_MS)
      return bench.fetched().includes(IMAGE)
    })
  // With the publisher's own copy two are missing: the first two of the ranking, as far as sites allow.
  assert.equal(takers.length, 2)
  assert.ok(takers.every((taker) => rankedFor(IMAGE).slice(0, 4).includes(taker)))
})

test("nothing is done before each server's documents are here or it is out", () => {
  const [self = idOf(0), holder = idOf(1)] = rankedFor(IMAGE)
  const core = new RepairCore({ self, random: seededRandom(1) })
  const nowMs = 1_000_000
  const effects = [
    core.step({ kind: "roster", servers: roster }, nowMs),
    core.step({ kind: "images", added: [{ image: IMAGE, sealedBytes: 1, goal }], retired: [] }, nowMs),
    core.step({ kind: "holdings", server: holder, added: [IMAGE], removed: [] }, nowMs),
    core.step({ kind: "heard", server: holder }, nowMs),
    core.step({ kind: "tick" }, nowMs + 9 * MINUTE_MS),
    // Seven of nine are not known: too many, even when all of them are out.
    core.step({ kind: "tick" }, nowMs + 60 * MINUTE_MS),
  ]
  assert.deepEqual(effects.flat(), [])
})

test("when a holder is silent for ten minutes the next in rank takes its copy, and not a second before", () => {
  const holders = holdersOf(IMAGE)
  const [gone = idOf(0)] = holders
  const takers = roster
    .map((server) => server.memberId)
    .filter((self) => !holders.includes(self))
    .filter((self) => {
      const bench = new Bench(self, held(holders))
      bench.silence(gone)
      bench.pass(10 * MINUTE_MS - 1)
      assert.deepEqual(bench.fetched(), [])
      bench.pass(10_000)
      return bench.fetched().length > 0
    })
  assert.equal(takers.length, 1)
})

test("with one live copy left the next is made after a minute", () => {
  const holders = holdersOf(IMAGE)
  const takers = roster
    .map((server) => server.memberId)
    .filter((self) => !holders.includes(self))
    .filter((self) => {
      const bench = new Bench(self, held(holders))
      bench.silence(...holders.slice(1))
      bench.pass(MINUTE_MS - 1)
      assert.deepEqual(bench.fetched(), [])
      bench.pass(10_000)
      return bench.fetched().length > 0
    })
  assert.equal(takers.length, 1)
})

test("with more than a quarter of the roster silent nothing is repaired, and the status says so", () => {
  const holders = holdersOf(IMAGE)
  const others = roster.map((server) => server.memberId).filter((self) => !holders.includes(self))
  for (const self of others) {
    const bench = new Bench(self, held(holders))
    bench.silence(...holders.slice(1), ...others.filter((other) => other !== self).slice(0, 1))
    bench.pass(60 * MINUTE_MS)
    assert.deepEqual(bench.fetched(), [])
    assert.equal(bench.core.status(bench.nowMs).isRepairHeld, true)
  }
})

test("held repair stays held while others fall silent in place of those who come back", () => {
  const holders = holdersOf(IMAGE)
  const others = roster.map(({ memberId: server }) => server).filter((server) => !holders.includes(server))
  const [gone = idOf(0), ...kept] = holders
  const [self = idOf(0), second = idOf(0), third = idOf(0)] = others
  const bench = new Bench(self, held(holders))
  // Three of nine are silent for long, one of them a holder.
  bench.silence(gone, second, third)
  bench.pass(30 * MINUTE_MS)
  assert.equal(bench.core.status(bench.nowMs).isRepairHeld, true)
  // Others are cut off, and twenty seconds later two of the three are back: silent for more than a minute is one alone.
  bench.silence(...kept)
  bench.pass(20_000)
  for (const server of [second, third]) bench.step({ kind: "heard", server })
  bench.pass(10_000)
  assert.equal(bench.core.status(bench.nowMs).isRepairHeld, true)
  assert.deepEqual(bench.fetched(), [])
  for (const server of kept) bench.step({ kind: "heard", server })
  bench.pass(1_000)
  assert.equal(bench.core.status(bench.nowMs).isRepairHeld, false)
})

test("a copy that comes back in time calls the fetch off", () => {
  const holders = holdersOf(IMAGE)
  const [gone = idOf(0)] = holders
  const benches = roster
    .map((server) => server.memberId)
    .filter((self) => !holders.includes(self))
    .map((self) => new Bench(self, held(holders)))
  for (const bench of benches) {
    bench.silence(gone)
    bench.pass(11 * MINUTE_MS)
    bench.step({ kind: "heard", server: gone })
  }
  const cancelled = benches.filter((bench) => bench.effects.some(({ kind }) => kind === "cancel"))
  assert.equal(cancelled.length, 1)
  assert.deepEqual(cancelled[0]?.fetched(), [IMAGE])
})

const LAST = rankedFor(IMAGE).at(-1) ?? idOf(0)

test("a copy that is not needed goes when its time is over and those who keep the image passed an audit", () => {
  const bench = new Bench(LAST, held([...holdersOf(IMAGE), LAST]))
  bench.pass(repairLimits.surplusKeptMs - MINUTE_MS)
  assert.deepEqual(bench.dropped(), [])
  const before = bench.effects.length
  bench.pass(2 * MINUTE_MS)
  assert.deepEqual(bench.dropped(), [IMAGE])
  const audited = new Set(bench.effects.slice(before).flatMap((effect) => (effect.kind === "audit" ? [effect.server] : [])))
  for (const holder of holdersOf(IMAGE)) assert.ok(audited.has(holder))
})

test("where room is scarce it goes sooner", () => {
  const bench = new Bench(LAST, held([...holdersOf(IMAGE), LAST]), { room: 0 })
  bench.pass(repairLimits.surplusKeptScarceMs + MINUTE_MS)
  assert.deepEqual(bench.dropped(), [IMAGE])
})

for (const outcome of ["failed", "unanswered", "leaving"] as const)
  test(`it stays when one audit of those who keep it is ${outcome}`, () => {
    const [liar] = holdersOf(IMAGE)
    const bench = new Bench(LAST, held([...holdersOf(IMAGE), LAST]))
    bench.pass(2 * repairLimits.surplusKeptMs, (server) => (server === liar ? outcome : "passed"))
    assert.deepEqual(bench.dropped(), [])
  })

test("it stays while a deploy reads it", () => {
  const bench = new Bench(LAST, held([...holdersOf(IMAGE), LAST]))
  bench.step({ kind: "in-use", images: [IMAGE] })
  bench.pass(2 * repairLimits.surplusKeptMs)
  assert.deepEqual(bench.dropped(), [])
})

test("a pinned server never drops, a refused one does", () => {
  const pinned = new Bench(LAST, held([...holdersOf(IMAGE), LAST]), { wanted: { ...goal, pins: [LAST] } })
  const refused = new Bench(LAST, held([...holdersOf(IMAGE), LAST]), { wanted: { ...goal, refuse: [LAST] } })
  for (const bench of [pinned, refused]) bench.pass(repairLimits.surplusKeptMs + MINUTE_MS)
  assert.deepEqual(pinned.dropped(), [])
  assert.deepEqual(refused.dropped(), [IMAGE])
})

test("a retired image goes at once, but not from under a deploy", () => {
  const bench = new Bench(LAST, held([LAST]))
  bench.step({ kind: "in-use", images: [IMAGE] })
  bench.step({ kind: "images", added: [], retired: [IMAGE] })
  assert.deepEqual(bench.dropped(), [])
  bench.step({ kind: "in-use", images: [] })
  assert.deepEqual(bench.dropped(), [IMAGE])
})

test("a server that fails an audit does not count until it passes one", () => {
  const holders = holdersOf(IMAGE)
  const [liar = idOf(0)] = holders
  let outcome: AuditOutcome = "failed"
  const takers = roster
    .map((server) => server.memberId)
    .filter((self) => !holders.includes(self))
    .map((self) => {
      const bench = new Bench(self, held(holders))
      // Another server says that it doubts the liar: a reason to look.
      bench.step({ kind: "state", server: holders[1] ?? idOf(1), state: { ...serving, doubts: [liar] } })
      bench.pass(10_000, (server) => (server === liar ? outcome : "passed"))
      return bench
    })
    .filter((bench) => bench.fetched().length > 0)
  assert.equal(takers.length, 1, "the one who has to take it audits the liar and believes its own audit")
  const [taker] = takers
  assert.ok(taker !== undefined)
  assert.deepEqual(taker.core.status(taker.nowMs).doubted, [liar])
  outcome = "passed"
  taker.step({ kind: "holdings", server: liar, added: [IMAGE], removed: [] })
  taker.pass(MINUTE_MS)
  assert.deepEqual(taker.core.status(taker.nowMs).doubted, [])
})

test("slander costs audits and moves nothing", () => {
  const holders = holdersOf(IMAGE)
  for (const { memberId: self } of roster) {
    const bench = new Bench(self, held(holders))
    const slanderer = idOf(self === idOf(8) ? 7 : 8)
    bench.step({ kind: "state", server: slanderer, state: { ...serving, doubts: holders } })
    bench.pass(24 * 60 * MINUTE_MS)
    assert.deepEqual([bench.fetched(), bench.dropped(), bench.core.status(bench.nowMs).doubted], [[], [], []])
  }
})

test("a draining server says that it is drained when others have taken over, and serves until then", () => {
  const [self = idOf(0), ...others] = holdersOf(IMAGE)
  const bench = new Bench(self, held(holdersOf(IMAGE)))
  const said = bench.step({ kind: "drain", draining: true })
  assert.ok(said.some((effect) => effect.kind === "publish-state" && effect.state.phase === "draining"))
  assert.ok(!said.some(({ kind }) => kind === "drained"))
  const successor = rankedFor(IMAGE).find((server) => server !== self && !others.includes(server)) ?? idOf(0)
  const then = bench.step({ kind: "holdings", server: successor, added: [IMAGE], removed: [] })
  assert.ok(then.some(({ kind }) => kind === "drained"))
  assert.deepEqual(bench.dropped(), [])
})

test("a draining server is passed over: the next one takes its images", () => {
  const holders = holdersOf(IMAGE)
  const [leaving = idOf(0)] = holders
  const takers = roster.filter(({ memberId: self }) => {
    if (holders.includes(self)) return false
    const bench = new Bench(self, held(holders))
    bench.step({ kind: "state", server: leaving, state: { ...serving, phase: "draining" } })
    bench.pass(10_000)
    return bench.fetched().length > 0
  })
  assert.equal(takers.length, 1)
})

test("a server without room says that it is full, keeps what it has and is given no more", () => {
  const [self = idOf(0), holder = idOf(1)] = rankedFor(IMAGE)
  const bench = new Bench(
    self,
    new Map([
      [holder, [IMAGE]],
      [self, ["main/other:1"]],
    ]),
    { images: [IMAGE, "main/other:1"], room: repairLimits.reserveBytes + 10 },
  )
  bench.pass(MINUTE_MS)
  assert.deepEqual(bench.fetched(), [])
  assert.deepEqual(bench.dropped(), [])
  assert.ok(bench.effects.some((effect) => effect.kind === "publish-state" && effect.state.isFull))
  bench.step({ kind: "space", roomBytes: 10 ** 12 })
  bench.pass(MINUTE_MS)
  assert.ok(bench.fetched().includes(IMAGE))
})

test("the scarcest is fetched first, and no more than a few at once", () => {
  const images = Array.from({ length: 40 }, (_, number) => `main/image:${number}`)
  const [self = idOf(0), many = idOf(1), few = idOf(2)] = rankedFor(IMAGE)
  const wanted: Goal = { copies: 3, sites: 1, pins: [self], refuse: [] }
  const scarce = images.slice(0, 10)
  const bench = new Bench(
    self,
    new Map([
      [many, images],
      [few, images.slice(10)],
    ]),
    { images, wanted },
  )
  bench.pass(10_000)
  assert.equal(bench.fetched().length, repairLimits.fetchesMax)
  for (let number = 0; number < 8; number += 1) bench.step({ kind: "fetched", image: bench.fetched()[number] ?? "" })
  assert.deepEqual(bench.fetched().slice(0, 10).toSorted(), scarce.toSorted())
})

test("a fetch that fails is tried again later, each time after a longer pause", () => {
  const [self = idOf(0), holder = idOf(1)] = rankedFor(IMAGE)
  const bench = new Bench(self, held([holder]))
  const beganMs: number[] = []
  bench.pass(10_000)
  for (let count = 1; count < 5; count += 1) {
    beganMs.push(bench.nowMs)
    bench.step({ kind: "fetch-failed", image: IMAGE })
    while (bench.fetched().length === count) bench.pass(1_000)
  }
  const pauses = beganMs.slice(1).map((atMs, number) => atMs - (beganMs[number] ?? 0))
  assert.ok((pauses[0] ?? 0) >= repairLimits.retryFirstMs / 2)
  assert.ok((pauses.at(-1) ?? 0) > 2 * (pauses[0] ?? 0), String(pauses))
})

test("where the one whose turn it is takes nothing, the next one does after half an hour", () => {
  const holders = holdersOf(IMAGE)
  const [gone = idOf(0)] = holders
  const took = roster
    .map((server) => server.memberId)
    .filter((self) => !holders.includes(self))
    .map((self) => {
      const bench = new Bench(self, held(holders))
      bench.silence(gone)
      bench.pass(11 * MINUTE_MS)
      const first = bench.fetched().length
      bench.pass(repairLimits.overdueMs + 10 * MINUTE_MS)
      return { first, later: bench.fetched().length }
    })
  assert.equal(took.filter(({ first }) => first > 0).length, 1)
  assert.equal(took.filter(({ first, later }) => first === 0 && later > 0).length, 1)
})

test("hours in which nobody could take what is missing count for nobody's slowness: then one takes it, and not all at once", () => {
  const wanted: Goal = { ...goal, sites: 3 }
  const siteOf = new Map(roster.map(({ memberId: server, site }) => [server, site]))
  const isFullSite = (server: MemberId) => siteOf.get(server) === "site-2"
  const holders = rankedFor(IMAGE)
    .filter((server) => !isFullSite(server))
    .slice(0, 3)
  const sayFull = (bench: Bench, isFull: boolean) => {
    for (const one of roster.map(({ memberId: server }) => server).filter(isFullSite))
      if (one === bench.self) bench.step({ kind: "space", roomBytes: isFull ? 0 : 10 ** 12 })
      else bench.step({ kind: "state", server: one, state: { ...serving, isFull } })
  }
  const takers = roster
    .map(({ memberId: server }) => server)
    .filter((self) => {
      const bench = new Bench(self, held(holders), { wanted })
      sayFull(bench, true)
      bench.pass(6 * repairLimits.overdueMs)
      assert.deepEqual(bench.fetched(), [])
      sayFull(bench, false)
      bench.pass(MINUTE_MS)
      return bench.fetched().length > 0
    })
  assert.deepEqual(takers, rankedFor(IMAGE).filter(isFullSite).slice(0, 1))
})

test("after hours of calm an image goes home, one at a time, though its goal is met", () => {
  const images = Array.from({ length: 30 }, (_, number) => `main/image:${number}`)
  const self = idOf(0)
  const away = (image: string) =>
    rankedFor(image)
      .filter((server) => server !== self)
      .slice(0, 4)
  const holdings = new Map(roster.map(({ memberId: server }) => [server, images.filter((image) => away(image).includes(server))]))
  const bench = new Bench(self, holdings, { images })
  bench.pass(repairLimits.calmMs - MINUTE_MS)
  assert.deepEqual(bench.fetched(), [])
  bench.pass(2 * MINUTE_MS)
  assert.equal(bench.fetched().length, 1)
  for (let number = 0; number < bench.fetched().length; number += 1) bench.step({ kind: "fetched", image: bench.fetched()[number] ?? "" })
  assert.deepEqual(bench.fetched().toSorted(), images.filter((image) => holdersOf(image).includes(self)).toSorted())
})

test("what it does not know is passed over", () => {
  const bench = new Bench(idOf(0), held(holdersOf(IMAGE)))
  const stranger = idOf(99)
  for (const event of [
    { kind: "heard", server: stranger },
    { kind: "silent", server: stranger, sinceMs: 0 },
    { kind: "holdings", server: stranger, added: [IMAGE], removed: [] },
    { kind: "holdings", server: idOf(1), added: ["main/unknown:1"], removed: ["main/unknown:2"] },
    { kind: "state", server: stranger, state: { ...serving, doubts: [idOf(1)] } },
    { kind: "audited", server: stranger, image: IMAGE, outcome: "failed" },
    { kind: "audited", server: idOf(1), image: "main/unknown:1", outcome: "failed" },
    { kind: "fetched", image: "main/unknown:1" },
    { kind: "fetch-failed", image: "main/unknown:1" },
  ] as const satisfies readonly RepairEvent[])
    for (const effect of bench.step(event)) assert.deepEqual(effect, { kind: "drop", image: "main/unknown:1", why: "retired" })
  assert.deepEqual(bench.fetched(), [])
})
