import assert from "node:assert/strict"
import { test } from "node:test"
import pino from "pino"
import { signingKeyFromSeed, sign } from "../../crypto/identity.ts"
import { infohash } from "../../core/identifiers.ts"
import { POINTER_SALT } from "../../member/catalog-keeper.ts"
import { freshnessWarnings, type Freshness } from "../../member/freshness.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { ImageServer } from "../../nodes/server.ts"
import { eventually } from "../swarm/fixture.ts"
import { clockOff, TestSite } from "./site.ts"

const TIMEOUT = { timeout: 60_000 }
const HOUR_MS = 3_600_000
const fresh: Freshness = { seq: 5, signedAtMs: 0, expiresAtMs: 72 * HOUR_MS, newestSeqHeard: null, newerKnown: null, confirmedAtMs: null }

test("a view is called old after an hour, unless a server that signs had nothing newer; and after 37 hours anyway", () => {
  assert.deepEqual(freshnessWarnings(fresh, HOUR_MS), [])
  assert.deepEqual(freshnessWarnings(fresh, HOUR_MS + 60_000), [
    "the site's metadata was signed 1 h 1 min ago; no newer one could be reached",
  ])
  assert.deepEqual(freshnessWarnings({ ...fresh, confirmedAtMs: 30 * HOUR_MS }, 30 * HOUR_MS), [])
  assert.equal(freshnessWarnings({ ...fresh, confirmedAtMs: 20 * HOUR_MS }, 30 * HOUR_MS).length, 1)
  assert.deepEqual(freshnessWarnings({ ...fresh, confirmedAtMs: 51 * HOUR_MS }, 51 * HOUR_MS), [
    "the site's metadata was signed 2 d 3 h ago; no newer one could be reached",
  ])
})

test("a newer catalog that nobody gives is spoken of whatever the age", () => {
  assert.match(freshnessWarnings({ ...fresh, newerKnown: 9 }, 0).join(), /^a newer catalog exists \(seq 9\) but nobody gives it/)
})

test("a client that reaches a server that signs has a view without warnings", TIMEOUT, async () => {
  // TLS compares certificates with the machine's own clock: who is to be late joins before.
  let hoursLater = 0
  const late = { nowMs: () => clockOff(hoursLater * HOUR_MS).nowMs() }
  await using site = await TestSite.start(late)
  const home = await site.join("client", late)
  hoursLater = 20
  const client = await Member.start({ home, clock: late, log: silentLog }, { network: "api-only" })
  try {
    await client.catalogs.refresh()
    const freshness = client.catalogs.freshness()
    assert.equal(freshness.confirmedAtMs !== null && late.nowMs() - freshness.signedAtMs > 19 * HOUR_MS, true)
    assert.deepEqual(freshnessWarnings(freshness, late.nowMs()), [])
  } finally {
    await client.close()
  }
})

/** A site of which a mirror is left, which has what it was given last. */
async function mirrorAlone(site: TestSite, hours: number): Promise<ImageServer> {
  const home = await site.joinServer("mirror", "mirror")
  const logger = pino({ level: "silent" })
  const first = await ImageServer.start({ home, clock: clockOff(0), logger })
  const { memberId } = home
  await eventually(() => site.server.member.directory.records().some((record) => record.memberId === memberId))
  await eventually(() => first.member.catalogs.catalog.seq === site.server.member.catalogs.catalog.seq)
  await first[Symbol.asyncDispose]()
  return ImageServer.start({ home, clock: clockOff(hours * HOUR_MS), logger })
}

test("a client that can reach only a stale mirror says how old its view is, and refuses it once it has expired", TIMEOUT, async () => {
  await using site = await TestSite.start()
  await using stack = new AsyncDisposableStack()
  stack.use(await mirrorAlone(site, 51))
  await eventually(() => site.server.member.directory.records().length === 2)
  const home = await site.join("client")
  await site.stop()
  const open = (hours: number) => Member.start({ home, clock: clockOff(hours * HOUR_MS), log: silentLog }, { network: "api-only" })

  const client = await open(51)
  const { answers } = await client.catalogs.refresh()
  const freshness = client.catalogs.freshness()
  assert.deepEqual([answers, freshness.confirmedAtMs, freshness.newerKnown], [1, null, null])
  assert.equal(freshness.expiresAtMs - freshness.signedAtMs, 72 * HOUR_MS)
  assert.deepEqual(freshnessWarnings(freshness, clockOff(51 * HOUR_MS).nowMs()), [
    "the site's metadata was signed 2 d 3 h ago; no newer one could be reached",
  ])
  client.catalogs.requireFresh()
  await client.close()

  const late = await open(73)
  await late.catalogs.refresh()
  assert.throws(() => late.catalogs.requireFresh(), { code: "CATALOG_EXPIRED" })
  await late.close()
})

test(
  "a client that sees a signed pointer to a newer catalog says that nobody gives it, and still knows at its next start",
  TIMEOUT,
  async () => {
    await using site = await TestSite.start()
    const { pointers = [] } = site.server.member.secrets.online ?? {}
    const key = signingKeyFromSeed(Buffer.from(pointers[0] ?? "", "hex"))
    const home = await site.join("client")
    const client = await Member.start({ home, clock: clockOff(0), log: silentLog })
    const { seq } = client.catalogs.catalog
    const newer = { signing: { publicKeyHex: key.publicKeyHex, sign: (message: Buffer) => sign(key, message) }, salt: POINTER_SALT }
    await site.server.member.dht.putPointer({ ...newer, seq: seq + 5, infohash: infohash("ab".repeat(20)) })
    await client.catalogs.refresh()
    const { newerKnown, newestSeqHeard } = client.catalogs.freshness()
    assert.deepEqual([newerKnown, newestSeqHeard], [seq + 5, { seq: seq + 5, by: "pointer", who: key.publicKeyHex }])
    await client.close()

    const again = await Member.start({ home, clock: clockOff(0), log: silentLog }, { network: "api-only" })
    assert.equal(again.catalogs.freshness().newerKnown, seq + 5)
    await again.close()
  },
)

test("a peer's or a stranger's word makes nothing known as newer", TIMEOUT, async () => {
  await using site = await TestSite.start()
  const { catalogs } = site.server.member
  catalogs.heard({ seq: 10 ** 15, by: "peer", who: "ab".repeat(16) })
  catalogs.heardPointer({ publicKey: Buffer.alloc(32, 7), seq: 10 ** 15 })
  assert.equal(catalogs.freshness().newerKnown, null)
  assert.equal(catalogs.freshness().newestSeqHeard?.by, "peer")
})
