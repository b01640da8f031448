/** The danger: a certificate that looks right but was not signed for this site opens a door here. */
import assert from "node:assert/strict"
import { X509Certificate } from "node:crypto"
import { test } from "node:test"
import { createSecureContext } from "node:tls"
import { siteName } from "#core/identifiers.ts"
import { signingKeyFromSeed } from "#crypto/identity.ts"
import { handshake } from "./handshake.ts"
import { admissionOf, authorityOf, clockAt, memberOf, ownOf, refusedWith, seedOf, startMs } from "./site.ts"

const authority = await authorityOf("authority")
const server = await memberOf(authority, "server", { role: "server" })
const elsewhere = siteName("elsewhere")
const theirs = await authorityOf("their authority", elsewhere)
const refused = refusedWith("CERTIFICATE_INVALID")

test("a member of another site gets no byte, and its own check would refuse us too", async () => {
  const foreigner = await memberOf(theirs, "foreigner")
  const answering = admissionOf(authority, ownOf(server))
  assert.throws(() => answering.admit(foreigner.der, ["client"]), refused)
  // Even one that trusts every authority, so that only our end decides.
  const dialling = admissionOf(theirs, ownOf(foreigner), { authorities: [theirs.der, authority.der] })
  const lenient = { ...dialling.tlsClientOptions(), checkServerIdentity: () => undefined }
  const outcome = await handshake(answering, lenient)
  assert.deepEqual([outcome.answered, outcome.read], [null, ""])
  const strict = await handshake(
    admissionOf(authority, ownOf(server), { authorities: [authority.der, theirs.der] }),
    dialling.tlsClientOptions(),
  )
  assert.ok(strict.dialError !== null && refused(strict.dialError))
  assert.equal(strict.read, "")
})

test("another site's authority that calls its member one of ours is refused", async () => {
  const impostor = await memberOf(theirs, "impostor", { site: authority.site })
  assert.throws(() => admissionOf(authority, ownOf(server)).admit(impostor.der, ["client"]), refused)
})

test("our own authority's certificate for another site is refused here", async () => {
  const guest = await memberOf(authority, "guest", { site: elsewhere })
  assert.throws(() => admissionOf(authority, ownOf(server)).admit(guest.der, ["client"]), refused)
})

test("an authority of the same names with another key certifies nobody", async () => {
  const forged = { ...(await authorityOf("forged")), site: authority.site }
  const impostor = await memberOf(forged, "impostor")
  assert.throws(() => admissionOf(authority, ownOf(server)).admit(impostor.der, ["client"]), refused)
})

test("a certificate with a changed byte is refused", async () => {
  const admission = admissionOf(authority, ownOf(server))
  const { der } = await memberOf(authority, "client")
  assert.equal(admission.admit(der, ["client"]).kind, "member")
  for (let at = 0; at < der.length; at++) {
    const changed = Buffer.from(der)
    changed[at] = (changed[at] ?? 0) ^ 0x04
    assert.throws(() => admission.admit(changed, ["client"]), refused, `byte ${at}`)
  }
})

test("a member's certificate is of no use without its key", async () => {
  const member = await memberOf(authority, "client")
  const thief = signingKeyFromSeed(seedOf("thief"))
  assert.throws(() => admissionOf(authority, { signing: thief, der: member.der }), refused)
  const stolen = {
    cert: new X509Certificate(member.der).toString(),
    key: thief.privateKey.export({ format: "pem", type: "pkcs8" }),
  }
  assert.throws(() => createSecureContext(stolen), /key values mismatch/)
})

test("who shows no certificate gets no byte", async () => {
  const answering = admissionOf(authority, ownOf(server), { clock: clockAt(startMs) })
  const outcome = await handshake(answering, { rejectUnauthorized: false })
  assert.deepEqual([outcome.answered, outcome.read], [null, ""])
})

test("TLS 1.2 is refused", async () => {
  const member = await memberOf(authority, "client")
  const { secureContext: _, ...rest } = admissionOf(authority, ownOf(member)).tlsClientOptions()
  const outcome = await handshake(admissionOf(authority, ownOf(server)), { ...rest, minVersion: "TLSv1.2", maxVersion: "TLSv1.2" })
  assert.deepEqual([outcome.answered, outcome.read], [null, ""])
})
