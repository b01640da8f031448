import assert from "node:assert/strict"
import { X509Certificate } from "node:crypto"
import { test } from "node:test"
import { groupName, type GroupName, type MemberId } from "#core/identifiers.ts"
import { issueCertificate, readCertificate, type MemberSubject } from "#crypto/certificate.ts"
import { memberIdentity } from "#crypto/identity.ts"
import { authorityOf, HOUR_MS, inviteOf, lab, memberOf, refusedWith, seedOf, serialOf, startMs } from "./site.ts"

const authority = await authorityOf("authority")
const identity = memberIdentity(seedOf("m"))
const subject: MemberSubject = {
  kind: "member",
  site: lab,
  role: "client",
  memberId: identity.memberId,
  groups: [],
  sealingKeyHex: identity.sealing.publicKeyHex,
}
const issue = (changed: Partial<MemberSubject>, times: { notBeforeMs?: number; notAfterMs?: number } = {}) =>
  issueCertificate({
    authoritySeed: authority.seed,
    authorityDer: authority.der,
    subject: { ...subject, ...changed },
    signingKeyHex: identity.signing.publicKeyHex,
    notBeforeMs: startMs,
    notAfterMs: startMs + HOUR_MS,
    serial: serialOf("m"),
    ...times,
  })

test("a member certificate says what was certified", async () => {
  const der = await issue({ role: "server", groups: [groupName("b"), groupName("a"), groupName("b")] })
  const read = readCertificate(der)
  assert.deepEqual(
    { ...read, der: null },
    {
      kind: "member",
      site: "lab",
      role: "server",
      memberId: identity.memberId,
      groups: ["a", "b"],
      sealingKeyHex: identity.sealing.publicKeyHex,
      signingKeyHex: identity.signing.publicKeyHex,
      notBeforeMs: startMs,
      notAfterMs: startMs + HOUR_MS,
      der: null,
    },
  )
  assert.ok(read.der.equals(der))
})

test("an invite certificate says what was certified", async () => {
  const invite = await inviteOf(authority, "i", { role: "server", uses: 12, groups: [] })
  const read = readCertificate(invite.der)
  assert.ok(read.kind === "invite")
  assert.deepEqual([read.inviteId, read.role, read.uses, read.groups], [invite.inviteId, "server", 12, []])
})

test("times are cut to whole seconds, never stretched", async () => {
  const read = readCertificate(await issue({}, { notBeforeMs: startMs + 1_999, notAfterMs: startMs + 5_999 }))
  assert.deepEqual([read.notBeforeMs, read.notAfterMs], [startMs + 1_000, startMs + 5_000])
})

test("OpenSSL takes a member for both ends of TLS, and an invite only for the dialling one", async () => {
  const member = new X509Certificate(await issue({}))
  const invite = new X509Certificate((await inviteOf(authority, "i")).der)
  assert.deepEqual([...(member.keyUsage ?? [])].sort(), ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"])
  assert.deepEqual(invite.keyUsage, ["1.3.6.1.5.5.7.3.2"])
})

test("a member id that is not the digest of the certified key is refused", async () => {
  const other = memberIdentity(seedOf("other")).memberId
  await assert.rejects(issue({ memberId: other }), refusedWith("CERTIFICATE_INVALID"))
  await assert.rejects(issue({ memberId: "x".repeat(32) as MemberId }), refusedWith("CERTIFICATE_INVALID"))
})

test("a subject that would read as another is not issued", async () => {
  for (const changed of [
    { site: "a/b" as typeof lab },
    { site: "lab?role=server" as typeof lab },
    { groups: ["a&seal=00" as GroupName] },
    { groups: ["b,a" as GroupName] },
    { groups: ["" as GroupName, groupName("a")] },
    { role: "admin" as "server" },
    { sealingKeyHex: "00" },
  ])
    await assert.rejects(issue(changed), refusedWith("CERTIFICATE_INVALID"), JSON.stringify(changed))
})

test("groups that do not fit are refused with a word on how many", async () => {
  const groups = Array.from({ length: 40 }, (_, position) => groupName(`g${position}-${"x".repeat(55)}`))
  await assert.rejects(issue({ groups }), /40 groups do not fit/)
})

test("a seed that is not the authority's issues nothing", async () => {
  const parts = { subject, signingKeyHex: identity.signing.publicKeyHex, notBeforeMs: startMs, notAfterMs: startMs + 1_000 }
  await assert.rejects(
    issueCertificate({ ...parts, authoritySeed: seedOf("x"), authorityDer: authority.der, serial: serialOf("s") }),
    refusedWith("KEY_MISSING"),
  )
})

test("an authority's own certificate is no member's", () => {
  assert.throws(() => readCertificate(authority.der), refusedWith("CERTIFICATE_INVALID"))
})

test("anything but one whole DER certificate is refused, whatever byte is changed or missing", async () => {
  const { der } = await memberOf(authority, "m")
  assert.ok(refused(Buffer.alloc(0)))
  assert.ok(refused(Buffer.from(new X509Certificate(der).toString())), "PEM")
  assert.ok(refused(Buffer.concat([der, Buffer.of(0)])), "a byte behind")
  assert.ok(refused(Buffer.alloc(100_000)))
  for (let length = 0; length < der.length; length += 13) assert.ok(refused(der.subarray(0, length)), `${length} bytes`)
  // A changed byte is refused here or leaves a certificate whose signature no longer holds; never anything else.
  const parsed = new X509Certificate(authority.der)
  for (let at = 0; at < der.length; at++) {
    const changed = Buffer.from(der)
    changed[at] = (changed[at] ?? 0) ^ 0x01
    if (!refused(changed)) assert.equal(new X509Certificate(changed).verify(parsed.publicKey), false, `byte ${at}`)
  }
})

function refused(bytes: Uint8Array): boolean {
  try {
    readCertificate(bytes)
    return false
  } catch (error) {
    assert.ok(refusedWith("CERTIFICATE_INVALID")(error), `threw ${String(error)}`)
    return true
  }
}
