import assert from "node:assert/strict"
import { test } from "node:test"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { addressesOf, eventually, readAll, storeWith, testContent, testSwarm, torrentOf } from "./fixture.ts"

const TIMEOUT = { timeout: 30_000 }

test("a leecher gets every byte from a seeder over mutual TLS", TIMEOUT, async (t) => {
  const content = testContent(3_000_001)
  const torrent = torrentOf(content, 64 * 1024)
  const seeder = await testSwarm(t, "seeder", "server")
  const leecher = await testSwarm(t, "leecher", "client")
  seeder.join(torrent, MemoryPieceStore.full(torrent, content))
  const session = leecher.join(torrent, new MemoryPieceStore(torrent))
  session.addPeers(addressesOf(seeder))
  await session.whenComplete()
  assert.ok((await readAll(session)).equals(content))
  const figures = session.statistics()
  assert.equal(figures.downloadedBytes, content.length)
  assert.equal(figures.fromServersBytes, content.length)
  assert.equal(figures.duplicateBytes, 0)
  // Counted when the operating system has them, which may be told after they arrived.
  await eventually(() => seeder.session(torrent.infohash)?.statistics().uploadedBytes === content.length)
})

test("a torrent of one piece smaller than a block is transferred", TIMEOUT, async (t) => {
  const content = testContent(77)
  const torrent = torrentOf(content, 16 * 1024)
  const seeder = await testSwarm(t, "seeder", "server")
  const leecher = await testSwarm(t, "leecher", "client")
  seeder.join(torrent, MemoryPieceStore.full(torrent, content))
  const session = leecher.join(torrent, new MemoryPieceStore(torrent))
  session.addPeers(addressesOf(seeder))
  await session.whenHeld(0)
  assert.ok((await readAll(session)).equals(content))
})

test("five hosts finish, and the origin sends less than two and a half copies to four of them", TIMEOUT, async (t) => {
  const content = testContent(8 * 1024 * 1024)
  const torrent = torrentOf(content, 64 * 1024)
  const origin = await testSwarm(t, "origin", "server")
  const seeding = origin.join(torrent, MemoryPieceStore.full(torrent, content))
  const leechers = await Promise.all([1, 2, 3, 4].map((number) => testSwarm(t, `leecher ${number}`, "client")))
  const sessions = leechers.map((leecher) => leecher.join(torrent, new MemoryPieceStore(torrent)))
  for (const session of sessions) session.addPeers(addressesOf(origin, ...leechers))
  await Promise.all(sessions.map((session) => session.whenComplete()))
  for (const session of sessions) assert.ok((await readAll(session)).equals(content))
  const copies = seeding.statistics().uploadedBytes / content.length
  assert.ok(copies < 2.5, `the origin sent ${copies.toFixed(2)} copies`)
})

test("a leecher that starts with half of the pieces asks for the other half alone", TIMEOUT, async (t) => {
  const content = testContent(2_000_000)
  const torrent = torrentOf(content, 64 * 1024)
  const half = Array.from({ length: torrent.pieceCount }, (_, piece) => piece).filter((piece) => piece % 2 === 0)
  const seeder = await testSwarm(t, "seeder", "server")
  const leecher = await testSwarm(t, "leecher", "client")
  seeder.join(torrent, MemoryPieceStore.full(torrent, content))
  const store = await storeWith(torrent, content, half)
  const heldBytes = half.reduce((sum, piece) => sum + Math.min(torrent.pieceBytes, content.length - piece * torrent.pieceBytes), 0)
  const session = leecher.join(torrent, store)
  session.addPeers(addressesOf(seeder))
  await session.whenComplete()
  assert.ok((await readAll(session)).equals(content))
  assert.equal(session.statistics().downloadedBytes, content.length - heldBytes)
})
