/** The danger: a group's new key lies in the server's home while its change waits for signatures, and whoever is to be removed renews meanwhile. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { groupName, memberId } from "../../core/identifiers.ts"
import type { MemberSecrets } from "../../core/wire.ts"
import { addToGroup, createGroup, removeFromGroup } from "../../nodes/groups.ts"
import { DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { finishChange } from "../../nodes/make-change.ts"
import { TestSite } from "../member/site.ts"

test("a key whose change waits for signatures is given to no client, and to those who stay once the change is in force", async () => {
  await using site = await TestSite.start()
  const [goes, stays] = [await site.member(await site.join("goes")), await site.member(await site.join("stays"))]
  const waiting = await removeFromGroup(await site.parts("no keys"), DEFAULT_GROUP, [goes.home.memberId])
  assert.equal(waiting?.applied, false)
  await site.server.member.reloadSecrets()
  assert.deepEqual(
    site.server.member.secrets.groups.map(({ generation }) => generation),
    [2, 1],
  )
  for (const member of [goes, stays]) {
    await member.renew()
    assert.deepEqual(
      member.secrets.groups.map(({ generation }) => generation),
      [1],
    )
  }

  const made = await finishChange(await site.parts(), waiting.files, waiting.change)
  assert.equal(made.applied, true)
  for (const member of [goes, stays]) {
    await member.catalogs.refresh()
    await member.renew()
  }
  assert.deepEqual(goes.secrets.groups, [])
  assert.deepEqual(
    stays.secrets.groups.map(({ generation }) => generation),
    [2, 1],
  )
})

test("of two keys that were made for one generation, every server ends with the one that the signed document names", async () => {
  await using site = await TestSite.start()
  const second = await site.run(await site.joinServer("second"))
  const parts = await site.parts("no keys")
  const first = await removeFromGroup(parts, DEFAULT_GROUP, [memberId("aa".repeat(16))])
  const later = await removeFromGroup(parts, DEFAULT_GROUP, [memberId("bb".repeat(16))])
  assert.ok(first !== null && later !== null)
  // The second server gets both while neither is in force.
  await site.server.member.reloadSecrets()
  await second.member.renew()
  assert.deepEqual(keysOf(second.member.secrets), keysOf(await site.home.secrets()))
  await finishChange(await site.parts(), first.files, first.change)

  const client = await site.member(await site.join("client"))
  const { groups } = client.secrets
  assert.deepEqual(
    groups.map(({ generation }) => generation),
    [2, 1],
  )
  await second.member.catalogs.refresh()
  await second.member.renew()
  for (const held of groups) assert.ok(second.member.secrets.groups.some(({ secretKey }) => secretKey === held.secretKey))
})

function keysOf({ groups }: Pick<MemberSecrets, "groups">): string[] {
  return groups.map(({ secretKey }) => secretKey).sort()
}

test("a group that waits to be created lets nobody in", async () => {
  await using site = await TestSite.start()
  const lab = groupName("lab")
  const member = await site.member(await site.join("client"))
  assert.equal((await createGroup(await site.parts("no keys"), lab)).applied, false)
  await site.server.member.reloadSecrets()
  await assert.rejects(addToGroup(await site.parts(), lab, [member.home.memberId]), { code: "GROUP_UNKNOWN" })
  await assert.rejects(site.invite({ group: lab }), { code: "GROUP_UNKNOWN" })
})
