/** The danger: a peer gives what it was asked for so slowly that it is never quite silent, and the download waits for it. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { BLOCK_BYTES } from "#core/torrent.ts"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { addressesOf, readAll, testContent, testSwarm, torrentOf } from "./fixture.ts"
import { Bench } from "./played-peers.ts"

test("a peer that brings one block every few seconds holds up the end of a download by seconds, not by all that it was asked for", () => {
  const bench = new Bench({ pieces: 30 })
  bench.connect(1, "all")
  bench.connect(2, "all")
  for (let passed = 0; !bench.core.complete && passed < 120_000; passed += 100) {
    bench.pass(100)
    const [slow] = bench.asked(1)
    // Just often enough that it is not taken for stalled.
    if (passed % 1_900 === 0 && slow !== undefined) bench.bring(1, slow)
    for (const span of bench.asked(2).slice(0, 4)) bench.bring(2, span)
  }
  assert.ok(bench.core.complete)
  // 120 blocks at 40 a second are 3 s; alone, the slow one would take 228 s.
  assert.ok(bench.nowMs < 20_000, `${bench.nowMs} ms`)
})

test("a server that sends 2 kB a second beside one that is fast does not set the pace", { timeout: 30_000 }, async (t) => {
  const content = testContent(100 * BLOCK_BYTES)
  const torrent = torrentOf(content, 4 * BLOCK_BYTES)
  const servers = [await testSwarm(t, "drips", "server", { uploadBytesPerSecondLimit: 2_000 }), await testSwarm(t, "fast", "server")]
  for (const server of servers) server.join(torrent, MemoryPieceStore.full(torrent, content))
  const client = await testSwarm(t, "client", "client")
  const session = client.join(torrent, new MemoryPieceStore(torrent))
  const startedMs = performance.now()
  session.addPeers(addressesOf(...servers))
  await session.whenComplete()
  const tookMs = performance.now() - startedMs
  assert.ok((await readAll(session)).equals(content))
  assert.ok(tookMs < 12_000, `${Math.round(tookMs)} ms; at the slow one's pace it is 13 minutes`)
})
