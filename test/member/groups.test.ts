/** What members that were away, and servers that were down, find of a group that changed meanwhile. */
import { hash } from "node:crypto"
import assert from "node:assert/strict"
import { test } from "node:test"
import { requireImageIdentity } from "../../client/open-image.ts"
import { systemClock } from "../../core/clock.ts"
import { groupName, imageQuery, memberId, ownImageQuery } from "../../core/identifiers.ts"
import { GROUP_KEYS_MAX, readMembershipAnswer, routes } from "../../core/wire.ts"
import { findImage } from "../../member/image-sources.ts"
import { readMembership } from "../../member/membership.ts"
import type { Member } from "../../member/member.ts"
import { outdatedOf } from "../../member/renewal.ts"
import { DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { grantImage } from "../../nodes/grants.ts"
import { addToGroup, createGroup, removeFromGroup } from "../../nodes/groups.ts"
import { TestSite, until } from "./site.ts"

const lab = groupName("lab")
const stranger = memberId("ab".repeat(16))

/** The image's identity, or the code of the refusal. */
function opens(member: Member, image: string): string {
  return requireImageIdentity(findImage(member.images, imageQuery(image)), { site: member.home.site, secrets: member.secrets })
}

function generations(member: Pick<Member, "secrets">, group: string): number[] {
  const held = member.secrets.groups.filter(({ name }) => name === group).map(({ generation }) => generation)
  return held.sort((a, b) => a - b)
}

test("a client that was removed while it was away comes back to a certificate without the group, and what is granted then is closed to it", async () => {
  await using site = await TestSite.start()
  const away = await site.join("away")
  await site.publish("os:1")
  await removeFromGroup(await site.parts(), DEFAULT_GROUP, [away.memberId])
  await site.publish("os:2")

  const member = await site.member(away)
  await member.catalogs.refresh()
  // With what it kept: the old image opens, the new one is sealed to a key that it never had.
  assert.match(opens(member, "os:1"), /^AGE-SECRET-KEY-1/)
  assert.throws(() => opens(member, "os:2"), { code: "GRANT_MISSING", message: /another key of default than this member has/ })
  assert.deepEqual(outdatedOf(member), ["a certificate with its groups of now"])

  await member.renew()
  assert.deepEqual(member.certificate.groups, [])
  assert.deepEqual(member.secrets.groups, [])
  assert.deepEqual(outdatedOf(member), [])
  assert.throws(() => opens(member, "os:2"), { code: "GRANT_MISSING", message: /this member's groups: none/ })
})

test("a certificate from before the removal, which names the group still, gets none of its keys at a renewal", async () => {
  await using site = await TestSite.start()
  const away = await site.join("away")
  const member = await site.member(away)
  await removeFromGroup(await site.parts(), DEFAULT_GROUP, [away.memberId])
  assert.deepEqual(member.certificate.groups, ["default"])
  const [server] = member.directory.issuers()
  assert.ok(server !== undefined)
  const request = { method: "POST", path: routes.renew, body: { clockMs: systemClock.nowMs() } } as const
  const { certificate, secrets } = readMembership(
    await member.api.json(server, request, readMembershipAnswer),
    away.identity,
    member.admission,
  )
  assert.deepEqual(certificate.groups, [])
  assert.deepEqual(secrets.groups, [])
})

test("the clients that stay get the new generation by renewal, and open what is granted to it and what was before", async () => {
  await using site = await TestSite.start()
  const stays = await site.join("stays")
  await site.publish("os:1")
  await removeFromGroup(await site.parts(), DEFAULT_GROUP, [stranger])
  await site.publish("os:2")

  const member = await site.member(stays)
  await member.catalogs.refresh()
  assert.deepEqual(outdatedOf(member), ["generation 2 of the key of group default"])
  await member.renew()
  assert.deepEqual(outdatedOf(member), [])
  assert.deepEqual(generations(member, "default"), [1, 2])
  assert.notEqual(opens(member, "os:1"), opens(member, "os:2"))

  // Granted anew, the old image is sealed to the newest generation alone.
  const granted = await grantImage(await site.parts(), ownImageQuery("os"), DEFAULT_GROUP)
  assert.deepEqual(granted?.images, ["os:1"])
  await member.catalogs.refresh()
  assert.deepEqual(
    member.catalogs.catalog.grants.get("os:1")?.grants.map((grant) => grant.generation),
    [2],
  )
  assert.match(opens(member, "os:1"), /^AGE-SECRET-KEY-1/)
})

test("a client that is added to a second group gets its key by renewal, and leaves it again when it is removed", async () => {
  await using site = await TestSite.start()
  const home = await site.join("client")
  const member = await site.member(home)
  await createGroup(await site.parts(), lab)
  await site.publish("lab/os:1", ["lab"])
  await addToGroup(await site.parts(), lab, [home.memberId])
  assert.equal(await addToGroup(await site.parts(), lab, [home.memberId]), null, "once is enough")

  await member.catalogs.refresh()
  assert.throws(() => opens(member, "lab/os:1"), { code: "GRANT_MISSING" })
  await member.renew()
  assert.deepEqual([...member.certificate.groups].sort(), ["default", "lab"])
  assert.match(opens(member, "lab/os:1"), /^AGE-SECRET-KEY-1/)

  await removeFromGroup(await site.parts(), lab, [home.memberId])
  assert.equal(await removeFromGroup(await site.parts(), lab, [home.memberId]), null, "gone is gone")
  const group = () => site.server.member.catalogs.catalog.site.groups.find(({ name }) => name === "lab")
  assert.deepEqual([group()?.generation, group()?.added, group()?.removed], [2, [], [home.memberId]])
  await member.catalogs.refresh()
  await member.renew()
  assert.deepEqual(member.certificate.groups, ["default"])

  await addToGroup(await site.parts(), lab, [home.memberId])
  assert.deepEqual([group()?.generation, group()?.added, group()?.removed], [2, [home.memberId], []])
  await member.catalogs.refresh()
  await member.renew()
  assert.deepEqual(generations(member, "lab"), [1, 2])
})

test("a server that was down during a removal fetches the new key from its fellow, and hands it to clients when that one is gone", async () => {
  await using site = await TestSite.start()
  const secondHome = await site.joinServer("second")
  // Both run once, so that they and the client know of each other.
  const before = await site.run(secondHome)
  await until("the first server knows of the second", () => site.server.member.directory.records().length === 2)
  const client = await site.join("client")
  await before[Symbol.asyncDispose]()

  await removeFromGroup(await site.parts(), DEFAULT_GROUP, [stranger])
  const second = await site.run(secondHome)
  await until("the second server has both generations", () => generations(second.member, "default").length === 2)
  assert.deepEqual(outdatedOf(second.member), [])
  await until("the second server has told where it listens now", () =>
    site.server.member.directory.records().some(({ api }) => api === second.apiAddress),
  )
  const member = await site.member(client)
  await member.directory.consider(site.server.member.directory.records())
  await site.server[Symbol.asyncDispose]()

  await member.catalogs.refresh()
  assert.deepEqual(outdatedOf(member), ["generation 2 of the key of group default"])
  await member.renew()
  assert.deepEqual(outdatedOf(member), [])
  assert.deepEqual(generations(member, "default"), [1, 2])
})

test("groups that are not there, are there already, or are named out of form are refused", async () => {
  await using site = await TestSite.start()
  const parts = await site.parts()
  await assert.rejects(createGroup(parts, DEFAULT_GROUP), { code: "GROUP_EXISTS" })
  await assert.rejects(addToGroup(parts, lab, [stranger]), { code: "GROUP_UNKNOWN", message: /has default/ })
  await assert.rejects(removeFromGroup(parts, lab, [stranger]), { code: "GROUP_UNKNOWN" })
  const client = await site.join("client")
  await assert.rejects(createGroup({ ...parts, home: client }, lab), { code: "KEY_MISSING" })
  assert.equal((await client.secrets()).groups.length, 1, "a client's home is left as it was")
})

test("a home that is full of keys lets go of those that nothing is sealed to any more, and refuses when all are needed", async () => {
  await using site = await TestSite.start()
  const key = (generation: number, index: number) => ({ name: "default", generation, secretKey: hash("sha256", `group key ${index}`) })
  const fill = (generation: number) =>
    site.home.updateSecrets((held) => ({
      ...held,
      groups: [...held.groups, ...Array.from({ length: GROUP_KEYS_MAX - held.groups.length }, (_, index) => key(generation, index))],
    }))
  const remove = async (word: string) => removeFromGroup(await site.parts(), DEFAULT_GROUP, [memberId(word.repeat(16))])
  await site.publish("os:1")
  await remove("ab")
  await remove("cd")
  await site.publish("os:2")
  await fill(2)
  await remove("ef")
  const { groups } = await site.home.secrets()
  assert.deepEqual(
    groups.map(({ generation }) => generation),
    [4, 3, 1],
    "the first opens os:1, the third os:2, and the fourth is in force",
  )
  await fill(9)
  await assert.rejects(remove("01"), { code: "KEYS_TOO_MANY", message: /'imagegrid grant NAME --group GROUP'/ })
  assert.equal((await site.home.secrets()).groups.length, GROUP_KEYS_MAX)
})
