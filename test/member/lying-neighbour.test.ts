/** The danger: a neighbour says that there is a newer catalog and there is none: to cost others work, or to keep honest news from them. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { infohash, type Infohash } from "../../core/identifiers.ts"
import { makeTorrent } from "../../core/torrent.ts"
import { CATALOG_BYTES_MAX } from "../../core/wire.ts"
import { Informants } from "../../member/informants.ts"
import type { Member } from "../../member/member.ts"
import { hash } from "node:crypto"
import { MemoryPieceStore } from "../../store/memory-piece-store.ts"
import { eventually } from "../swarm/fixture.ts"
import { makeNeighbours } from "./neighbours.ts"
import { TestSite } from "./site.ts"

const TIMEOUT = { timeout: 60_000 }
const FAR_AHEAD = 10 ** 15
const MINUTE_MS = 60_000

type Scene = { readonly member: Member; readonly liar: Member; readonly honest: Member; readonly newest: Buffer; readonly vain: string[] }

/** A member between a liar and an honest one, who has a newer catalog in hand and has told nobody; no server runs. */
async function scene(site: TestSite): Promise<Scene> {
  const homes = [await site.join("member"), await site.join("liar"), await site.join("honest")] as const
  await site.revoke("ab".repeat(16))
  await site.stop()
  const newest = await site.home.catalogBytes(CATALOG_BYTES_MAX)
  const vain: string[] = []
  const log = {
    info: (fields: object, message: string) => {
      if (message === "news of a catalog was vain") vain.push("reason" in fields ? String(fields.reason) : "")
    },
    warn: () => {},
  }
  const [member, liar, honest] = [await site.runMember(homes[0], log), await site.runMember(homes[1]), await site.runMember(homes[2])]
  await makeNeighbours(member, liar)
  await makeNeighbours(member, honest)
  return { member, liar, honest, newest, vain }
}

function seedAs(liar: Member, name: string, content: Buffer): Infohash {
  const torrent = makeTorrent({ name, contentBytes: content.length, pieceBytes: 64 * 1024, pieceDigests: hash("sha1", content, "buffer") })
  liar.swarm.join(torrent, MemoryPieceStore.full(torrent, content))
  return torrent.infohash
}

/** The liar speaks again and again; one fetch is made of it, and then the honest one is heard. */
async function liesInVain(scenery: Scene, told: Infohash): Promise<void> {
  const { member, liar, honest, newest, vain } = scenery
  const before = member.catalogs.catalog.seq
  liar.swarm.setNews({ seq: FAR_AHEAD, infohash: told })
  await eventually(() => vain.length === 1)
  liar.swarm.setNews({ seq: FAR_AHEAD + 1, infohash: told })
  liar.swarm.setNews({ seq: FAR_AHEAD + 2, infohash: told })
  assert.equal(member.catalogs.catalog.seq, before)
  assert.equal(member.catalogs.freshness().newestSeqHeard, null)
  await honest.catalogs.consider(newest, null)
  await eventually(() => member.catalogs.catalog.seq === honest.catalogs.catalog.seq)
  assert.equal(vain.length, 1)
}

test("news of a catalog that nobody has costs one search, and honest news comes through", TIMEOUT, async () => {
  await using site = await TestSite.start()
  await liesInVain(await scene(site), infohash("ab".repeat(20)))
})

test("news of a forged catalog costs one download, and honest news comes through", TIMEOUT, async () => {
  await using site = await TestSite.start()
  const scenery = await scene(site)
  const forged = Buffer.from(scenery.newest)
  forged.write("forged", forged.indexOf('"revoked":['))
  await liesInVain(scenery, seedAs(scenery.liar, "imagegrid-catalog", forged))
})

test("news that names something else, such as a layer, is not downloaded", TIMEOUT, async () => {
  await using site = await TestSite.start()
  const scenery = await scene(site)
  await liesInVain(scenery, seedAs(scenery.liar, "layer.age", Buffer.alloc(50_000, 7)))
  assert.match(scenery.vain[0] ?? "", /no catalog/)
})

test("news of an older catalog, or of the very one that is kept, under a higher number changes nothing", TIMEOUT, async () => {
  await using site = await TestSite.start()
  const oldest = await site.home.catalogBytes(CATALOG_BYTES_MAX)
  await site.revoke("cd".repeat(16))
  const scenery = await scene(site)
  await liesInVain(scenery, seedAs(scenery.liar, "imagegrid-catalog", oldest))
})

test("honest news that comes while a liar is followed is followed next", TIMEOUT, async () => {
  await using site = await TestSite.start()
  const { member, liar, honest, newest } = await scene(site)
  liar.swarm.setNews({ seq: FAR_AHEAD, infohash: infohash("cd".repeat(20)) })
  await eventually(() => member.catalogs.freshness().newestSeqHeard?.seq === FAR_AHEAD)
  await honest.catalogs.consider(newest, null)
  await eventually(() => member.catalogs.catalog.seq === honest.catalogs.catalog.seq)
})

test("whoever spoke in vain is not believed for five minutes, then for an hour, and is again once it was right", () => {
  const informants = new Informants()
  assert.ok(informants.believes("liar", 0))
  informants.wasVain("liar", 0)
  assert.deepEqual([informants.believes("liar", 5 * MINUTE_MS - 1), informants.believes("liar", 5 * MINUTE_MS)], [false, true])
  informants.wasVain("liar", 5 * MINUTE_MS)
  assert.deepEqual([informants.believes("liar", 65 * MINUTE_MS - 1), informants.believes("liar", 65 * MINUTE_MS)], [false, true])
  assert.ok(informants.believes("another", 1))
  informants.wasTrue("liar")
  informants.wasVain("liar", 70 * MINUTE_MS)
  assert.ok(informants.believes("liar", 75 * MINUTE_MS))
})
