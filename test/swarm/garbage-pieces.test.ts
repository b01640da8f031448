/** The danger: a member seeds garbage under the right infohash. Its bytes must never be kept, and its victims must get on without it. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { addressesOf, eventually, readAll, testContent, testSwarm, torrentOf } from "./fixture.ts"

const PIECE_BYTES = 64 * 1024
const content = testContent(60 * PIECE_BYTES + 5)
const garbage = testContent(content.length, 99)
const torrent = torrentOf(content, PIECE_BYTES)

for (const role of ["client", "server"] as const)
  test(`a ${role} that seeds garbage is banned, and the download finishes from an honest one`, { timeout: 30_000 }, async (t) => {
    const liar = await testSwarm(t, "liar", role)
    const lying = liar.join(torrent, MemoryPieceStore.full(torrent, garbage))
    // Alone with the liar first, so that the liar is asked at all.
    const leecher = await testSwarm(t, "leecher", "client")
    const session = leecher.join(torrent, new MemoryPieceStore(torrent))
    session.addPeers(addressesOf(liar))
    await eventually(() => session.statistics().corruptPieces > 0 && session.statistics().peers === 0)
    assert.equal(session.statistics().heldPieces, 0)
    const honest = await testSwarm(t, "honest", "server")
    honest.join(torrent, MemoryPieceStore.full(torrent, content))
    session.addPeers(addressesOf(honest, liar))
    await session.whenComplete()
    assert.ok((await readAll(session)).equals(content))
    assert.ok(session.statistics().corruptPieces <= 3, "it was let in again and again")
    assert.ok(lying.statistics().uploadedBytes < content.length / 2)
  })
