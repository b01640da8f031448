/** Versions go out of use, and servers let go of what nobody needs. */
import assert from "node:assert/strict"
import { after, test } from "node:test"
import { systemClock } from "../../core/clock.ts"
import { imageQuery, imageRef, type Infohash } from "../../core/identifiers.ts"
import { findImage } from "../../member/image-sources.ts"
import { collectable } from "../../nodes/collection.ts"
import { pinImages, retireImages, reviveImages, setRetention } from "../../nodes/retire.ts"
import { ServerState } from "../../nodes/state.ts"
import { clockOff, TestSite, until } from "../member/site.ts"

const HOUR_MS = 3_600_000
const site = await TestSite.start()
after(() => site[Symbol.asyncDispose]())
const second = await site.run(await site.joinServer("second"))
const images = () => [...site.server.member.catalogs.catalog.images.keys()]
const find = (image: string) => findImage(site.server.member.images, imageQuery(image)).manifest
const layersOf = (image: string): Infohash[] =>
  site.server.member.catalogs.catalog.images.get(image)?.layers.map(({ infohash }) => infohash) ?? assert.fail(image)
const stored = async (image: string): Promise<boolean> => {
  const held = await site.server.member.layers.infohashes()
  return layersOf(image).every((infohash) => held.includes(infohash))
}

test("a retired version stays signed and listed, and is neither the newest nor to be deployed", async () => {
  for (const image of ["os:1", "os:2"]) await site.publish(image)
  const made = await retireImages(await site.parts(), [imageRef("os:2")])
  assert.deepEqual(made?.images, ["os:2"])
  assert.deepEqual(images(), ["os:1", "os:2"])
  assert.equal(find("os").version, "1")
  assert.throws(() => find("os:2"), { code: "IMAGE_RETIRED" })
  assert.equal(await retireImages(await site.parts(), [imageRef("os:2")]), null)
  await assert.rejects(retireImages(await site.parts(), [imageRef("os:9")]), { code: "IMAGE_UNKNOWN" })
  await assert.rejects(site.publish("os:2"), { code: "IMAGE_EXISTS" })
})

test("it comes back as it was", async () => {
  assert.deepEqual((await reviveImages(await site.parts(), [imageRef("os:2")]))?.images, ["os:2"])
  assert.equal(find("os").version, "2")
})

test("a rule retires what is older with each publication, but for what is pinned", async () => {
  await pinImages(await site.parts(), [imageRef("os:1")], true)
  assert.ok((await setRetention(await site.parts(), ["os"], 2)).applied)
  for (const image of ["os:3", "os:4"]) await site.publish(image)
  const { grants } = site.server.member.catalogs.catalog
  assert.deepEqual(
    [...grants].filter(([, { retiredAtMs }]) => retiredAtMs === null).map(([image]) => image),
    ["os:1", "os:3", "os:4"],
  )
  assert.ok((await setRetention(await site.parts(), ["os"], null)).applied)
  assert.deepEqual(site.server.member.catalogs.catalog.site.retention, [])
})

test("servers let go of its layers after an hour, and of nothing else", async () => {
  assert.ok(await stored("os:2"))
  await until("the second server has heard of all", () => second.member.catalogs.catalog.seq === site.server.member.catalogs.catalog.seq)
  // It looks as soon as it runs, and again when more than the hour has gone by.
  await site.restart(systemClock)
  const state = new ServerState(site.home.path("state.sqlite"))
  await until("the server has noted what it does not need", () =>
    layersOf("os:2").every((infohash) => state.unneededLayers().has(infohash)),
  )
  state.close()
  await site.restart(clockOff(HOUR_MS + 60_000))
  await until("the layers are gone", async () => !(await stored("os:2")))
  for (const image of ["os:1", "os:3", "os:4"]) assert.ok(await stored(image), image)
  assert.ok(layersOf("os:2").every((infohash) => site.server.member.swarm.session(infohash) === null))
  assert.ok(!(await site.server.member.layers.isWhole(layersOf("os:2")[0] ?? assert.fail())))
})

test("a version that is in use again is fetched from whoever holds it still", async () => {
  await reviveImages(await site.parts(), [imageRef("os:2")])
  await until("the layers are back", async () => await stored("os:2"))
})

test("what is collected: unneeded for an hour where a catalog names it, for thirty days where none does", () => {
  const [a, b, c] = ["a", "b", "c"].map((digit) => digit.repeat(40) as Infohash)
  assert.ok(a !== undefined && b !== undefined && c !== undefined)
  const collection = { stored: [a, b, c], needed: new Set([a]), named: new Set([a, b]) }
  const at = (nowMs: number, sinceMs: ReadonlyMap<string, number>) => collectable({ ...collection, unneededSinceMs: sinceMs, nowMs })
  assert.deepEqual(at(0, new Map()), { unneeded: [b, c], due: [] }, "what was never seen unneeded before is not due")
  const since = new Map([a, b, c].map((infohash) => [infohash, 0]))
  assert.deepEqual(at(HOUR_MS - 1, since).due, [])
  assert.deepEqual(at(HOUR_MS, since).due, [b])
  assert.deepEqual(at(30 * 24 * HOUR_MS - 1, since).due, [b])
  assert.deepEqual(at(30 * 24 * HOUR_MS, since).due, [b, c])
})
