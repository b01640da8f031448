import assert from "node:assert/strict"
import { after, before, test } from "node:test"
import { ownImageQuery, groupName, memberId, type GroupName } from "../../core/identifiers.ts"
import { mayOpen } from "../../crypto/grant.ts"
import { DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { grantImage, ungrantImage } from "../../nodes/grants.ts"
import { removeFromGroup } from "../../nodes/groups.ts"
import { TestSite } from "../member/site.ts"

const [lab, staff] = [groupName("lab"), groupName("staff")]
let site: TestSite

before(async () => {
  site = await TestSite.start(undefined, { groups: [lab, staff] })
  await site.publish("os:1", [DEFAULT_GROUP])
  await site.publish("os:2", [DEFAULT_GROUP, lab])
})
after(() => site[Symbol.asyncDispose]())

/** `GROUP/GENERATION` of an image's grants, those that the group's key really opens. */
async function grantsOf(image: string): Promise<string[]> {
  const grants = site.server.member.catalogs.catalog.grants.get(image)
  assert.ok(grants !== undefined)
  const { groups } = await site.home.secrets()
  for (const grant of grants.grants) {
    const own = groups.filter(({ name, generation }) => name === grant.group && generation === grant.generation)
    assert.ok(mayOpen({ ...grants, grants: [grant] }, own), `the key of ${grant.group} opens its grant of ${image}`)
  }
  return grants.grants.map(({ group, generation }) => `${group}/${generation}`).sort()
}

const grant = async (image: string, group: GroupName) => (await grantImage(await site.parts(), ownImageQuery(image), group))?.images ?? null
const ungrant = async (image: string, group: GroupName) =>
  (await ungrantImage(await site.parts(), ownImageQuery(image), group))?.images ?? null

test("an image is granted to as many groups as its publisher names", async () => {
  assert.deepEqual(await grantsOf("os:1"), ["default/1"])
  assert.deepEqual(await grantsOf("os:2"), ["default/1", "lab/1"])
})

test("a grant without a version is of all versions that lack it, in one change, and a second one changes nothing", async () => {
  const { seq } = site.server.member.catalogs.catalog
  assert.deepEqual(await grant("os", lab), ["os:1"])
  assert.deepEqual(await grant("os", staff), ["os:2", "os:1"])
  assert.equal(site.server.member.catalogs.catalog.seq, seq + 2)
  assert.equal(await grant("os", staff), null)
  assert.deepEqual(await grantsOf("os:1"), ["default/1", "lab/1", "staff/1"])
})

test("after a removal a grant replaces the group's older one, and the others stay", async () => {
  await removeFromGroup(await site.parts(), lab, [memberId("cd".repeat(16))])
  assert.deepEqual(await grantsOf("os:2"), ["default/1", "lab/1", "staff/1"])
  assert.deepEqual(await grant("os:2", lab), ["os:2"])
  assert.deepEqual(await grantsOf("os:2"), ["default/1", "lab/2", "staff/1"])
})

test("a grant is taken away from a group, and never the last one", async () => {
  assert.deepEqual(await ungrant("os", staff), ["os:2", "os:1"])
  assert.equal(await ungrant("os", staff), null)
  assert.deepEqual(await ungrant("os:1", lab), ["os:1"])
  await assert.rejects(ungrant("os:1", DEFAULT_GROUP), { code: "USAGE", message: /nobody could open it or grant it ever again/ })
  assert.deepEqual(await grantsOf("os:1"), ["default/1"])
  // One version that would be left with nobody keeps the change of all from being made.
  await assert.rejects(ungrant("os", DEFAULT_GROUP), { code: "USAGE" })
  assert.deepEqual(await grantsOf("os:2"), ["default/1", "lab/2"])
})

test("an unknown image or group is refused, and so is whoever has no key of the image's publisher or can't open it", async () => {
  await assert.rejects(grant("os:3", lab), { code: "IMAGE_UNKNOWN" })
  await assert.rejects(grant("os:1", groupName("nobody")), { code: "GROUP_UNKNOWN", message: /has default, lab, staff/ })
  await assert.rejects(ungrant("os:1", groupName("nobody")), { code: "GROUP_UNKNOWN" })
  await assert.rejects(grantImage(await site.parts("no keys"), ownImageQuery("os:1"), lab), { code: "KEY_MISSING" })
  const outsider = await site.joinServer("mirror", "mirror")
  await assert.rejects(grantImage({ ...(await site.parts()), home: outsider }, ownImageQuery("os:1"), lab), { code: "GRANT_MISSING" })
})
