import assert from "node:assert/strict"
import { test } from "node:test"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { BlockSpan } from "#swarm/core/messages.ts"
import { seededRandom } from "#swarm/core/random.ts"
import { kinds } from "../../bench/simulator/event-kinds.ts"
import { EventQueue } from "../../bench/simulator/event-queue.ts"
import { joinEnds, Network } from "../../bench/simulator/network.ts"
import { networkDefaults, WireCosts } from "../../bench/simulator/network-model.ts"
import { Cutting } from "../../bench/simulator/pieces.ts"
import { LinkEnd, type VirtualHost } from "../../bench/simulator/virtual-host.ts"
import { VirtualSwarm } from "../../bench/simulator/virtual-swarm.ts"

const RATE = 1_250_000
const BLOCKS = 400
/** Of a site's links to others. */
const WIDE_AREA = RATE / 10
/** Of one block on a link of that rate, with headers. */
const BLOCK_MS = (new WireCosts(networkDefaults, BLOCK_BYTES).blockBytes(BLOCK_BYTES) * 1_000) / RATE

type Arrival = { readonly atMs: number; readonly from: string; readonly to: string; readonly what: "block" | "small" }

/** Hosts and connections without cores: only links. */
class Wires {
  readonly arrivals: Arrival[] = []
  readonly uploadedMs: number[] = []
  readonly network: Network
  readonly #queue = new EventQueue()
  readonly #ends: LinkEnd[] = []
  readonly #swarm: VirtualSwarm

  constructor(path: { readonly delayMs?: number; readonly loss?: number; readonly wideAreaDelayMs?: number } = {}) {
    const wideAreaBytesPerSecond = WIDE_AREA
    this.#swarm = new VirtualSwarm({ contentBytes: BLOCKS * BLOCK_BYTES, pieceBytes: BLOCK_BYTES, seed: 1, wideAreaBytesPerSecond })
    const cutting = new Cutting({ contentBytes: BLOCKS * BLOCK_BYTES, pieceBytes: BLOCK_BYTES, pieceCount: BLOCKS })
    this.network = new Network(
      { queue: this.#queue, cutting, costs: new WireCosts(networkDefaults, BLOCK_BYTES), random: seededRandom(5) },
      { delayMs: path.delayMs ?? 0, loss: path.loss ?? 0, wideAreaDelayMs: path.wideAreaDelayMs ?? 0 },
    )
  }

  host(name: string, bytesPerSecond: number = RATE, site = 0): VirtualHost {
    return this.#swarm.add({ name, role: "client", holds: "nothing", bytesPerSecond, site })
  }

  connect(from: VirtualHost, to: VirtualHost): LinkEnd {
    const windowBytes = this.network.firstWindowBytes
    const end = new LinkEnd(this.#ends.length, from, { dialled: true, windowBytes, exact: false })
    const other = new LinkEnd(this.#ends.length + 1, to, { dialled: false, windowBytes, exact: false })
    joinEnds(end, other)
    this.#ends.push(end, other)
    return end
  }

  run(untilMs = Number.POSITIVE_INFINITY): void {
    const queue = this.#queue
    while (queue.nextMs <= untilMs && queue.next()) {
      this.network.nowMs = queue.atMs
      const end = this.#ends[queue.a]
      const host = this.#swarm.hosts[queue.a]
      if (queue.kind === kinds.uplinkFree && host !== undefined) this.network.uplinkFree(host)
      if (queue.kind === kinds.portOpened && host !== undefined) this.network.portOpened(host.down)
      if (queue.kind === kinds.crossing) this.network.crossed(queue.a)
      const site = this.#swarm.sites[queue.a >> 1]
      if (queue.kind === kinds.wideAreaOpened && site !== undefined) this.network.portOpened(queue.a % 2 === 0 ? site.up : site.down)
      if (queue.kind === kinds.windowOpened && end !== undefined) this.network.windowOpened(end)
      if (queue.kind === kinds.uploaded) this.uploadedMs.push(queue.atMs)
      if ((queue.kind !== kinds.block && queue.kind !== kinds.small) || end === undefined) continue
      if (queue.kind === kinds.block) this.network.blockArrived(end.other, BLOCK_BYTES)
      this.arrivals.push({
        atMs: queue.atMs,
        from: end.other.host.name,
        to: end.host.name,
        what: queue.kind === kinds.block ? "block" : "small",
      })
    }
  }

  of(to: string, what: Arrival["what"] = "block"): number[] {
    return this.arrivals.filter((each) => each.to === to && each.what === what).map(({ atMs }) => atMs)
  }
}

function blocks(count: number): BlockSpan[] {
  return Array.from({ length: count }, (_, piece) => ({ piece, offset: 0, length: BLOCK_BYTES }))
}

function last(times: readonly number[]): number {
  return times.at(-1) ?? Number.NaN
}

test("connections take turns on an uplink: a few blocks do not wait behind many", () => {
  const wires = new Wires()
  const sender = wires.host("sender")
  for (const [name, count] of [
    ["many", 60],
    ["many too", 60],
    ["few", 4],
  ] as const)
    wires.network.write(wires.connect(sender, wires.host(name)), blocks(count))
  wires.run()
  assert.ok(last(wires.of("few")) < 14 * BLOCK_MS, `${last(wires.of("few"))} ms`)
  const halfMs = 62 * BLOCK_MS
  const counts = ["many", "many too"].map((name) => wires.of(name).filter((atMs) => atMs < halfMs).length)
  assert.ok(Math.abs((counts[0] ?? 0) - (counts[1] ?? 0)) <= 1, `${counts.join(" and ")} blocks`)
  assert.ok(Math.abs(last(wires.of("many")) - 124 * BLOCK_MS) < 3 * BLOCK_MS)
})

test("what is written after blocks arrives after them; on another connection it does not wait for them", () => {
  const wires = new Wires()
  const sender = wires.host("sender")
  const busy = wires.connect(sender, wires.host("busy"))
  const other = wires.connect(sender, wires.host("other"))
  wires.network.write(busy, blocks(20))
  wires.network.writeSmall(busy, [{ type: "have", piece: 3 }])
  wires.network.writeSmall(other, [{ type: "have", piece: 3 }])
  wires.run()
  assert.ok(last(wires.of("busy", "small")) >= last(wires.of("busy")))
  assert.ok(last(wires.of("other", "small")) < 1 * BLOCK_MS, `${last(wires.of("other", "small"))} ms`)
})

test("a full port makes its senders wait, while others are served", () => {
  const wires = new Wires()
  const senders = ["a", "b", "c"].map((name) => wires.host(name))
  const crowded = wires.host("crowded")
  const free = wires.host("free")
  for (const sender of senders) wires.network.write(wires.connect(sender, crowded), blocks(100))
  const [first] = senders
  assert.ok(first)
  wires.network.write(wires.connect(first, free), blocks(100))
  wires.run()
  // Together 300 blocks through one port, 100 through the other at more than half of its sender's rate.
  assert.ok(Math.abs(last(wires.of("crowded")) / (300 * BLOCK_MS) - 1) < 0.05, `${last(wires.of("crowded"))} ms`)
  assert.ok(last(wires.of("free")) < 180 * BLOCK_MS, `${last(wires.of("free"))} ms`)
})

test("senders that meet in one port have equal shares of it, also one that is in step with it", () => {
  const wires = new Wires()
  const receiver = wires.host("receiver")
  const names = ["a", "b", "c", "d"]
  for (const name of names) wires.network.write(wires.connect(wires.host(name), receiver), blocks(100))
  wires.run(200 * BLOCK_MS)
  const counts = names.map((name) => wires.arrivals.filter(({ from }) => from === name).length)
  assert.ok(Math.max(...counts) - Math.min(...counts) <= 6, `${counts.join(", ")} blocks`)
})

test("an upload is reported when the kernel has taken it, not when it has arrived, and not before", () => {
  const wires = new Wires()
  const end = wires.connect(wires.host("sender"), wires.host("receiver"))
  wires.network.write(end, blocks(20))
  wires.run()
  const [reportedMs = 0] = wires.uploadedMs
  const buffered = networkDefaults.sendBufferBytesMin / BLOCK_BYTES
  assert.ok(Math.abs(reportedMs - (19 - buffered) * BLOCK_MS) < 2 * BLOCK_MS, `${reportedMs} ms`)
})

test("a slow sender does not keep a fast receiver's link busy", () => {
  const wires = new Wires()
  const receiver = wires.host("receiver")
  wires.network.write(wires.connect(wires.host("slow", RATE / 10), receiver), blocks(20))
  wires.network.write(wires.connect(wires.host("fast"), receiver), blocks(20))
  wires.run()
  const fast = wires.of("receiver").filter((atMs) => atMs < 30 * BLOCK_MS)
  assert.ok(fast.length >= 21, `${fast.length} blocks`)
})

test("under loss a connection is as fast as TCP's window lets it be, and many are as fast as the link", () => {
  const bytesIn = (connections: number) => {
    const wires = new Wires({ delayMs: 50, loss: 0.01 })
    const sender = wires.host("sender", 100 * RATE)
    for (let index = 0; index < connections; index += 1)
      wires.network.write(wires.connect(sender, wires.host(`receiver ${index}`, 100 * RATE)), blocks(BLOCKS))
    wires.run(20_000)
    return wires.arrivals.length * BLOCK_BYTES
  }
  const mathisBytesPerSecond = (1_448 * 1.22) / Math.sqrt(0.01) / 0.1
  const one = bytesIn(1) / 20
  assert.ok(one > 0.5 * mathisBytesPerSecond && one < 1.3 * mathisBytesPerSecond, `${one}, expected about ${mathisBytesPerSecond}`)
  assert.ok(bytesIn(8) > 7 * bytesIn(1))
})

test("a connection that ends loses what is on its way, and every byte is accounted for", () => {
  const wires = new Wires({ delayMs: 20 })
  const end = wires.connect(wires.host("sender"), wires.host("receiver"))
  wires.network.write(end, blocks(30))
  wires.run(100)
  const arrived = wires.of("receiver").length
  wires.network.close(end)
  assert.equal(wires.network.lostBytes, (30 - arrived) * BLOCK_BYTES)
  assert.equal(wires.network.writtenBytes, wires.network.arrivedBytes + wires.network.lostBytes)
})

test("events come in the order of their times, those of one time in the order in which they were planned", () => {
  const queue = new EventQueue()
  const random = seededRandom(9)
  const planned: { readonly atMs: number; readonly a: number }[] = []
  const taken: number[] = []
  for (let a = 0; a < 5_000; a += 1) {
    const atMs = queue.atMs + random.below(50)
    planned.push({ atMs, a })
    queue.push(atMs, 1, a, 0)
    if (random.below(3) === 0 && queue.next()) taken.push(queue.a)
  }
  while (queue.next()) taken.push(queue.a)
  assert.equal(new Set(taken).size, planned.length)
  const atOf = (a: number | undefined) => planned[a ?? -1]?.atMs ?? Number.NaN
  for (let index = 1; index < taken.length; index += 1) {
    const [before, now] = [taken[index - 1] ?? -1, taken[index] ?? -1]
    assert.ok(atOf(before) < atOf(now) || (atOf(before) === atOf(now) && before < now), `seed 9, at ${index}`)
  }
})

for (const wideAreaDelayMs of [0, 20])
  test(`what goes between sites shares their links: two senders have half each, ${wideAreaDelayMs} ms away`, () => {
    const wires = new Wires({ wideAreaDelayMs })
    for (const name of ["one", "two"]) wires.network.write(wires.connect(wires.host(`from ${name}`), wires.host(name, RATE, 1)), blocks(40))
    wires.run()
    const crossMs = 10 * BLOCK_MS
    const lastMs = Math.max(last(wires.of("one")), last(wires.of("two")))
    // On a path with delay the window has to open first.
    assert.ok(Math.abs(lastMs - 80 * crossMs) < (wideAreaDelayMs === 0 ? 4 : 12) * crossMs, `${lastMs} ms, ${80 * crossMs} foretold`)
    const half = ["one", "two"].map((name) => wires.of(name).filter((atMs) => atMs < lastMs / 2).length)
    assert.ok(Math.abs((half[0] ?? 0) - (half[1] ?? 0)) <= 4, half.join(" and "))
  })

test("what crosses to a host keeps its port from nobody of its own site", () => {
  const wires = new Wires()
  const receiver = wires.host("receiver", RATE, 1)
  wires.network.write(wires.connect(wires.host("far"), receiver), blocks(20))
  wires.network.write(wires.connect(wires.host("near", RATE, 1), receiver), blocks(100))
  wires.run()
  const nearMs = last(wires.arrivals.filter(({ from }) => from === "near").map(({ atMs }) => atMs))
  assert.ok(nearMs < 115 * BLOCK_MS, `${nearMs} ms, ${100 * BLOCK_MS} alone`)
})

test("a small message crosses behind the blocks that were written before it, and no faster than the way is long", () => {
  const wires = new Wires({ wideAreaDelayMs: 20 })
  const busy = wires.connect(wires.host("sender"), wires.host("busy", RATE, 1))
  const idle = wires.connect(wires.host("other sender", RATE, 2), wires.host("idle", RATE, 3))
  wires.network.write(busy, blocks(5))
  wires.network.writeSmall(busy, [{ type: "have", piece: 3 }])
  wires.network.writeSmall(idle, [{ type: "have", piece: 3 }])
  wires.run()
  assert.ok(last(wires.of("busy", "small")) >= last(wires.of("busy")))
  const idleMs = last(wires.of("idle", "small"))
  assert.ok(idleMs > 20 && idleMs < 30, `${idleMs} ms`)
})

test("both sites count what crossed, payload apart; between hosts of one site nothing does", () => {
  const wires = new Wires()
  const [here, beside, there] = [wires.host("here"), wires.host("beside"), wires.host("there", RATE, 1)]
  wires.network.write(wires.connect(here, beside), blocks(10))
  wires.run()
  assert.deepEqual([here.site.sentBytes, here.site.receivedBytes], [0, 0])
  wires.network.write(wires.connect(here, there), blocks(10))
  wires.run()
  assert.equal(here.site.sentPayloadBytes, 10 * BLOCK_BYTES)
  assert.equal(there.site.receivedPayloadBytes, 10 * BLOCK_BYTES)
  assert.ok(here.site.sentBytes > 10 * BLOCK_BYTES && here.site.sentBytes === there.site.receivedBytes)
  assert.ok(there.site.sentBytes > 0 && there.site.sentBytes < 0.05 * here.site.sentBytes, "acknowledgements")
})
