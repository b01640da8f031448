import assert from "node:assert/strict"
import { test } from "node:test"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { SiteNews } from "#swarm/core/events.ts"
import { defaultLimits } from "#swarm/core/limits.ts"
import { Bench } from "./played-peers.ts"

const FAR = { site: "there" } as const
const SETTLED_MS = defaultLimits.gatewaySettleMs + 200

const asked = (bench: Bench, peer: number) => [...new Set(bench.asked(peer).map(({ piece }) => piece))].toSorted((a, b) => a - b)
const news = (fields: Partial<SiteNews> = {}): SiteNews => ({ members: null, crossing: [], budgetBytesPerSecond: null, ...fields })
const fetching = (peer: number) => ({
  key: `member ${peer}`,
  server: true,
  duty: "fetches" as const,
  address: null,
  quietMs: 0,
  sentBytesPerSecond: 0,
})
const told = (bench: Bench, peer: number) =>
  bench.effects.flatMap((effect) => (effect.kind === "tell-site" && effect.peer === peer ? [effect.news] : []))
const at = (port: number) => ({ host: "192.0.2.1", port })
const dialled = (bench: Bench) => bench.effects.flatMap((effect) => (effect.kind === "dial" ? [effect.address.port] : []))

test("a peer of another site is asked once nobody better was heard of, and is not told of interest before", () => {
  const bench = new Bench({ pieces: 20 })
  bench.connect(1, "all", FAR)
  bench.pass(defaultLimits.gatewaySettleMs)
  assert.deepEqual([bench.asked(1), bench.sent(1).includes("interested")], [[], false])
  bench.pass(200)
  assert.ok(bench.asked(1).length > 0 && bench.sent(1).includes("interested"))
})

test("while a member of the own site holds everything, no other site is asked; when it is gone, one is", () => {
  const bench = new Bench({ pieces: 20 })
  bench.connect(1, "all", FAR)
  bench.connect(2, "all", { unchokes: false })
  bench.pass(5_000)
  assert.deepEqual(bench.asked(1), [])
  bench.step({ kind: "gone", peer: 2 })
  bench.pass(SETTLED_MS + defaultLimits.gatewayVacantMs)
  assert.ok(bench.asked(1).length > 0)
})

test("a peer that had nothing to say before it was asked has its time to answer", () => {
  const bench = new Bench({ pieces: 20, farSilentMs: 5_000 })
  bench.connect(1, "all", FAR)
  bench.connect(2, "all", { unchokes: false })
  bench.pass(20_000)
  bench.step({ kind: "gone", peer: 2 })
  bench.pass(SETTLED_MS + defaultLimits.gatewayVacantMs)
  assert.ok(bench.asked(1).length > 0)
  assert.ok(!bench.effects.some((effect) => effect.kind === "disconnect"))
  bench.pass(5_000)
  assert.ok(bench.effects.some((effect) => effect.kind === "disconnect" && effect.reason === "silent"))
})

test("what members of the own site have is asked of them alone, also when they are slow", () => {
  const bench = new Bench({ pieces: 8 })
  bench.connect(1, "all", FAR)
  bench.connect(2, [0, 1, 2], { unchokes: false })
  bench.pass(SETTLED_MS)
  bench.finish([1])
  bench.pass(1_000)
  bench.finish([1])
  assert.deepEqual(
    new Set(bench.effects.flatMap((effect) => (effect.kind === "keep-block" ? [effect.piece] : []))),
    new Set([3, 4, 5, 6, 7]),
  )
})

test("what another gateway fetches is left to it, and what this one fetches is told to it at once", () => {
  const bench = new Bench({ pieces: 8, farFloor: 1_000, requestsFirst: 4, gatewayTurnMs: 0 })
  bench.connect(2, "none")
  bench.step({ kind: "site-news", peer: 2, news: news({ members: [fetching(2)], crossing: [0, 1, 2, 3, 4, 5, 6] }) })
  bench.connect(1, "all", FAR)
  bench.pass(SETTLED_MS + 1_000)
  assert.deepEqual(asked(bench, 1), [7])
  assert.deepEqual(told(bench, 2).at(-1)?.crossing, [7])
  bench.step({ kind: "site-news", peer: 2, news: news({ crossing: [] }) })
  bench.finish([1])
  bench.pass(1_000)
  bench.finish([1])
  assert.ok(bench.core.complete)
})

test("a gateway hears that a piece is here before it hears that it is fetched no more", () => {
  const bench = new Bench({ pieces: 1 })
  bench.connect(2, "none")
  bench.step({ kind: "site-news", peer: 2, news: news({ members: [fetching(2)] }) })
  bench.connect(1, "all", FAR)
  bench.pass(SETTLED_MS + 2_000)
  bench.effects.length = 0
  bench.connect(3, "none", FAR)
  for (const offset of [0, 1, 2, 3]) bench.bring(1, { piece: 0, offset: offset * BLOCK_BYTES, length: BLOCK_BYTES })
  const toGateway = bench.effects.flatMap((effect) => {
    if (effect.kind === "tell-site" && effect.peer === 2) return ["fetched no more"]
    return effect.kind === "send" && effect.peer === 2 && effect.message.type === "have" ? ["have"] : []
  })
  assert.deepEqual(toGateway, ["have", "fetched no more"])
})

test("the last blocks are asked of no second peer, neither of another site nor in its place", () => {
  const bench = new Bench({ pieces: 1 })
  bench.connect(1, "all", FAR)
  bench.pass(SETTLED_MS)
  assert.ok(bench.asked(1).length > 0)
  bench.connect(2, "all", FAR)
  bench.connect(3, "all")
  bench.pass(2_000)
  const spans = [1, 2, 3].flatMap((peer) => bench.asked(peer).map(({ offset }) => offset))
  assert.equal(new Set(spans).size, spans.length)
})

test("peers of other sites have few requests in flight together until something comes of them", () => {
  const bench = new Bench({ pieces: 100, farFloor: 4 })
  for (const peer of [1, 2, 3]) bench.connect(peer, "all", FAR)
  bench.pass(SETTLED_MS)
  const total = [1, 2, 3].reduce((sum, peer) => sum + bench.asked(peer).length, 0)
  assert.ok(total >= 4 && total <= 6, `${total} requests`)
})

test("an origin proposes each piece once to its own site and once to the others", () => {
  const bench = new Bench({ pieces: 40, held: "all" })
  for (const [peer, options] of [
    [1, FAR],
    [2, FAR],
    [3, {}],
    [4, {}],
  ] as const) {
    bench.connect(peer, "none", options)
    bench.say(peer, { type: "interested" })
  }
  bench.pass(2_000)
  const near = [...bench.proposed(3), ...bench.proposed(4)]
  const far = [...bench.proposed(1), ...bench.proposed(2)]
  assert.ok(near.length > 0 && far.length > 0)
  assert.equal(new Set(near).size, near.length)
  assert.equal(new Set(far).size, far.length)
})

test("addresses of another site are dialled by who fetches from there alone, and few of them", () => {
  const bench = new Bench({ pieces: 8, farWanted: 2 })
  bench.step({ kind: "addresses", from: null, given: false, where: "far", addresses: [at(1), at(2), at(3), at(4)] })
  bench.pass(300)
  assert.equal(dialled(bench).length, 2)
  const beside = new Bench({ pieces: 8, farWanted: 2 })
  beside.connect(9, "all")
  beside.step({ kind: "addresses", from: null, given: false, where: "far", addresses: [at(1), at(2), at(3), at(4)] })
  beside.step({ kind: "addresses", from: null, given: true, addresses: [at(1)] })
  beside.step({ kind: "addresses", from: 9, given: false, where: "near", addresses: [at(7)] })
  beside.pass(300)
  assert.deepEqual(dialled(beside), [7])
})

test("peers are told whether an address is of their own site", () => {
  const bench = new Bench({ pieces: 8 })
  for (const [peer, site] of [
    [1, "here"],
    [2, "there"],
    [3, "there"],
  ] as const) {
    bench.connect(peer, "none", { site })
    bench.step({ kind: "introduced", peer, listen: at(peer), exchangesPeers: true, takesDontHave: false, requestQueueLimit: 100 })
  }
  const exchanges = bench.effects.flatMap((effect) => (effect.kind === "exchange-peers" ? [effect] : []))
  assert.deepEqual(
    exchanges.map(({ peer, near, far }) => ({ peer, near, far })),
    [
      { peer: 2, near: [], far: [at(1)] },
      { peer: 3, near: [at(2)], far: [at(1)] },
    ],
  )
})

test("who does not fetch keeps one connection to a holder of everything at another site, and parts from all else there", () => {
  const bench = new Bench({ pieces: 8 })
  bench.connect(1, "all")
  for (const [peer, pieces] of [
    [2, "all"],
    [3, "all"],
    [4, "none"],
  ] as const) {
    bench.step({ kind: "connected", peer, key: `member ${peer}`, role: "client", site: "there", dialled: at(peer) })
    bench.say(peer, { type: pieces === "all" ? "have-all" : "have-none" })
  }
  bench.pass(3_000)
  const parted = bench.effects.flatMap((effect) => (effect.kind === "disconnect" ? [[effect.peer, effect.reason]] : []))
  assert.deepEqual(parted, [
    [3, "far"],
    [4, "far"],
  ])
})

test("a swarm of one site says nothing of sites", () => {
  const bench = new Bench({ pieces: 8 })
  bench.connect(1, "all")
  bench.connect(2, [1, 2])
  bench.pass(10_000)
  bench.finish([1])
  bench.pass(10_000)
  assert.ok(!bench.effects.some(({ kind }) => kind === "tell-site"))
})
