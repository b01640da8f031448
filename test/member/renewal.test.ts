import assert from "node:assert/strict"
import { test } from "node:test"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { renewalDue, renewMembership } from "../../member/renewal.ts"
import { clockOff, TestSite } from "./site.ts"

const DAY_MS = 24 * 3_600_000

test("renewal is due at two thirds of a certificate's life and not a millisecond earlier", () => {
  const certificate = { notBeforeMs: 1_000, notAfterMs: 4_000 }
  assert.equal(renewalDue(certificate, 2_999), false)
  assert.equal(renewalDue(certificate, 3_000), true)
})

test("a certificate is renewed at a server of the site and kept", async () => {
  await using site = await TestSite.start()
  const home = await site.join("client")
  const before = await home.certificate()
  const member = await Member.start({ home, clock: clockOff(60_000), log: silentLog }, { network: "api-only" })
  try {
    await renewMembership(member)
    assert.equal(member.certificate.memberId, before.memberId)
    assert.deepEqual(member.certificate.groups, before.groups)
    assert.equal(member.certificate.sealingKeyHex, before.sealingKeyHex)
    assert.ok(member.certificate.notAfterMs >= before.notAfterMs)
    assert.ok(!member.certificate.der.equals(before.der))
    assert.deepEqual((await home.certificate()).der, member.certificate.der)
  } finally {
    await member.close()
  }
})

test("a server whose own certificate is near its end issues itself a new one when it starts", async () => {
  await using site = await TestSite.start()
  const before = await site.home.certificate()
  await site.restart(clockOff(6 * DAY_MS))
  assert.ok(site.server.member.certificate.notAfterMs > before.notAfterMs)
  assert.equal(site.server.member.certificate.memberId, before.memberId)
})
