import assert from "node:assert/strict"
import { test } from "node:test"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { VirtualHost } from "../../bench/simulator/virtual-host.ts"
import { VirtualSwarm } from "../../bench/simulator/virtual-swarm.ts"

const PIECE_BYTES = 4 * BLOCK_BYTES
const PIECES = 150
const CONTENT_BYTES = PIECES * PIECE_BYTES
const LOCAL = 2_000_000
const WIDE_AREA = LOCAL / 10
const ACROSS_MS = (CONTENT_BYTES * 1_000) / WIDE_AREA
/** What a block costs on the wire. */
const WIRE = 1.05

type Play = {
  readonly swarm: VirtualSwarm
  readonly origin: VirtualHost
  /** By site. */
  readonly hosts: readonly (readonly VirtualHost[])[]
}

function play(sizes: readonly number[], options: { seed?: number; wideArea?: number; budget?: number } = {}): Play {
  const swarm = new VirtualSwarm({
    contentBytes: CONTENT_BYTES,
    pieceBytes: PIECE_BYTES,
    seed: options.seed ?? 1,
    wideAreaBytesPerSecond: options.wideArea ?? WIDE_AREA,
    wideAreaDelayMs: 20,
  })
  const budget = options.budget === undefined ? {} : { wanBytesPerSecondLimit: options.budget }
  const origin = swarm.add({ name: "origin", role: "server", holds: "all", bytesPerSecond: LOCAL, ...budget })
  const hosts = sizes.map((size, site) =>
    Array.from({ length: size }, (_, index) =>
      swarm.add({ name: `host ${site} ${index}`, role: "client", holds: "nothing", bytesPerSecond: LOCAL, site }),
    ),
  )
  swarm.tellAll([origin])
  return { swarm, origin, hosts }
}

/** Copies of the file's payload that came over the site's wide-area link. */
function copies({ swarm }: Play, site: number): number {
  return (swarm.sites[site]?.receivedPayloadBytes ?? 0) / CONTENT_BYTES
}

function lastMs(hosts: readonly VirtualHost[]): number {
  return Math.max(...hosts.map(({ doneAtMs, startedAtMs }) => (doneAtMs ?? Number.POSITIVE_INFINITY) - startedAtMs))
}

function finish({ swarm }: Play): void {
  assert.ok(
    swarm.run(() => swarm.allDone(), 20 * ACROSS_MS),
    "not done",
  )
  swarm.finish()
}

/** Those who had most from other sites. */
function gateways({ hosts }: Play, site: number, count: number): VirtualHost[] {
  return (hosts[site] ?? []).toSorted((a, b) => b.books.crossedBytes - a.books.crossedBytes).slice(0, count)
}

for (const seed of [1, 2, 3])
  test(`a copy crosses to a site of eight, which has it when it has crossed, and the origin's own site loses nothing by it (seed ${seed})`, () => {
    const alone = play([8], { seed })
    finish(alone)
    const both = play([8, 8], { seed })
    finish(both)
    assert.ok(copies(both, 1) < 1.01, `${copies(both, 1)} copies`)
    assert.ok(lastMs(both.hosts[1] ?? []) < ACROSS_MS * WIRE * 1.05, `${lastMs(both.hosts[1] ?? [])} ms`)
    assert.equal(copies(both, 0), 0)
    const [slowed, before] = [lastMs(both.hosts[0] ?? []), lastMs(alone.hosts[0] ?? [])]
    assert.ok(slowed < before * 1.05, `${slowed} ms, ${before} ms alone`)
  })

test("where the way between sites is as fast as it can be, both have the file nearly as soon as one alone would", () => {
  const both = play([8, 8], { wideArea: Number.POSITIVE_INFINITY })
  finish(both)
  const idealMs = (CONTENT_BYTES * 1_000) / LOCAL
  // It takes a moment until a site knows who fetches for it.
  for (const hosts of both.hosts) assert.ok(lastMs(hosts) < 1.2 * idealMs + 1_500, `${lastMs(hosts)} ms`)
  assert.ok(copies(both, 1) < 1.1, `${copies(both, 1)} copies`)
})

test("who comes late to the other site has from its own what is there, and waits for nothing else than the others do", () => {
  const both = play([4, 6])
  both.swarm.run(() => false, ACROSS_MS * 0.6)
  const late = both.swarm.add({ name: "late", role: "client", holds: "nothing", bytesPerSecond: LOCAL, site: 1 })
  both.swarm.tell(late, [both.origin.address])
  finish(both)
  assert.ok(lastMs([late]) < 0.5 * lastMs(both.hosts[1] ?? []), `${lastMs([late])} ms`)
  assert.ok(copies(both, 1) < 1.01, `${copies(both, 1)} copies`)
  const last = both.swarm.add({ name: "last", role: "client", holds: "nothing", bytesPerSecond: LOCAL, site: 1 })
  both.swarm.tell(last, [both.origin.address])
  finish(both)
  assert.ok(last.books.crossedBytes === 0 && lastMs([last]) < ((CONTENT_BYTES * 1_000) / LOCAL) * 1.3, `${lastMs([last])} ms`)
})

for (const how of ["die", "freeze"] as const)
  test(`when all that fetch for the other site ${how} midway, others go on where they stood`, () => {
    const both = play([4, 10])
    both.swarm.run(() => copies(both, 1) > 0.5)
    const ended = gateways(both, 1, 6)
    for (const host of ended) both.swarm[how === "die" ? "kill" : "freeze"](host)
    const sinceMs = both.swarm.nowMs
    finish(both)
    assert.ok(both.swarm.nowMs - sinceMs < 0.5 * ACROSS_MS * WIRE + 30_000, `${both.swarm.nowMs - sinceMs} ms`)
    assert.ok(copies(both, 1) < (how === "die" ? 1.1 : 1.3), `${copies(both, 1)} copies`)
  })

test("of three sites none has more than a copy from the others, and the origin's sends less than one for each", () => {
  const three = play([4, 4, 4])
  finish(three)
  for (const site of [1, 2]) assert.ok(copies(three, site) < 1.03, `${copies(three, site)} copies`)
  const sent = (three.swarm.sites[0]?.sentPayloadBytes ?? 0) / CONTENT_BYTES
  assert.ok(sent < 1.4, `${sent} copies`)
})

test("when the origin is gone before its own site has everything, that site has the rest from the other", () => {
  const both = play([3, 3], { wideArea: Number.POSITIVE_INFINITY })
  const held = (hosts: readonly VirtualHost[]) => {
    const pieces = new Set<number>()
    for (const host of hosts) for (let piece = 0; piece < PIECES; piece += 1) if (host.core.held.has(piece)) pieces.add(piece)
    return pieces.size
  }
  // The other site has what crossed, and this one loses one after the other who hold it.
  both.swarm.run(() => held(both.hosts[1] ?? []) === PIECES)
  both.swarm.kill(both.origin)
  for (const host of both.hosts[0] ?? []) both.swarm.kill(host)
  const newcomer = both.swarm.add({ name: "newcomer", role: "client", holds: "nothing", bytesPerSecond: LOCAL, site: 0 })
  both.swarm.tell(
    newcomer,
    (both.hosts[1] ?? []).map(({ address }) => address),
  )
  finish(both)
  assert.ok(copies(both, 0) >= 1 && copies(both, 0) < 1.05, `${copies(both, 0)} copies`)
})

test("a site keeps to what it may send to others, of which its server alone was told", () => {
  const budget = WIDE_AREA / 2
  const both = play([6, 6], { wideArea: Number.POSITIVE_INFINITY, budget })
  const rates: number[] = []
  for (let before = 0; !both.swarm.allDone();) {
    both.swarm.run(() => both.swarm.allDone(), 5_000)
    const sent = both.swarm.sites[0]?.sentBytes ?? 0
    rates.push((sent - before) / 5)
    before = sent
  }
  both.swarm.finish()
  const whole = rates.slice(1, -1)
  for (const rate of whole) assert.ok(rate < 1.2 * budget, `${rates.map(Math.round).join(", ")} of ${budget}`)
  const mean = whole.reduce((sum, rate) => sum + rate, 0) / whole.length
  assert.ok(mean > 0.85 * budget && mean < 1.05 * budget, `${mean} of ${budget}`)
})
