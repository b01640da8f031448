import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import { test } from "node:test"
import { memberIdentity, sign } from "../../crypto/identity.ts"
import { rekeyProof } from "../../crypto/rekey-proof.ts"
import { systemClock } from "../../core/clock.ts"
import { readMembershipAnswer, routes } from "../../core/wire.ts"
import { Home } from "../../member/home.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { nextSeed, switchSteps } from "../../member/member-switch.ts"
import { outdatedOf } from "../../member/renewal.ts"
import { readMembership } from "../../member/membership.ts"
import { rekeyMember } from "../../member/rekey.ts"
import { makeChange } from "../../nodes/make-change.ts"
import { rekeyServer } from "../../nodes/rekey-server.ts"
import { comesBack, runServer, TestSite } from "./site.ts"
import { until } from "../swarm/dht-grid.ts"

const apiOnly = (home: Home): Promise<Member> => Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })

async function withMember<Result>(home: Home, use: (member: Member) => Promise<Result>): Promise<Result> {
  const member = await apiOnly(home)
  try {
    return await use(member)
  } finally {
    await member.close()
  }
}

/** What a server answers to a member's new keys; the home stays as it is. */
async function askForNewKeys(member: Member, seed: Uint8Array) {
  const identity = memberIdentity(seed)
  const keys = { signingKey: identity.signing.publicKeyHex, sealingKey: identity.sealing.publicKeyHex }
  const proof = sign(identity.signing, rekeyProof(member.home.memberId, keys.signingKey, keys.sealingKey)).toString("base64")
  const [server] = member.directory.issuers()
  assert.ok(server)
  const body = { clockMs: systemClock.nowMs(), rekey: { ...keys, proof } }
  const answer = await member.api.json(server, { method: "POST", path: routes.renew, body }, readMembershipAnswer)
  return readMembership(answer, identity, member.admission)
}

for (const role of ["client", "mirror"] as const)
  test(`a ${role} replaces its keys: another id, the same role and groups, and the old one is renewed no more`, async () => {
    await using site = await TestSite.start()
    const old = role === "client" ? await site.join("member") : await site.joinServer("member", "mirror")
    const before = await old.certificate()
    // The old key, as a thief has it, for later.
    const thief = await apiOnly(old)
    try {
      const renewed = await withMember(old, rekeyMember)
      assert.notEqual(renewed.memberId, old.memberId)
      const certificate = await renewed.certificate()
      assert.deepEqual([certificate.role, certificate.groups], [role, before.groups])
      assert.notEqual(certificate.sealingKeyHex, before.sealingKeyHex)
      const member = await comesBack(renewed)
      await member.renew()
      assert.deepEqual(outdatedOf(member), [])
      await member.close()
      await assert.rejects(thief.renew(), { code: "MEMBER_REPLACED", message: new RegExp(renewed.memberId) })
      await assert.rejects(askForNewKeys(thief, randomBytes(32)), { code: "MEMBER_REPLACED" })
    } finally {
      await thief.close()
    }
    for (const name of ["member.next", "member.switch"]) assert.equal(existsSync(old.path("keys", name)), false)
  })

test("a member keeps the groups that it is in now, not those of its certificate", async () => {
  await using site = await TestSite.start()
  const old = await site.join("member")
  const made = await makeChange(await site.parts(), () => ({
    site: (document) => ({ ...document, groups: document.groups.map((group) => ({ ...group, removed: [old.memberId] })) }),
  }))
  assert.ok(made.applied)
  const renewed = await withMember(old, rekeyMember)
  assert.deepEqual((await renewed.certificate()).groups, [])
  await withMember(renewed, async (member) => {
    await member.renew()
    assert.deepEqual(member.certificate.groups, [], "it does not get them back by another renewal")
  })
})

test("new keys without a proof by them, or with one for another member, are refused", async () => {
  await using site = await TestSite.start()
  const [home, other] = [await site.join("member"), await site.join("other")]
  await withMember(home, async (member) => {
    const identity = memberIdentity(randomBytes(32))
    const keys = { signingKey: identity.signing.publicKeyHex, sealingKey: identity.sealing.publicKeyHex }
    const stolen = sign(home.identity.signing, rekeyProof(home.memberId, keys.signingKey, keys.sealingKey))
    const moved = sign(identity.signing, rekeyProof(other.memberId, keys.signingKey, keys.sealingKey))
    const [server] = member.directory.issuers()
    assert.ok(server)
    for (const proof of [stolen, moved, Buffer.alloc(64), Buffer.alloc(0)]) {
      const body = { clockMs: systemClock.nowMs(), rekey: { ...keys, proof: proof.toString("base64") } }
      await assert.rejects(member.api.bytes(server, { method: "POST", path: routes.renew, body }), { code: "REQUEST_INVALID" })
    }
    await member.renew()
  })
})

test("an answer that was lost is given again to the same new keys, and nobody else's", async () => {
  await using site = await TestSite.start()
  const home = await site.join("member")
  const seed = await nextSeed(home.directory)
  await withMember(home, (member) => askForNewKeys(member, seed))
  const again = await withMember(await Home.open(home.directory), rekeyMember)
  assert.equal(again.memberId, memberIdentity(seed).memberId)
})

test("killed between any two steps, the home opens as the old member or the new one, and goes on", async (context) => {
  await using site = await TestSite.start()
  const count = switchSteps("", { seed: Buffer.alloc(32), certificateDer: Buffer.alloc(0) }).length
  for (let done = 0; done <= count; done++)
    await context.test(`after ${done} of ${count} steps`, async () => {
      const old = await site.join(`member-${done}`)
      const seed = await nextSeed(old.directory)
      const { certificate } = await withMember(old, (member) => askForNewKeys(member, seed))
      for (const step of switchSteps(old.directory, { seed, certificateDer: certificate.der }).slice(0, done)) await step()
      const opened = await Home.open(old.directory)
      assert.equal(opened.memberId, done === 0 ? old.memberId : memberIdentity(seed).memberId)
      assert.equal((await opened.certificate()).memberId, opened.memberId)
      const renewed = done === 0 ? await withMember(opened, rekeyMember) : opened
      assert.equal(renewed.memberId, memberIdentity(seed).memberId, "the same new member, however often it was cut off")
      const member = await comesBack(renewed)
      await member.renew()
      await member.close()
      for (const name of ["member.next", "member.switch"]) assert.equal(existsSync(old.path("keys", name)), false)
    })
})

test("a server replaces its keys by itself, is known to its fellows as another, and they renew the old one no more", async () => {
  await using site = await TestSite.start()
  const old = await site.joinServer("second", "server")
  {
    await using running = await runServer(old)
    await until(() => site.server.member.directory.records().length === 2 && running.member.directory.records().length === 2)
  }
  const thief = await apiOnly(old)
  try {
    const renewed = await rekeyServer({ home: old, clock: systemClock, log: silentLog, random: randomBytes })
    assert.notEqual(renewed.memberId, old.memberId)
    assert.doesNotMatch(readFileSync(renewed.path("servers.json"), "utf8"), new RegExp(old.memberId))
    await using running = await runServer(renewed)
    await until(() => site.server.member.directory.records().some(({ memberId }) => memberId === renewed.memberId))
    assert.deepEqual(outdatedOf(running.member), [])
    await assert.rejects(thief.renew(), { code: "MEMBER_REPLACED" })
  } finally {
    await thief.close()
  }
})

test("the only server of a site replaces its keys and needs nobody for it", async () => {
  await using site = await TestSite.start()
  const { member } = site.server
  const before = site.home.memberId
  await site.server[Symbol.asyncDispose]()
  const renewed = await rekeyServer({ home: site.home, clock: systemClock, log: silentLog, random: randomBytes })
  await using server = await runServer(renewed)
  assert.notEqual(server.member.home.memberId, before)
  assert.equal(server.member.catalogs.catalog.seq, member.catalogs.catalog.seq)
  assert.deepEqual(outdatedOf(server.member), [])
})
