/** The danger: a connection outlives the certificate that it was made with, and its holder goes on being served. */
import assert from "node:assert/strict"
import { test } from "node:test"
import type { Clock } from "#core/clock.ts"
import { systemClock } from "#core/clock.ts"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { Swarm } from "#swarm/swarm.ts"
import { addressesOf, eventually, storeWith, testContent, testMember, testSwarm, torrentOf } from "./fixture.ts"

const DAY_MS = 24 * 3_600_000
const PIECE_BYTES = 64 * 1024
const content = testContent(40 * PIECE_BYTES)
const torrent = torrentOf(content, PIECE_BYTES)

/** So many times as fast as real time: a swarm looks at its peers' certificates once a minute. */
const SPEED = 40

for (const [what, aheadMs] of [
  ["a peer whose certificate has lapsed is cut within the minute, in the middle of a download", 2 * DAY_MS],
  ["a peer whose certificate is good is left alone: the control", 0],
] as const)
  test(what, { timeout: 30_000 }, async (t) => {
    const startMs = systemClock.nowMs()
    const fast: Clock = { nowMs: () => startMs + SPEED * (systemClock.nowMs() - startMs) }
    let aheadNowMs = 0
    const own = await testMember("own", "server", "testsite", { nowMs: () => systemClock.nowMs() + aheadNowMs })
    const cut: string[] = []
    const log = {
      debug: (fields: object, event: string) => void (event === "peer no longer admitted" && cut.push(JSON.stringify(fields))),
      warn: () => {},
    }
    const options = { listen: { host: "127.0.0.1", port: 0 }, uploadBytesPerSecondLimit: 1_000_000 }
    const swarm = await Swarm.listen({ ...own, clock: fast, discovery: null, log }, options)
    t.after(() => swarm.close())
    swarm.join(torrent, MemoryPieceStore.full(torrent, content))
    const peer = await testSwarm(t, "peer", "client")
    const session = peer.join(torrent, new MemoryPieceStore(torrent))
    session.addPeers(addressesOf(swarm))
    await eventually(() => session.statistics().heldPieces > 0)
    aheadNowMs = aheadMs
    await eventually(() => cut.length > 0 || session.complete)
    assert.equal(session.complete, aheadMs === 0)
    if (aheadMs > 0) assert.match(cut[0] ?? "", /ended at/)
    else assert.ok(fast.nowMs() - startMs > 70_000, "the download ended before anybody looked")
  })

test("a lapsed peer is refused when it comes anew, and one that is not valid yet", { timeout: 30_000 }, async (t) => {
  for (const aheadMs of [2 * DAY_MS, -2 * DAY_MS]) {
    const own = await testMember("own", "server", "testsite", { nowMs: () => systemClock.nowMs() + aheadMs })
    const refused: string[] = []
    const log = {
      debug: (fields: object, event: string) => void (event === "connection refused" && refused.push(JSON.stringify(fields))),
      warn: () => {},
    }
    const swarm = await Swarm.listen({ ...own, clock: systemClock, discovery: null, log }, { listen: { host: "127.0.0.1", port: 0 } })
    t.after(() => swarm.close())
    const session = swarm.join(torrent, await storeWith(torrent, content, [0]))
    const peer = await testSwarm(t, `peer ${aheadMs}`, "client")
    peer.join(torrent, await storeWith(torrent, content, [1])).addPeers(addressesOf(swarm))
    await eventually(() => refused.length > 0)
    assert.match(refused[0] ?? "", aheadMs > 0 ? /ended at/ : /begins at/)
    assert.equal(session.statistics().peers, 0)
  }
})
