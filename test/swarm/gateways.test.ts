import assert from "node:assert/strict"
import { test } from "node:test"
import { Gateways, type SiteMember, type Situation } from "#swarm/core/gateways.ts"
import { defaultLimits, type Limits } from "#swarm/core/limits.ts"

const LIMITS = { ...defaultLimits, gateways: 2 }

/** A member of a site, and what it sees of it. */
class Fellow {
  readonly gateways: Gateways
  readonly key: string
  nowMs = 0
  situation: Omit<Situation, "nowMs"> = {
    complete: false,
    nearHolders: 0,
    farPeers: 1,
    starved: false,
    alone: false,
    crossedAtMs: Number.NEGATIVE_INFINITY,
  }

  constructor(key: string, server = false, limits: Limits = LIMITS) {
    this.key = key
    this.gateways = new Gateways({ key, server }, limits)
  }

  pass(ms: number, change: Partial<Omit<Situation, "nowMs">> = {}): void {
    this.situation = { ...this.situation, ...change }
    for (const endMs = this.nowMs + ms; this.nowMs < endMs;) {
      this.nowMs += 100
      this.gateways.tick({ ...this.situation, nowMs: this.nowMs })
    }
  }

  hear(...members: readonly SiteMember[]): void {
    this.gateways.heard(members, { key: "somebody", address: null }, this.nowMs)
  }

  tell(other: Fellow): void {
    other.gateways.heard(this.gateways.members(0, this.nowMs), { key: this.key, address: { host: "192.0.2.1", port: 1 } }, other.nowMs)
  }
}

function member(key: string, fields: Partial<SiteMember> = {}): SiteMember {
  return { key, server: false, duty: "fetches", address: null, quietMs: 0, sentBytesPerSecond: 0, ...fields }
}

test("a member that knows nobody better fetches, after it has listened for a moment", () => {
  const alone = new Fellow("a")
  alone.pass(defaultLimits.gatewaySettleMs)
  assert.deepEqual([alone.gateways.reaching, alone.gateways.fetching], [true, false])
  alone.pass(100)
  assert.ok(alone.gateways.fetching)
})

test("as many fetch as there are to be gateways: servers first, then the lowest ids, whoever came first", () => {
  const fellows = [new Fellow("a"), new Fellow("d"), new Fellow("c", true), new Fellow("b")]
  for (let round = 0; round < 20; round += 1) {
    for (const fellow of fellows) fellow.pass(100, { crossedAtMs: fellow.nowMs })
    for (const from of fellows) for (const to of fellows) if (from !== to) from.tell(to)
  }
  assert.deepEqual(
    fellows.filter(({ gateways }) => gateways.fetching).map(({ key }) => key),
    ["a", "c"],
  )
})

test("nobody fetches where a member of the site holds everything, connected or heard of", () => {
  const beside = new Fellow("a")
  beside.pass(1_000, { nearHolders: 1 })
  const told = new Fellow("b")
  told.hear(member("z", { duty: "holds" }))
  told.pass(1_000)
  assert.deepEqual([beside.gateways.reaching, told.gateways.reaching], [false, false])
})

test("another takes the place of a gateway of which nothing more is heard, one at a time", () => {
  const fellow = new Fellow("m")
  fellow.hear(member("a"), member("b"))
  fellow.pass(defaultLimits.siteLapseMs - 100)
  assert.ok(!fellow.gateways.reaching)
  fellow.pass(100 + defaultLimits.gatewayVacantMs)
  assert.ok(fellow.gateways.reaching)
})

test("a gateway whose connection has ended counts no more, though others still tell of it", () => {
  const fellow = new Fellow("m")
  fellow.hear(member("a"), member("b"))
  fellow.pass(1_000)
  fellow.gateways.lost("a", fellow.nowMs)
  fellow.hear(member("a", { quietMs: 500 }))
  fellow.pass(100 + defaultLimits.gatewayVacantMs)
  assert.ok(fellow.gateways.reaching)
  fellow.pass(defaultLimits.siteNewsMs)
  fellow.hear(member("a"))
  fellow.pass(100)
  assert.ok(!fellow.gateways.reaching, "it came back, and its word is new")
})

test("who is gone is forgotten by those too that tell one another of it", () => {
  const [one, other] = [new Fellow("m"), new Fellow("n")]
  one.hear(member("a"), member("b"))
  for (let passedMs = 0; passedMs < 2 * defaultLimits.siteLapseMs; passedMs += 500) {
    one.tell(other)
    other.tell(one)
    one.pass(500)
    other.pass(500)
  }
  assert.ok(one.gateways.reaching && other.gateways.reaching)
})

test("a gateway to which nothing comes is forgotten, and one to which something comes is not", () => {
  const [idle, useful, third] = [new Fellow("a"), new Fellow("b"), new Fellow("c")]
  for (let round = 0; round < 300; round += 1) {
    idle.pass(100)
    useful.pass(100, { crossedAtMs: useful.nowMs })
    third.pass(100)
    for (const from of [idle, useful, third]) for (const to of [idle, useful, third]) if (from !== to) from.tell(to)
  }
  assert.deepEqual([third.gateways.isGateway("a"), third.gateways.isGateway("b")], [false, true])
  assert.ok(third.gateways.reaching)
})

test("whom its own site feeds nothing asks others itself, though members are said to hold everything, unless enough others fetch", () => {
  const fellow = new Fellow("m")
  fellow.hear(member("a"), member("z", { duty: "holds" }))
  fellow.pass(1_000)
  assert.ok(!fellow.gateways.reaching)
  fellow.pass(1_000 + defaultLimits.gatewayVacantMs, { starved: true })
  assert.ok(fellow.gateways.fetching)
  fellow.hear(member("b"))
  fellow.pass(100)
  assert.ok(!fellow.gateways.reaching)
  fellow.pass(1_000, { alone: true })
  assert.ok(fellow.gateways.fetching)
  fellow.pass(100, { starved: false, alone: false })
  assert.ok(!fellow.gateways.reaching)
})

test("each piece belongs to one of the gateways, and each has about as many", () => {
  const fellows = ["a", "b", "c"].map((key) => new Fellow(key))
  for (const fellow of fellows) {
    fellow.hear(...["a", "b", "c"].map((key) => member(key)))
    fellow.pass(100)
  }
  const counts = [0, 0, 0]
  for (let piece = 0; piece < 3_000; piece += 1) {
    const turns = fellows.map(({ gateways }) => gateways.turnFor(piece))
    assert.deepEqual(
      turns.toSorted((a, b) => a - b),
      [0, 1, 2],
    )
    const first = turns.indexOf(0)
    counts[first] = (counts[first] ?? 0) + 1
  }
  for (const count of counts) assert.ok(count > 800 && count < 1_200, counts.join())
})

test("what is remembered of the site is bounded, whatever a member tells", () => {
  const fellow = new Fellow("m", false, { ...LIMITS, siteMembersKept: 10 })
  for (let index = 0; index < 1_000; index += 1) fellow.hear(member(`x${index}`, { sentBytesPerSecond: 1 }))
  assert.ok(fellow.gateways.members(0, fellow.nowMs).length <= 10)
})

test("a gateway is to be connected to the others, and who lacks pieces to who holds everything", () => {
  const address = (port: number) => ({ host: "192.0.2.1", port })
  const fellow = new Fellow("a")
  fellow.hear(member("b", { address: address(2) }), member("z", { duty: "holds", address: address(26) }))
  fellow.pass(100)
  assert.deepEqual(fellow.gateways.addresses, [address(26)])
  const gateway = new Fellow("a")
  gateway.hear(member("b", { address: address(2) }))
  gateway.pass(100)
  assert.deepEqual(gateway.gateways.addresses, [address(2)])
})

test("of many that send to other sites a member tells of some, and always of itself", () => {
  const fellow = new Fellow("m")
  for (let index = 0; index < 2 * defaultLimits.sendersTold; index += 1)
    fellow.hear(member(`x${index}`, { duty: "none", sentBytesPerSecond: 1 }))
  const told = fellow.gateways.members(1, fellow.nowMs)
  assert.equal(told.length, defaultLimits.sendersTold)
  assert.ok(told.some(({ key }) => key === "m"))
})
