import assert from "node:assert/strict"
import { createServer } from "node:tls"
import { test, type TestContext } from "node:test"
import fc from "fast-check"
import { GridError } from "#core/errors.ts"
import { infohash } from "#core/identifiers.ts"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import type { Connection } from "#swarm/connection.ts"
import { Dialler } from "#swarm/dialler.ts"
import { decodeNews, encodeIntroduction, encodeNews, EXTENDED_HANDSHAKE, NEWS } from "#swarm/extensions.ts"
import { NewsAllowance } from "#swarm/news-allowance.ts"
import type { HeardNews, Swarm } from "#swarm/swarm.ts"
import { eventually, testContent, testMember, testSwarm, torrentOf } from "./fixture.ts"

const TIMEOUT = { timeout: 30_000 }
const content = testContent(40_000)
const torrent = torrentOf(content, 16 * 1024)
const first = { seq: 7, infohash: infohash("ab".repeat(20)) }
const second = { seq: 8, infohash: infohash("cd".repeat(20)) }
const misbehaved = (error: unknown): boolean => error instanceof GridError && error.code === "PEER_MISBEHAVED"

/** Two swarms that share a torrent of which both have everything in the end. */
async function pair(t: TestContext): Promise<{ teller: Swarm; hearer: Swarm; heard: HeardNews[]; join: () => Promise<void> }> {
  const teller = await testSwarm(t, "teller", "server")
  const hearer = await testSwarm(t, "hearer", "client")
  const heard: HeardNews[] = []
  hearer.onNews((news) => heard.push(news))
  teller.join(torrent, MemoryPieceStore.full(torrent, content))
  const join = async () => {
    const session = hearer.join(torrent, new MemoryPieceStore(torrent))
    session.addPeers([teller.address])
    await session.whenComplete()
  }
  return { teller, hearer, heard, join }
}

test("a peer that connects is told the news once, with who says so and where it can be dialled", TIMEOUT, async (t) => {
  const { teller, heard, join } = await pair(t)
  const { memberId } = await testMember("teller", "server")
  teller.setNews(first)
  teller.setNews({ ...first })
  await join()
  await eventually(() => heard.length > 0)
  assert.deepEqual(heard, [{ ...first, memberId, address: teller.address }])
})

test(
  "connected peers are told when the news changes; of many changes in a second the last arrives, and nobody is taken for a flooder",
  TIMEOUT,
  async (t) => {
    const { teller, hearer, heard, join } = await pair(t)
    await join()
    teller.setNews(first)
    await eventually(() => heard.length === 1)
    for (let seq = 100; seq < 200; seq += 1) teller.setNews({ ...second, seq })
    await eventually(() => heard.at(-1)?.seq === 199)
    assert.equal(heard.length, 2)
    assert.equal(hearer.session(torrent.infohash)?.statistics().peers, 1)
  },
)

async function flooder(t: TestContext, swarm: Swarm): Promise<{ connection: Connection; ended: Promise<void> }> {
  const member = await testMember("flooder", "client")
  const dialler = new Dialler(member.admission, member.memberId, () => performance.now())
  t.after(() => dialler.close())
  const connection = await dialler.dial(swarm.address, torrent.infohash, () => true)
  const { promise, resolve } = Promise.withResolvers<void>()
  connection.start({ message: () => {}, closed: () => resolve() })
  connection.send({ type: "have-none" })
  connection.sendExtended(EXTENDED_HANDSHAKE, encodeIntroduction({ listenPort: 1, requestQueueLimit: 1, metadataBytes: null }))
  return { connection, ended: promise }
}

test("a flood of news is cut off after what was allowed", TIMEOUT, async (t) => {
  const { hearer, heard, join } = await pair(t)
  await join()
  const { connection, ended } = await flooder(t, hearer)
  for (let seq = 0; seq < 1_000; seq += 1) connection.sendExtended(NEWS, encodeNews({ ...first, seq }))
  await ended
  assert.ok(heard.length >= 10 && heard.length <= 20, `${heard.length} of 1,000 came through`)
})

test("a member that sends news out of form three times is not admitted again", TIMEOUT, async (t) => {
  const { hearer, join } = await pair(t)
  await join()
  for (let time = 0; time < 3; time += 1) {
    const { connection, ended } = await flooder(t, hearer)
    connection.sendExtended(NEWS, Buffer.from("d2:ih3:abc3:seqi1ee"))
    await ended
  }
  await assert.rejects(flooder(t, hearer), GridError)
  assert.equal(hearer.session(torrent.infohash)?.statistics().peers, 1)
})

test("ten pieces of news at once are suffered, and one a second from then on", () => {
  const allowance = new NewsAllowance(0)
  for (let count = 0; count < 10; count += 1) allowance.use(0)
  for (let seconds = 1; seconds < 100; seconds += 1) allowance.use(seconds * 1_000)
  assert.throws(() => allowance.use(99_500), misbehaved)
})

test("news comes out as it went in; bytes that are none are refused", () => {
  assert.deepEqual(decodeNews(encodeNews(first)), first)
  assert.equal(decodeNews(encodeNews({ ...first, seq: Number.MAX_SAFE_INTEGER })).seq, Number.MAX_SAFE_INTEGER)
  const hash = "x".repeat(20)
  for (const text of [
    "de",
    `d2:ih20:${hash}e`,
    `d2:ih20:${hash}3:seqi-1ee`,
    "d2:ih19:xxxxxxxxxxxxxxxxxxx3:seqi1ee",
    `d2:ih20:${hash}3:seqi1ee!`,
  ])
    assert.throws(() => decodeNews(Buffer.from(text)), misbehaved, text)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      assert.throws(() => decodeNews(Buffer.from(bytes)), misbehaved)
    }),
  )
})

test("an address where a revoked member answers is not dialled again and again, until the admission changes", TIMEOUT, async (t) => {
  const { memberId, admission } = await testMember("dialling", "client")
  const revoked = await testMember("revoked", "client")
  admission.update({ revoked: [revoked.memberId] })
  let dialledCount = 0
  const listening = createServer(revoked.admission.tlsServerOptions()).on("connection", () => (dialledCount += 1))
  const bound = Promise.withResolvers<void>()
  listening.listen(0, "127.0.0.1", () => bound.resolve())
  await bound.promise
  t.after(() => listening.close())
  const address = { host: "127.0.0.1", port: (listening.address() as { port: number }).port }
  let nowMs = 0
  const dialler = new Dialler(admission, memberId, () => nowMs)
  const dial = () =>
    assert.rejects(
      dialler.dial(address, torrent.infohash, () => true),
      { code: "SEEDERS_MISSING" },
    )
  await dial()
  await dial()
  nowMs += 60_000
  await dial()
  assert.equal(dialledCount, 1)
  nowMs += 600_000
  await dial()
  assert.equal(dialledCount, 2)
  dialler.admissionChanged()
  await dial()
  assert.equal(dialledCount, 3)
})
