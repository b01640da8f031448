import assert from "node:assert/strict"
import { test, type TestContext } from "node:test"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import type { Swarm, TorrentSession } from "#swarm/swarm.ts"
import { addressesOf, eventually, readAll, storeWith, testContent, testSwarm, torrentOf, type SwarmSettings } from "./fixture.ts"

const TIMEOUT = { timeout: 60_000 }
const PIECE_BYTES = 64 * 1024
const PIECES = 256
const content = testContent(PIECES * PIECE_BYTES - 5)
const torrent = torrentOf(content, PIECE_BYTES)
const shared = { sharedWith: () => true }

const HERE: SwarmSettings = { site: "here", federatedWith: ["there"] }
const THERE: SwarmSettings = { site: "there", federatedWith: ["here"] }

async function seeder(t: TestContext, settings: SwarmSettings): Promise<{ readonly swarm: Swarm; readonly session: TorrentSession }> {
  const swarm = await testSwarm(t, "origin", "server", settings)
  return { swarm, session: swarm.join(torrent, await storeWith(torrent, content, Array(PIECES).keys()), shared) }
}

async function joined(t: TestContext, name: string, settings: SwarmSettings, known: Swarm): Promise<TorrentSession> {
  const swarm = await testSwarm(t, name, "client", settings)
  const session = swarm.join(torrent, new MemoryPieceStore(torrent), shared)
  session.addPeers(addressesOf(known))
  return session
}

const across = (sessions: readonly TorrentSession[]) =>
  sessions.reduce((sum, session) => sum + session.statistics().fromOtherSitesBytes, 0) / content.length

test(
  "members of another site, who know the origin alone, find one another, and little more than a copy crosses to them",
  TIMEOUT,
  async (t) => {
    // As slow as a wide-area link: what its own site has of it is soon there.
    const origin = await seeder(t, { ...HERE, uploadBytesPerSecondLimit: 4_000_000 })
    const own = await joined(t, "own", HERE, origin.swarm)
    const others = await Promise.all([1, 2, 3, 4].map((number) => joined(t, `other ${number}`, THERE, origin.swarm)))
    await Promise.all([own, ...others].map((session) => session.whenComplete()))
    for (const session of [own, ...others]) assert.deepEqual(await readAll(session), content)
    assert.equal(across([own]), 0)
    assert.ok(across(others) < 1.15, `${across(others)} copies`)
    const late = await joined(t, "late", THERE, origin.swarm)
    await late.whenComplete()
    assert.ok(across([late]) < 0.05, `${across([late])} copies`)
  },
)

test("a server's word on what its site may send to others holds for the site's clients too", TIMEOUT, async (t) => {
  const origin = await seeder(t, { ...HERE, wanBytesPerSecondLimit: 1_000_000 })
  const own = await joined(t, "own", HERE, origin.swarm)
  await own.whenComplete()
  const other = await joined(t, "other", THERE, origin.swarm)
  await eventually(() => across([other]) > 0)
  const [startedAtMs, before] = [performance.now(), across([other])]
  await eventually(() => across([other]) - before > 0.2)
  const bytesPerSecond = ((across([other]) - before) * content.length * 1_000) / (performance.now() - startedAtMs)
  assert.ok(bytesPerSecond < 1_300_000, `${bytesPerSecond} bytes per second`)
  // Its own site is not held back.
  const newcomer = await joined(t, "newcomer", HERE, origin.swarm)
  await newcomer.whenComplete()
  assert.ok(across([other]) < 1)
})
