import assert from "node:assert/strict"
import { once } from "node:events"
import { connect, createServer } from "node:net"
import { connect as connectTls, type TLSSocket } from "node:tls"
import { test } from "node:test"
import type { Address } from "#core/address.ts"
import { systemClock } from "#core/clock.ts"
import { GridError, type RefusalCode } from "#core/errors.ts"
import type { Infohash } from "#core/identifiers.ts"
import type { PieceStore } from "#core/piece-store.ts"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { Swarm, type Discovery, type TorrentSession } from "#swarm/swarm.ts"
import { encodeHandshake, encodeMessages, peerIdOf } from "#swarm/wire.ts"
import { addressesOf, eventually, readAll, storeWith, testContent, testMember, testSwarm, torrentOf } from "./fixture.ts"

const TIMEOUT = { timeout: 30_000 }
const PIECE_BYTES = 64 * 1024
const content = testContent(40 * PIECE_BYTES + 17)
const torrent = torrentOf(content, PIECE_BYTES)
const refused = (code: RefusalCode) => (error: unknown) => error instanceof GridError && error.code === code

/** Members that tell one another where they are, in memory. */
class Meeting implements Discovery {
  readonly #ports = new Map<Infohash, Set<number>>()

  announce(infohash: Infohash, swarmPort: number): Promise<void> {
    this.#ports.set(infohash, (this.#ports.get(infohash) ?? new Set()).add(swarmPort))
    return Promise.resolve()
  }

  lookup(infohash: Infohash): Promise<Address[]> {
    return Promise.resolve([...(this.#ports.get(infohash) ?? [])].map((port) => ({ host: "127.0.0.1", port })))
  }
}

/** A TLS connection as this member, with whatever is said over it by the test. */
async function connectAs(name: string, to: Swarm, site?: string): Promise<TLSSocket> {
  const member = await testMember(name, "client", site)
  const socket = connectTls({ ...member.admission.tlsClientOptions(), rejectUnauthorized: false, ...to.address })
  socket.on("error", () => undefined)
  return socket
}

function closed(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()))
}

test("two that dial each other at once keep one connection, the same one", TIMEOUT, async (t) => {
  for (const round of [1, 2, 3, 4]) {
    const left = await testSwarm(t, `left ${round}`, "client")
    const right = await testSwarm(t, `right ${round}`, "client")
    const sessions = [left, right].map((swarm) => swarm.join(torrent, new MemoryPieceStore(torrent)))
    const [a, b] = sessions
    assert.ok(a && b)
    a.addPeers(addressesOf(right))
    b.addPeers(addressesOf(left))
    await eventually(() => a.statistics().peers === 1 && b.statistics().peers === 1)
    await Promise.all([left.close(), right.close()])
  }
})

test("a host whose best seeder dies midway finishes from another", TIMEOUT, async (t) => {
  const best = await testSwarm(t, "best", "server")
  const other = await testSwarm(t, "other", "server", { uploadBytesPerSecondLimit: 4_000_000 })
  const leecher = await testSwarm(t, "leecher", "client")
  best.join(torrent, MemoryPieceStore.full(torrent, content))
  other.join(torrent, MemoryPieceStore.full(torrent, content))
  const session = leecher.join(torrent, new MemoryPieceStore(torrent))
  session.addPeers(addressesOf(best, other))
  await Promise.any(Array.from({ length: torrent.pieceCount }, (_, piece) => session.whenHeld(piece)))
  await best.close()
  await session.whenComplete()
  assert.ok((await readAll(session)).equals(content))
})

test("a host goes on with what it holds after it was closed and opened again", TIMEOUT, async (t) => {
  const seeder = await testSwarm(t, "seeder", "server", { uploadBytesPerSecondLimit: 8_000_000 })
  const seeding = seeder.join(torrent, MemoryPieceStore.full(torrent, content))
  const store = new MemoryPieceStore(torrent)
  const first = await testSwarm(t, "leecher", "client")
  const begun = first.join(torrent, store)
  begun.addPeers(addressesOf(seeder))
  await eventually(() => store.heldCount > 5)
  const waiting = assert.rejects(begun.whenComplete())
  await first.close()
  await waiting
  const heldBefore = store.heldCount
  assert.ok(heldBefore < torrent.pieceCount)
  const uploadedBefore = seeding.statistics().uploadedBytes
  const second = await testSwarm(t, "leecher", "client")
  const session = second.join(torrent, store)
  session.addPeers(addressesOf(seeder))
  await session.whenComplete()
  assert.ok((await readAll(session)).equals(content))
  const uploaded = seeding.statistics().uploadedBytes - uploadedBefore
  assert.ok(uploaded <= content.length - heldBefore * PIECE_BYTES + PIECE_BYTES, `${uploaded} bytes were sent again`)
})

test("many layers move between two hosts at once", TIMEOUT, async (t) => {
  const seeder = await testSwarm(t, "seeder", "server")
  const leecher = await testSwarm(t, "leecher", "client")
  const layers = Array.from({ length: 30 }, (_, index) => {
    const bytes = testContent(100_000 + index, index)
    return { bytes, torrent: torrentOf(bytes, 16 * 1024, `layer ${index}`) }
  })
  for (const layer of layers) seeder.join(layer.torrent, MemoryPieceStore.full(layer.torrent, layer.bytes))
  const sessions = layers.map((layer) => leecher.join(layer.torrent, new MemoryPieceStore(layer.torrent)))
  for (const session of sessions) session.addPeers(addressesOf(seeder))
  await Promise.all(sessions.map((session) => session.whenComplete()))
  for (const [index, session] of sessions.entries()) assert.ok((await readAll(session)).equals(layers[index]?.bytes ?? Buffer.alloc(0)))
})

test("peers that know only one host find each other through it", TIMEOUT, async (t) => {
  const middle = await testSwarm(t, "middle", "server")
  middle.join(torrent, MemoryPieceStore.full(torrent, content))
  const others = await Promise.all(
    [1, 2, 3].map((number) => testSwarm(t, `other ${number}`, "client", { uploadBytesPerSecondLimit: 1_000 })),
  )
  const sessions: TorrentSession[] = []
  for (const other of others) {
    const session = other.join(torrent, new MemoryPieceStore(torrent))
    session.addPeers(addressesOf(middle))
    sessions.push(session)
  }
  await eventually(() => sessions.every((session) => session.statistics().peers === 3))
})

test("peers find each other through discovery alone", TIMEOUT, async (t) => {
  const discovery = new Meeting()
  const seeder = await testSwarm(t, "seeder", "server", { discovery })
  seeder.join(torrent, MemoryPieceStore.full(torrent, content))
  const leecher = await testSwarm(t, "leecher", "client", { discovery })
  const found = await leecher.fetchTorrent(torrent.infohash)
  const session = leecher.join(found, new MemoryPieceStore(found))
  await session.whenComplete()
  assert.ok((await readAll(session)).equals(content))
})

test("fetchTorrent() gets metadata of many parts from a peer, and from the own session without one", TIMEOUT, async (t) => {
  const bytes = testContent(4_000 * 16 * 1024)
  const large = torrentOf(bytes, 16 * 1024)
  assert.ok(large.infoBytes.length > 4 * 16 * 1024)
  const seeder = await testSwarm(t, "seeder", "server")
  const session = seeder.join(large, MemoryPieceStore.full(large, bytes))
  const leecher = await testSwarm(t, "leecher", "client")
  const dead = await deadAddress()
  assert.deepEqual(await leecher.fetchTorrent(large.infohash, { peers: [dead, ...addressesOf(seeder)] }), large)
  assert.equal(await seeder.fetchTorrent(large.infohash), session.torrent)
})

test("fetchTorrent() says SEEDERS_MISSING when nobody has the torrent, and ends at once when given up", TIMEOUT, async (t) => {
  const seeder = await testSwarm(t, "seeder", "server")
  const leecher = await testSwarm(t, "leecher", "client")
  await assert.rejects(leecher.fetchTorrent(torrent.infohash, { peers: addressesOf(seeder) }), refused("SEEDERS_MISSING"))
  const reason = new Error("enough")
  const signal = AbortSignal.abort(reason)
  await assert.rejects(leecher.fetchTorrent(torrent.infohash, { peers: addressesOf(seeder), signal }), reason)
})

async function deadAddress(): Promise<Address> {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const bound = server.address()
  server.close()
  await once(server, "close")
  return { host: "127.0.0.1", port: typeof bound === "object" && bound !== null ? bound.port : 1 }
}

test("a member of another site gets not one byte after its TLS handshake, and learns of no torrent", TIMEOUT, async (t) => {
  const seeder = await testSwarm(t, "seeder", "server")
  const seeding = seeder.join(torrent, MemoryPieceStore.full(torrent, content))
  const stranger = await testSwarm(t, "stranger", "client", { site: "othersite" })
  await assert.rejects(stranger.fetchTorrent(torrent.infohash, { peers: addressesOf(seeder) }), refused("SEEDERS_MISSING"))
  const session = stranger.join(torrent, new MemoryPieceStore(torrent))
  session.addPeers(addressesOf(seeder))
  // The same by hand, without checking who answers.
  const { memberId } = await testMember("stranger", "client", "othersite")
  const socket = await connectAs("stranger", seeder, "othersite")
  let received = 0
  socket.on("data", (chunk: Buffer) => (received += chunk.length))
  socket.write(encodeHandshake({ infohash: torrent.infohash, peerId: peerIdOf(memberId) }))
  await closed(socket)
  assert.equal(received, 0)
  assert.equal(seeding.statistics().uploadedBytes, 0)
  assert.equal(seeding.statistics().peers, 0)
  assert.equal(session.statistics().peers, 0)
})

test("a member that asks for a torrent that is not here is cut without a word", TIMEOUT, async (t) => {
  const seeder = await testSwarm(t, "seeder", "server")
  const { memberId } = await testMember("curious", "client")
  const socket = await connectAs("curious", seeder)
  let received = 0
  socket.on("data", (chunk: Buffer) => (received += chunk.length))
  socket.write(encodeHandshake({ infohash: torrent.infohash, peerId: peerIdOf(memberId) }))
  await closed(socket)
  assert.equal(received, 0)
})

test("a member that claims another's peer id is cut", TIMEOUT, async (t) => {
  const seeder = await testSwarm(t, "seeder", "server")
  const seeding = seeder.join(torrent, MemoryPieceStore.full(torrent, content))
  const socket = await connectAs("impostor", seeder)
  socket.resume()
  socket.write(encodeHandshake({ infohash: torrent.infohash, peerId: peerIdOf("ab".repeat(16)) }))
  await closed(socket)
  assert.equal(seeding.statistics().peers, 0)
})

test("a member that breaks the wire is cut, and honest traffic goes on", TIMEOUT, async (t) => {
  const seeder = await testSwarm(t, "seeder", "server")
  const seeding = seeder.join(torrent, MemoryPieceStore.full(torrent, content))
  const { memberId } = await testMember("vandal", "client")
  for (const bytes of [
    Buffer.from("7fffffff07", "hex"),
    Buffer.concat([encodeMessages([{ type: "have-none" }]), Buffer.from("0000000114", "hex")]),
    Buffer.concat([encodeMessages([{ type: "have-none" }]), Buffer.from("000000051400643165", "hex")]),
  ]) {
    const socket = await connectAs("vandal", seeder)
    socket.resume()
    socket.write(encodeHandshake({ infohash: torrent.infohash, peerId: peerIdOf(memberId) }))
    socket.write(bytes)
    await closed(socket)
  }
  assert.equal(seeding.statistics().peers, 0)
  const leecher = await testSwarm(t, "leecher", "client")
  const session = leecher.join(torrent, new MemoryPieceStore(torrent))
  session.addPeers(addressesOf(seeder))
  await session.whenComplete()
})

test("a peer that asks and never reads is sent a bounded number of bytes", TIMEOUT, async (t) => {
  const seeder = await testSwarm(t, "seeder", "server")
  const bytes = testContent(64 * 1024 * 1024)
  const large = torrentOf(bytes, 1024 * 1024)
  const seeding = seeder.join(large, MemoryPieceStore.full(large, bytes))
  const { memberId } = await testMember("deaf", "client")
  const socket = await connectAs("deaf", seeder)
  socket.pause()
  socket.write(encodeHandshake({ infohash: large.infohash, peerId: peerIdOf(memberId) }))
  socket.write(encodeMessages([{ type: "have-none" }, { type: "interested" }]))
  const wanted = Array.from(
    { length: 512 },
    (_, index) => ({ type: "request", piece: index >> 6, offset: (index & 63) * 16_384, length: 16_384 }) as const,
  )
  socket.write(encodeMessages(wanted))
  let before = -1
  // Until nothing more goes out for half a second.
  for (let quiet = 0; quiet < 5;) {
    const now = seeding.statistics().uploadedBytes
    quiet = now === before && now > 0 ? quiet + 1 : 0
    before = now
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  // What the kernel of either end takes is its own; the rest of 8 MiB waits here, unread from the store.
  assert.ok(before < 8 * 1024 * 1024, `${before} bytes were read for a peer that reads nothing`)
  socket.destroy()
})

for (const dialler of ["revoked one", "own member"])
  test(`a member that is revoked is cut, those that are not stay, when the ${dialler} dialled`, TIMEOUT, async (t) => {
    const member = await testMember("own", "server")
    const own = await Swarm.listen(
      { ...member, clock: systemClock, discovery: null },
      { listen: { host: "127.0.0.1", port: 0 }, uploadBytesPerSecondLimit: 100_000 },
    )
    t.after(() => own.close())
    const half = Array.from({ length: torrent.pieceCount }, (_, piece) => piece).filter((piece) => piece % 2 === 0)
    const session = own.join(torrent, await storeWith(torrent, content, half))
    const others = await Promise.all(["good", "bad"].map((name) => testSwarm(t, name, "client", { uploadBytesPerSecondLimit: 1 })))
    for (const other of others) {
      const odd = Array.from({ length: torrent.pieceCount }, (_, piece) => piece).filter((piece) => piece % 2 === 1)
      const joined = other.join(torrent, await storeWith(torrent, content, odd))
      if (dialler === "own member") session.addPeers(addressesOf(other))
      else joined.addPeers(addressesOf(own))
    }
    await eventually(() => session.statistics().peers === 2)
    const { memberId } = await testMember("bad", "client")
    member.admission.update({ revoked: [memberId] })
    const [good, bad] = others.map((other) => other.session(torrent.infohash))
    assert.ok(good && bad)
    await eventually(() => session.statistics().peers === 1)
    assert.equal(good.statistics().peers >= 1, true)
    const again = await connectAs("bad", own)
    again.write(encodeHandshake({ infohash: torrent.infohash, peerId: peerIdOf(memberId) }))
    again.resume()
    await closed(again)
    assert.equal(session.statistics().peers, 1)
  })

test("listening on an address that is taken says ADDRESS_IN_USE", TIMEOUT, async (t) => {
  const seeder = await testSwarm(t, "seeder", "server")
  await assert.rejects(testSwarm(t, "second", "server", { listen: seeder.address }), refused("ADDRESS_IN_USE"))
})

test("a torrent is joined once, and again after its session was closed", TIMEOUT, async (t) => {
  const swarm = await testSwarm(t, "member", "client")
  const session = swarm.join(torrent, new MemoryPieceStore(torrent))
  assert.throws(() => swarm.join(torrent, new MemoryPieceStore(torrent)), TypeError)
  assert.equal(swarm.session(torrent.infohash), session)
  const other = torrentOf(testContent(5), 16 * 1024)
  assert.throws(() => swarm.join(other, new MemoryPieceStore(torrent)), TypeError)
  await session.close()
  assert.equal(swarm.session(torrent.infohash), null)
  swarm.join(torrent, new MemoryPieceStore(torrent))
})

test("waiting ends with the signal's reason, and with an error when the session closes", TIMEOUT, async (t) => {
  const swarm = await testSwarm(t, "member", "client")
  const session = swarm.join(torrent, new MemoryPieceStore(torrent))
  const giveUp = new AbortController()
  const reason = new Error("given up")
  const waits = [
    assert.rejects(session.whenHeld(3, giveUp.signal), reason),
    assert.rejects(session.whenHeld(3), /closed/),
    assert.rejects(session.whenComplete(), /closed/),
  ]
  giveUp.abort(reason)
  await session.close()
  await Promise.all(waits)
  await assert.rejects(session.whenHeld(torrent.pieceCount), refused("PIECE_OUT_OF_RANGE"))
  assert.throws(() => session.moveWindow(-1), refused("PIECE_OUT_OF_RANGE"))
})

test("a store that is full ends the waiting with its refusal, and what is held is still served", TIMEOUT, async (t) => {
  const seeder = await testSwarm(t, "seeder", "server")
  seeder.join(torrent, MemoryPieceStore.full(torrent, content))
  const leecher = await testSwarm(t, "leecher", "client")
  const memory = new MemoryPieceStore(torrent)
  const limited: PieceStore = {
    pieceCount: memory.pieceCount,
    contentBytes: memory.contentBytes,
    pieceBytes: memory.pieceBytes,
    get heldCount() {
      return memory.heldCount
    },
    has: (piece) => memory.has(piece),
    write: async (piece, bytes) => {
      if (memory.heldCount >= 5) throw new GridError("DISK_FULL", "no room")
      await memory.write(piece, bytes)
    },
    read: (offset, length, into) => memory.read(offset, length, into),
    sync: () => memory.sync(),
    close: () => memory.close(),
  }
  const session = leecher.join(torrent, limited)
  session.addPeers(addressesOf(seeder))
  await assert.rejects(session.whenComplete(), refused("DISK_FULL"))
  await assert.rejects(session.whenComplete(), refused("DISK_FULL"))
  await seeder.close()
  const third = await testSwarm(t, "third", "client")
  const other = third.join(torrent, new MemoryPieceStore(torrent))
  other.addPeers(addressesOf(leecher))
  await eventually(() => other.statistics().heldPieces === 5)
})

test("a plain connection that says nothing is cut, and does not keep others out", { timeout: 30_000 }, async (t) => {
  const seeder = await testSwarm(t, "seeder", "server")
  seeder.join(torrent, MemoryPieceStore.full(torrent, content))
  const silent = Array.from({ length: 300 }, () => connect(seeder.address))
  for (const socket of silent) socket.on("error", () => undefined)
  await Promise.all(silent.map((socket) => Promise.race([once(socket, "connect"), once(socket, "close")])))
  const leecher = await testSwarm(t, "leecher", "client")
  const session = leecher.join(torrent, new MemoryPieceStore(torrent))
  session.addPeers(addressesOf(seeder))
  await session.whenComplete()
  await eventually(() => silent.filter((socket) => !socket.destroyed).length <= 256)
  for (const socket of silent) socket.destroy()
})
