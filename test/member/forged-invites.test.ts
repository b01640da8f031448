/** The danger: an invite that was used, made up, changed, of another site or meant for less lets somebody in. */
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { randomBytes } from "node:crypto"
import { groupName, siteName } from "../../core/identifiers.ts"
import { systemClock } from "../../core/clock.ts"
import { address } from "../../core/address.ts"
import { routes } from "../../core/wire.ts"
import { Admission } from "../../crypto/admission.ts"
import { issueAuthority, issueCertificate, readCertificate, type InviteCertificate } from "../../crypto/certificate.ts"
import { memberIdentity, sign, signingKeyFromSeed } from "../../crypto/identity.ts"
import { decodeInvite, encodeInvite, inviteProof, type Invite } from "../../crypto/invite.ts"
import { ApiClient } from "../../member/api-client.ts"
import { TestSite } from "./site.ts"

const HOUR_MS = 3_600_000
let site: TestSite
before(async () => {
  site = await TestSite.start()
})
after(() => site[Symbol.asyncDispose]())

/** An invite like the given one, whose certificate another authority signed. */
async function forged(invite: Invite, changed: Partial<InviteCertificate> = {}): Promise<Invite> {
  const nowMs = systemClock.nowMs()
  const times = { notBeforeMs: nowMs - HOUR_MS, notAfterMs: nowMs + HOUR_MS }
  const authoritySeed = randomBytes(32)
  const seed = randomBytes(32)
  const authorityDer = await issueAuthority({ site: siteName("demo"), seed: authoritySeed, ...times, serial: randomBytes(16) })
  const { inviteId, role, groups, uses } = { ...(readCertificate(invite.certificateDer) as InviteCertificate), ...changed }
  const subject = { kind: "invite", site: siteName("demo"), inviteId, role, groups, uses } as const
  const { publicKeyHex } = signingKeyFromSeed(seed)
  const certificateDer = await issueCertificate({
    authoritySeed,
    authorityDer,
    subject,
    signingKeyHex: publicKeyHex,
    ...times,
    serial: randomBytes(16),
  })
  return { ...invite, authorityDer: invite.authorityDer, certificateDer, seed }
}

test("an invite that was used is refused to another machine, at once and again later", async () => {
  const invite = await site.invite()
  await site.join("first", systemClock, invite)
  for (const name of ["second", "third"]) await assert.rejects(site.join(name, systemClock, invite), { code: "INVITE_USED" })
  assert.equal(existsSync(join(site.directory, "second/member.json")), false)
  await site.restart(systemClock)
  await assert.rejects(site.join("fourth", systemClock, await sameInviteAt(invite)), { code: "INVITE_USED" }, "the server remembers it")
})

/** The restarted server listens on another port. */
async function sameInviteAt(text: string): Promise<string> {
  return encodeInvite({ ...decodeInvite(text), api: [address(site.server.apiAddress)] })
}

test("an invite that the site's authority did not sign is refused in the handshake, for whatever role it was made up", async () => {
  const invite = decodeInvite(await site.invite())
  for (const role of ["client", "server"] as const) {
    const made = await forged(invite, { role, groups: [groupName("default")], uses: 100_000 })
    assert.deepEqual(decodeInvite(encodeInvite(made)).seed, made.seed, "it is well formed")
    await assert.rejects(site.joinWith(`forged ${role}`, made), { code: /CERTIFICATE_INVALID|SERVERS_UNREACHABLE/ })
    assert.equal(existsSync(join(site.directory, `forged ${role}/member.json`)), false)
  }
})

test("an invite of another site is refused here, and this site's refuses another's catalog", async () => {
  await using other = await TestSite.start()
  const theirs = decodeInvite(await other.invite())
  await assert.rejects(site.joinWith("theirs", { ...theirs, api: [address(site.server.apiAddress)] }), {
    code: /CERTIFICATE_INVALID|SERVERS_UNREACHABLE/,
  })
  const ours = decodeInvite(await site.invite())
  await assert.rejects(site.joinWith("misled", { ...ours, api: [address(other.server.apiAddress)] }), {
    code: /CERTIFICATE_INVALID|SERVERS_UNREACHABLE/,
  })
  const otherRoot = { ...ours, rootDigest: theirs.rootDigest }
  await assert.rejects(
    site.joinWith("other root", otherRoot),
    { code: "CATALOG_INVALID" },
    "who changed the root digest of an invite gets nobody to join",
  )
})

test("a join must prove that it holds the keys it names, for this very invite", async () => {
  const invite = decodeInvite(await site.invite())
  const other = readCertificate(decodeInvite(await site.invite()).certificateDer) as InviteCertificate
  const { inviteId } = readCertificate(invite.certificateDer) as InviteCertificate
  const visitor = new Admission({
    clock: systemClock,
    site: invite.site,
    authorities: [invite.authorityDer],
    revoked: [],
    certificateDer: invite.certificateDer,
    signing: signingKeyFromSeed(invite.seed),
  })
  const api = new ApiClient(visitor)
  const [mine, victim] = [memberIdentity(randomBytes(32)), memberIdentity(randomBytes(32))]
  const request = (signingKey: string, sealingKey: string, proof: Buffer) =>
    api.bytes(address(site.server.apiAddress), {
      method: "POST",
      path: routes.join,
      body: { signingKey, sealingKey, proof: proof.toString("base64"), clockMs: systemClock.nowMs() },
    })
  const [key, seal] = [mine.signing.publicKeyHex, mine.sealing.publicKeyHex]
  for (const [what, signingKey, sealingKey, proof] of [
    ["another's key", victim.signing.publicKeyHex, seal, sign(mine.signing, inviteProof(inviteId, victim.signing.publicKeyHex, seal))],
    ["another's sealing key than was signed", key, victim.sealing.publicKeyHex, sign(mine.signing, inviteProof(inviteId, key, seal))],
    ["a proof for another invite", key, seal, sign(mine.signing, inviteProof(other.inviteId, key, seal))],
    ["no proof", key, seal, Buffer.alloc(64)],
  ] as const)
    await assert.rejects(request(signingKey, sealingKey, proof), { code: "REQUEST_INVALID" }, what)
  assert.ok((await request(key, seal, sign(mine.signing, inviteProof(inviteId, key, seal)))).length > 0, "the control")
})
