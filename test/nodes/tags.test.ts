/** Names that move: made, moved and taken away at a server, and what they keep from being retired. */
import assert from "node:assert/strict"
import { mkdtempSync, readFileSync, realpathSync } from "node:fs"
import { join } from "node:path"
import { after, test } from "node:test"
import { saveDeployment } from "../../client/deployment-record.ts"
import { verifyTarget } from "../../client/verify.ts"
import { systemClock } from "../../core/clock.ts"
import { imageQuery, imageRef, imageVersion, ownImageQuery, siteName, type Infohash, type Sha256 } from "../../core/identifiers.ts"
import { findImage } from "../../member/image-sources.ts"
import { silentLog } from "../../member/log.ts"
import { exportBundle } from "../../nodes/export-bundle.ts"
import { acceptOffer } from "../../nodes/federate.ts"
import { grantImage } from "../../nodes/grants.ts"
import { importBundle } from "../../nodes/import-bundle.ts"
import { makeOffer, readOffer } from "../../nodes/offer.ts"
import { retireImages, setRetention } from "../../nodes/retire.ts"
import { tagImage, untagImage } from "../../nodes/tag.ts"
import { comesBack, TestSite, until } from "../member/site.ts"

const site = await TestSite.start()
after(() => site[Symbol.asyncDispose]())
const second = await site.run(await site.joinServer("second"))
const catalog = () => site.server.member.catalogs.catalog
const find = (image: string) => findImage(site.server.member.images, imageQuery(image))
const tag = async (image: string, version: string) => tagImage(await site.parts(), imageRef(image), imageVersion(version))

test("a tag names a version, then another, and all servers hear of it", async () => {
  for (const image of ["os:1", "os:2"]) await site.publish(image)
  const made = await tag("os:stable", "1")
  assert.deepEqual([made?.applied, made?.version, made?.was], [true, "1", null])
  assert.deepEqual([find("os:stable").manifest.version, find("os:stable").tag], ["1", "stable"])
  assert.deepEqual([find("os:1").tag, find("os").tag, find("os").manifest.version], [null, null, "2"])
  assert.equal(await tag("os:stable", "1"), null, "it does so already")
  assert.equal((await tag("os:stable", "2"))?.was, "1")
  await until("the second server has it", () => second.member.catalogs.catalog.tags.get("os")?.document.tags[0]?.version === "2")
  assert.equal(findImage(second.member.images, imageQuery("os:stable")).manifest.version, "2")
})

test("it can be given the version that another tag names", async () => {
  assert.equal((await tag("os:testing", "stable"))?.version, "2")
  assert.deepEqual(
    catalog()
      .tags.get("os")
      ?.document.tags.map(({ tag: name, version }) => [name, version]),
    [
      ["stable", "2"],
      ["testing", "2"],
    ],
  )
})

test("what there is not can't be tagged, and what is a version is no tag, nor the other way round", async () => {
  await assert.rejects(tag("os:stable", "9"), { code: "IMAGE_UNKNOWN" })
  await assert.rejects(tag("none:stable", "1"), { code: "IMAGE_UNKNOWN" })
  await assert.rejects(tag("os:1", "2"), { code: "IMAGE_EXISTS" })
  await assert.rejects(site.publish("os:stable"), { code: "TAG_EXISTS" })
  assert.equal(find("os:stable").manifest.version, "2")
})

test("without a key of the publisher nothing is tagged or untagged", async () => {
  const parts = await site.parts("no keys")
  await assert.rejects(tagImage(parts, imageRef("os:stable"), imageVersion("1")), { code: "KEY_MISSING" })
  await assert.rejects(untagImage(parts, imageRef("os:stable")), { code: "KEY_MISSING" })
})

test("a version is granted by its tag", async () => {
  const made = await grantImage(await site.parts(), ownImageQuery("os:stable"), "default")
  assert.equal(made, null, "it is granted to that group already")
  await assert.rejects(grantImage(await site.parts(), ownImageQuery("os:other"), "default"), { code: "IMAGE_UNKNOWN" })
})

test("a version that a tag names is not retired, by rule or by hand, until the tag has moved", async () => {
  const retire = async (image: string) => retireImages(await site.parts(), [imageRef(image)])
  await assert.rejects(retire("os:2"), {
    code: "IMAGE_TAGGED",
    message: /the tag stable names; move it first with 'imagegrid tag os:stable VERSION'/,
  })
  await assert.rejects(retire("os:stable"), { code: "IMAGE_TAGGED" })
  assert.ok((await setRetention(await site.parts(), ["os"], 1)).applied)
  await site.publish("os:3")
  const inUse = () => [...catalog().grants].filter(([, { retiredAtMs }]) => retiredAtMs === null).map(([image]) => image)
  assert.deepEqual(inUse(), ["os:2", "os:3"])
  for (const name of ["stable", "testing"]) await tag(`os:${name}`, "3")
  assert.deepEqual((await retire("os:2"))?.images, ["os:2"])
  await assert.rejects(tag("os:stable", "2"), { code: "IMAGE_RETIRED" })
})

test("a tag that is taken away is gone, and its version is not", async () => {
  assert.equal((await untagImage(await site.parts(), imageRef("os:testing"))).version, "3")
  assert.throws(() => find("os:testing"), { code: "IMAGE_UNKNOWN", message: /its tags stable/ })
  assert.equal(find("os:3").manifest.version, "3")
  await assert.rejects(untagImage(await site.parts(), imageRef("os:testing")), { code: "TAG_UNKNOWN", message: /os has stable/ })
})

test("the audit log says who moved what", async () => {
  const lines = readFileSync(join(site.home.directory, "audit.jsonl"), "utf8").trim().split("\n")
  const entries = lines.map((line) => JSON.parse(line) as { event: string; actor: { kind: string }; what: object })
  const moves = entries.filter(({ event }) => event === "tagged" || event === "untagged")
  assert.ok(moves.every(({ actor }) => actor.kind === "keys"))
  assert.deepEqual(
    moves.map(({ event, what }) => [event, what]),
    [
      ["tagged", { image: "os:1", tag: "stable" }],
      ["tagged", { image: "os:2", tag: "stable", was: "1" }],
      ["tagged", { image: "os:2", tag: "testing" }],
      ["tagged", { image: "os:3", tag: "stable", was: "2" }],
      ["tagged", { image: "os:3", tag: "testing", was: "2" }],
      ["untagged", { image: "os:3", tag: "testing" }],
    ],
  )
})

test("what was deployed is not taken for a tag that has its version's name since", async () => {
  await tag("os:gone", "3")
  const home = await site.join("client")
  await (await comesBack(home)).close()
  const target = realpathSync(mkdtempSync(join(site.directory, "target-")))
  const infohashes = { fullInfohash: "ab".repeat(20) as Infohash, indexInfohash: "ab".repeat(20) as Infohash }
  const digests = {
    indexSha256: "ab".repeat(32) as Sha256,
    laidSha256: "ab".repeat(32) as Sha256,
    expectedSha256: "ab".repeat(32) as Sha256,
  }
  const place = { target, device: "1", inode: "1", stage: target, host: "node1", excluded: [], update: null }
  const image = { site: "demo", name: "os", version: "gone" }
  await saveDeployment(home, {
    format: "imagegrid-deployment-1",
    ...place,
    ...image,
    ...infohashes,
    ...digests,
    state: "good",
    changedAtMs: 0,
  })
  const parts = { home, clock: systemClock, signal: new AbortController().signal, onProgress: () => {} }
  await assert.rejects(verifyTarget(parts, target), { code: "IMAGE_UNKNOWN", message: /os:gone, which was deployed, .* is a tag now/ })
})

test("another site's tags come with its images: through the network where it shares them, and in a bundle", async () => {
  await using lab = await TestSite.start(undefined, { site: siteName("lab") })
  const agree = async (by: TestSite, of: TestSite, shares: readonly string[], mirrors: readonly string[]) =>
    acceptOffer(await by.parts(), await readOffer(await makeOffer(await of.parts()), Date.now()), { shares, mirrors })
  await agree(lab, site, [], ["os"])
  await agree(site, lab, ["os"], [])
  await until("lab has the tags", () => lab.server.member.federation.catalogs.newest("demo")?.tags.size === 1)
  const found = findImage(lab.server.member.images, imageQuery("demo/os:stable"))
  assert.deepEqual([found.manifest.site, found.manifest.version, found.tag], ["demo", "3", "stable"])

  await site.publish("other:1")
  await tag("other:stable", "1")
  assert.throws(() => findImage(lab.server.member.images, imageQuery("demo/other:stable")), { code: "IMAGE_UNKNOWN" })

  // From here on no server of demo knows what its administrator does; it is carried.
  await site.stop()
  assert.equal((await tag("os:lts", "stable"))?.applied, true)
  const { signal } = new AbortController()
  const parts = { clock: systemClock, log: silentLog, signal, onProgress: () => {} }
  const file = join(site.directory, "os.tar")
  assert.deepEqual((await exportBundle({ ...parts, home: site.home }, [imageQuery("os:lts")], file)).images, ["os:3"])
  assert.deepEqual((await importBundle({ ...parts, home: lab.home }, file)).newerCatalogs, ["demo"])
  assert.equal(findImage(lab.server.member.images, imageQuery("demo/os:lts")).manifest.version, "3")
})
