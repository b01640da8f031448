/** The danger: a certificate whose signature was checked once is let in from memory when it would not be let in anew. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { admissionOf, authorityOf, clockAt, HOUR_MS, inviteOf, memberOf, ownOf, refusedWith, startMs } from "./site.ts"

const authority = await authorityOf("authority")
const server = await memberOf(authority, "server", { role: "server" })
const client = await memberOf(authority, "client")

test("a certificate that was admitted is refused when its time has come, and admitted again when the clock was wrong", () => {
  const clock = clockAt(startMs)
  const admission = admissionOf(authority, ownOf(server), { clock })
  assert.equal(admission.admit(client.der, ["client"]).kind, "member")
  clock.now = startMs + HOUR_MS
  assert.throws(() => admission.admit(client.der, ["client"]), refusedWith("CERTIFICATE_EXPIRED"))
  clock.now = startMs - HOUR_MS - 1
  assert.throws(() => admission.admit(client.der, ["client"]), refusedWith("CERTIFICATE_NOT_YET_VALID"))
  clock.now = startMs
  assert.equal(admission.admit(client.der, ["client"]).kind, "member")
})

test("a certificate that was admitted is refused when its authority has lapsed", async () => {
  const clock = clockAt(startMs)
  const long = await memberOf(authority, "long", { notAfterMs: startMs + 1_000 * HOUR_MS })
  const admission = admissionOf(authority, ownOf(server), { clock })
  assert.equal(admission.admit(long.der, ["client"]).kind, "member")
  clock.now = startMs + 240 * HOUR_MS
  assert.throws(() => admission.admit(long.der, ["client"]), refusedWith("CERTIFICATE_EXPIRED"))
})

test("a certificate that was admitted is refused once its member is revoked", () => {
  const admission = admissionOf(authority, ownOf(server))
  assert.equal(admission.admit(client.der, ["client"]).kind, "member")
  admission.update({ revoked: [client.identity.memberId] })
  assert.throws(() => admission.admit(client.der, ["client"]), refusedWith("CERTIFICATE_INVALID"))
})

test("a certificate that was admitted is refused once the site names its authority no more", async () => {
  const next = await authorityOf("next authority")
  const admission = admissionOf(authority, ownOf(server))
  assert.equal(admission.admit(client.der, ["client"]).kind, "member")
  admission.update({ authorities: [next.der] })
  assert.throws(() => admission.admit(client.der, ["client"]), refusedWith("CERTIFICATE_INVALID"))
})

test("a certificate that was admitted as one thing is refused as another", async () => {
  const admission = admissionOf(authority, ownOf(server))
  const invite = await inviteOf(authority, "invite")
  assert.equal(admission.admit(client.der, ["client"]).kind, "member")
  assert.equal(admission.admit(invite.der, ["invite"]).kind, "invite")
  assert.throws(() => admission.admit(client.der, ["server"]), refusedWith("CERTIFICATE_INVALID"))
  assert.throws(() => admission.admit(invite.der, ["server", "client"]), refusedWith("CERTIFICATE_INVALID"))
})

test("a certificate that differs in one byte from one that was admitted is looked at anew", () => {
  const admission = admissionOf(authority, ownOf(server))
  assert.equal(admission.admit(client.der, ["client"]).kind, "member")
  const forged = Buffer.from(client.der)
  forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1
  assert.throws(() => admission.admit(forged, ["client"]), refusedWith("CERTIFICATE_INVALID"))
  assert.throws(() => admission.admit(forged, ["client"]), refusedWith("CERTIFICATE_INVALID"))
})

test("members beyond those that are remembered are admitted and refused as all others", async () => {
  const admission = admissionOf(authority, ownOf(server))
  const members = await Promise.all(Array.from({ length: 300 }, (_, number) => memberOf(authority, `member ${number}`)))
  for (const round of [1, 2])
    for (const { der, identity } of members) {
      const certificate = admission.admit(der, ["client"])
      assert.ok(certificate.kind === "member" && certificate.memberId === identity.memberId, `round ${round}`)
    }
  const [first] = members
  assert.ok(first !== undefined)
  admission.update({ revoked: [first.identity.memberId] })
  assert.throws(() => admission.admit(first.der, ["client"]), refusedWith("CERTIFICATE_INVALID"))
})
