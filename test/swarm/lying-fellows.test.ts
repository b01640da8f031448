/** What a member of the own site, or of another, may say wrongly of who fetches what between sites. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { SiteNews } from "#swarm/core/events.ts"
import { defaultLimits } from "#swarm/core/limits.ts"
import { Bitfield } from "#swarm/core/bitfield.ts"
import type { HostCore } from "../../bench/simulator/virtual-host.ts"
import { VirtualSwarm } from "../../bench/simulator/virtual-swarm.ts"
import { Bench } from "./played-peers.ts"

const FAR = { site: "there" } as const
const SETTLED_MS = defaultLimits.gatewaySettleMs + 200

const news = (fields: Partial<SiteNews> = {}): SiteNews => ({ members: null, crossing: [], budgetBytesPerSecond: null, ...fields })
const fetching = (peer: number) => ({
  key: `member ${peer}`,
  server: true,
  duty: "fetches" as const,
  address: null,
  quietMs: 0,
  sentBytesPerSecond: 0,
})

test("what another site says of this one counts for nothing, and is counted against it", () => {
  const bench = new Bench({ pieces: 8, uselessBurst: 50, uselessPerSecond: 1 })
  bench.connect(1, "all", FAR)
  bench.pass(SETTLED_MS)
  const members = Array.from({ length: 20 }, (_, index) => fetching(index + 10))
  bench.step({ kind: "site-news", peer: 1, news: news({ members, crossing: [0, 1, 2, 3, 4, 5, 6, 7], budgetBytesPerSecond: 1 }) })
  bench.pass(200)
  bench.finish([1])
  assert.ok(bench.core.held.count > 0)
  for (let count = 0; count < 60; count += 1) bench.step({ kind: "site-news", peer: 1, news: news() })
  assert.ok(bench.effects.some((effect) => effect.kind === "disconnect" && effect.reason === "misbehaved"))
})

test("a member that says it fetches a piece that there is not breaks the rules", () => {
  const bench = new Bench({ pieces: 8 })
  bench.connect(2, "none")
  bench.step({ kind: "site-news", peer: 2, news: news({ crossing: [8] }) })
  assert.ok(bench.effects.some((effect) => effect.kind === "disconnect" && effect.reason === "misbehaved"))
})

test("members that say they fetch everything, or hold it, and give nothing delay their site and don't stop it", () => {
  for (const duty of ["fetches", "holds"] as const) {
    const bench = new Bench({ pieces: 8 })
    bench.connect(1, "all", FAR)
    bench.connect(2, "none")
    const members = Array.from({ length: defaultLimits.gateways }, (_, index) => ({ ...fetching(index + 10), duty }))
    for (let passedMs = 0; passedMs < 200_000 && !bench.core.complete; passedMs += 1_000) {
      bench.step({ kind: "site-news", peer: 2, news: news({ members, crossing: [0, 1, 2, 3, 4, 5, 6, 7] }) })
      bench.pass(1_000)
      bench.finish([1])
    }
    assert.ok(bench.core.complete && bench.nowMs < 150_000, `${duty}: ${bench.nowMs} ms`)
  }
})

test("a member that lets go of what it says it fetches, and says it again in time, delays its site and doesn't stop it", () => {
  const { claimMinMs, claimMaxMs } = defaultLimits
  for (const everyMs of [1_000, claimMinMs - 1_000, 4 * claimMinMs - 5_000, claimMaxMs - 1_000]) {
    const bench = new Bench({ pieces: 8 })
    bench.connect(1, "all", FAR)
    bench.connect(2, "none")
    for (let passedMs = 0; passedMs < 1_200_000 && !bench.core.complete; passedMs += 1_000) {
      if (passedMs % everyMs < 1_000) bench.step({ kind: "site-news", peer: 2, news: news() })
      bench.step({ kind: "site-news", peer: 2, news: news({ crossing: [0, 1, 2, 3, 4, 5, 6, 7] }) })
      bench.pass(1_000)
      bench.finish([1])
    }
    assert.ok(bench.core.complete && bench.nowMs < defaultLimits.claimsOfPiece * claimMaxMs, `again each ${everyMs} ms: ${bench.nowMs} ms`)
  }
})

test("a member of another site that sent a little, and then nothing but signs of life, is waited for a while and no longer", () => {
  const bench = new Bench({ pieces: 8 })
  bench.connect(1, "all", FAR)
  bench.pass(SETTLED_MS)
  for (const span of bench.asked(1).slice(0, 3)) bench.bring(1, span)
  bench.connect(2, "all", FAR)
  for (let passedMs = 0; passedMs < 4 * defaultLimits.claimMaxMs && !bench.core.complete; passedMs += 1_000) {
    bench.say(1, { type: "keep-alive" })
    bench.pass(1_000)
    bench.finish([2])
  }
  assert.ok(bench.core.complete, `${bench.core.held.count} pieces`)
})

test("a member that tells of thousands of its site, who are not there, keeps nobody from being dialled", () => {
  const bench = new Bench({ pieces: 8 })
  bench.connect(1, "none")
  const dialled = new Set<string>()
  const pass = (ms: number) => {
    bench.pass(ms)
    for (const effect of bench.effects.splice(0)) {
      if (effect.kind !== "dial") continue
      dialled.add(effect.address.host)
      bench.step({ kind: "dial-failed", address: effect.address })
    }
  }
  for (let number = 0; number < defaultLimits.addresses + 500; number += 1) {
    const address = { host: `10.1.${number >> 8}.${number & 255}`, port: 7_000 }
    const holder = { ...fetching(number + 10), key: `member ${1e6 - number}`, duty: "holds" as const, address }
    bench.step({ kind: "site-news", peer: 1, news: news({ members: [holder] }) })
    pass(100)
    // Told of two at a time; each gives way to the next.
    bench.nowMs += defaultLimits.siteLapseMs
    bench.say(1, { type: "keep-alive" })
  }
  assert.ok(dialled.size >= defaultLimits.siteAddresses)
  const honest = { host: "10.2.0.1", port: 7_000 }
  bench.step({ kind: "addresses", from: null, given: true, addresses: [honest] })
  for (let passedMs = 0; passedMs < 30_000; passedMs += 100) pass(100)
  assert.ok(dialled.has(honest.host))
})

test("only a server's word on what a site may send counts", () => {
  for (const [role, limited] of [
    ["client", false],
    ["server", true],
  ] as const) {
    const bench = new Bench({ pieces: 40, held: "all" })
    bench.connect(1, "none", { role })
    bench.step({ kind: "site-news", peer: 1, news: news({ members: [], budgetBytesPerSecond: BLOCK_BYTES }) })
    bench.connect(2, "none", FAR)
    bench.say(2, { type: "interested" })
    for (let piece = 0; piece < 5; piece += 1) bench.say(2, { type: "request", piece, offset: 0, length: BLOCK_BYTES })
    const uploads = () => bench.effects.flatMap((effect) => (effect.kind === "upload" ? effect.blocks : [])).length
    for (let seconds = 0; seconds < 2; seconds += 1) {
      for (let count = bench.uploadsPlayed; count < uploads(); count += 1) bench.step({ kind: "uploaded", peer: 2, bytes: BLOCK_BYTES })
      bench.uploadsPlayed = uploads()
      bench.pass(1_000)
    }
    assert.equal(uploads() < 5, limited, `${uploads()} blocks at the word of a ${role}`)
  }
})

type Effects = ReturnType<HostCore["step"]>

/** Holds everything and serves nobody; what it tells is up to `tell`. */
function servingNobody(core: HostCore, tell: (effect: Effects[number]) => Effects[number]): HostCore {
  const isService = (effect: Effects[number]) => effect.kind === "upload" || (effect.kind === "send" && effect.message.type === "unchoke")
  return {
    step: (event, nowMs) =>
      core
        .step(event, nowMs)
        .filter((effect) => !isService(effect))
        .map(tell),
    census: () => core.census(),
    hasRoomFor: (site) => core.hasRoomFor(site),
    isBanned: (key) => core.isBanned(key),
    complete: core.complete,
    held: core.held,
    statistics: core.statistics,
    get demand() {
      return core.demand
    },
  }
}

const PIECES = 150
const PIECE_BYTES = 4 * BLOCK_BYTES
const LOCAL = 2_000_000
const ACROSS_MS = (PIECES * PIECE_BYTES * 1_000) / (LOCAL / 10)

/** What it says to its peers, in place of what is true. */
const lies: Readonly<Record<string, (effect: Effects[number]) => Effects[number]>> = {
  "that it has everything": (effect) => effect,
  "that it has all but a piece": (effect) => {
    if (effect.kind !== "send" || effect.message.type !== "have-all") return effect
    const field = new Bitfield(PIECES)
    for (let piece = 1; piece < PIECES; piece += 1) field.set(piece)
    return { ...effect, message: { type: "bitfield", bits: field.bytes } }
  },
  "that others hold everything": (effect) => tellingOf("holds", effect),
  "that others fetch everything": (effect) => tellingOf("fetches", effect),
}

function tellingOf(duty: "holds" | "fetches", effect: Effects[number]): Effects[number] {
  if (effect.kind === "send" && effect.message.type === "have-all") return { ...effect, message: { type: "have-none" } }
  if (effect.kind !== "tell-site") return effect
  const members = Array.from({ length: defaultLimits.gateways }, (_, index) => ({ ...fetching(index + 100), duty }))
  return { ...effect, news: news({ members }) }
}

for (const [said, tell] of Object.entries(lies))
  test(`a member that says ${said} and gives nothing delays a site of eight and doesn't stop it, and a copy crosses`, () => {
    const swarm = new VirtualSwarm({
      contentBytes: PIECES * PIECE_BYTES,
      pieceBytes: PIECE_BYTES,
      seed: 2,
      wideAreaBytesPerSecond: LOCAL / 10,
      wideAreaDelayMs: 20,
      makeCore: (core, index) => (index === 1 ? servingNobody(core, tell) : core),
    })
    const origin = swarm.add({ name: "origin", role: "server", holds: "all", bytesPerSecond: LOCAL })
    const liar = swarm.add({ name: "a liar", role: "client", holds: "all", bytesPerSecond: LOCAL, site: 1 })
    for (let number = 1; number <= 8; number += 1)
      swarm.add({ name: `host ${number}`, role: "client", holds: "nothing", bytesPerSecond: LOCAL, site: 1 })
    swarm.tellAll([origin, liar])
    assert.ok(
      swarm.run(() => swarm.allDone(), ACROSS_MS + 6 * defaultLimits.starvedMs),
      "not done",
    )
    const copies = (swarm.sites[1]?.receivedPayloadBytes ?? 0) / (PIECES * PIECE_BYTES)
    assert.ok(copies < 1.1, `${copies} copies`)
  })
