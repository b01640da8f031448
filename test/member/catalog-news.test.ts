import assert from "node:assert/strict"
import { test } from "node:test"
import { CATALOG_BYTES_MAX } from "../../core/wire.ts"
import { eventually } from "../swarm/fixture.ts"
import { makeNeighbours } from "./neighbours.ts"
import { TestSite } from "./site.ts"

const TIMEOUT = { timeout: 60_000 }

test("a revocation goes from neighbour to neighbour without a server, and cuts the revoked member at the far end", TIMEOUT, async () => {
  await using site = await TestSite.start()
  const homes = [await site.join("a"), await site.join("b"), await site.join("c"), await site.join("victim")] as const
  await site.revoke(homes[3].memberId)
  await site.stop()
  const newest = await site.home.catalogBytes(CATALOG_BYTES_MAX)
  const [a, b, c, victim] = [
    await site.runMember(homes[0]),
    await site.runMember(homes[1]),
    await site.runMember(homes[2]),
    await site.runMember(homes[3]),
  ]
  await makeNeighbours(a, b)
  await makeNeighbours(b, c)
  const withVictim = await makeNeighbours(c, victim)
  const peers = () => c.swarm.session(withVictim)?.statistics().peers
  assert.equal(peers(), 1)
  assert.equal(await a.catalogs.consider(newest, null), true)
  await eventually(() => c.catalogs.catalog.seq === a.catalogs.catalog.seq)
  assert.ok(c.admission.isRevoked(homes[3].memberId))
  await eventually(() => peers() === 0)
  assert.deepEqual(b.catalogs.bytes, newest)
})

test("a member that connects later is told by those who know", TIMEOUT, async () => {
  await using site = await TestSite.start()
  const [early, late] = [await site.join("early"), await site.join("late")]
  await site.revoke("ab".repeat(16))
  await site.stop()
  const knows = await site.runMember(early)
  await knows.catalogs.consider(await site.home.catalogBytes(CATALOG_BYTES_MAX), null)
  const comes = await site.runMember(late)
  await makeNeighbours(knows, comes)
  await eventually(() => comes.catalogs.catalog.seq === knows.catalogs.catalog.seq)
})

test("a running client that has no peers finds the newer catalog through the DHT", TIMEOUT, async () => {
  await using site = await TestSite.start()
  const client = await site.runMember(await site.join("client"))
  await eventually(() => client.dht.nodeCount() > 0)
  await site.revoke("cd".repeat(16))
  const { seq } = site.server.member.catalogs.catalog
  assert.ok(client.catalogs.catalog.seq < seq)
  await eventually(() => client.catalogs.catalog.seq === seq)
})

test("every fifth poll asks a server, so that a client whom the DHT tells nothing hears too", TIMEOUT, async () => {
  await using site = await TestSite.start()
  const home = await site.join("client")
  await site.revoke("ef".repeat(16))
  const client = await site.runMember(home)
  const { seq } = site.server.member.catalogs.catalog
  await client.dht.close()
  for (let polls = 0; polls < 4; polls += 1) await client.watch.poll()
  await client.watch.idle()
  const before = client.catalogs.catalog.seq
  await client.watch.poll()
  await client.watch.idle()
  assert.deepEqual([before < seq, client.catalogs.catalog.seq === seq], [true, true])
})
