/** The danger: somebody else has the authority's key, or all that a server or a client keeps. What that is good for, and what not. */
import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { after, before, test } from "node:test"
import { Admission, type AdmittedAs } from "../../crypto/admission.ts"
import type { MemberRole } from "../../crypto/certificate.ts"
import { mayOpen, sealGrant } from "../../crypto/grant.ts"
import { memberIdentity, type MemberIdentity } from "../../crypto/identity.ts"
import { address } from "../../core/address.ts"
import { systemClock } from "../../core/clock.ts"
import type { Grants } from "../../core/documents.ts"
import { imageRef } from "../../core/identifiers.ts"
import { readMembershipAnswer, routes, type MemberSecrets } from "../../core/wire.ts"
import { ApiClient } from "../../member/api-client.ts"
import { authoritiesOf } from "../../member/catalog-keeper.ts"
import { keysDirectory } from "../../member/home.ts"
import { silentLog } from "../../member/log.ts"
import { readMembership } from "../../member/membership.ts"
import { authorityOf, type Authority } from "../../nodes/authority.ts"
import { DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { issueMemberCertificate } from "../../nodes/issuer.ts"
import { KeyRing } from "../../nodes/key-ring.ts"
import { makeChange } from "../../nodes/make-change.ts"
import { encodePublication } from "../../nodes/publication.ts"
import { draftChange, signChange, type Change, type Edits } from "../../trust/change.ts"
import { publishersAre } from "../trust/administrators.ts"
import { TestSite } from "./site.ts"

let site: TestSite
let stolen: { readonly authority: Authority; readonly secrets: MemberSecrets }
before(async () => {
  site = await TestSite.start()
  const secrets = await site.home.secrets()
  stolen = { secrets, authority: authorityOf(await site.home.onlineKeys(), site.server.member.catalogs.catalog) }
})
after(() => site[Symbol.asyncDispose]())

/** Speaks to the site's server as this identity, with this certificate. */
function speaker(identity: MemberIdentity, certificateDer: Buffer) {
  const { catalog } = site.server.member.catalogs
  const admission = new Admission({
    clock: systemClock,
    site: site.home.site,
    authorities: authoritiesOf(catalog),
    revoked: [],
    certificateDer,
    signing: identity.signing,
  })
  const api = new ApiClient(admission)
  const server = address(site.server.apiAddress)
  return {
    renew: async () => {
      const body = { clockMs: systemClock.nowMs() }
      const answer = await api.json(server, { method: "POST", path: routes.renew, body }, readMembershipAnswer)
      return readMembership(answer, identity, admission).secrets
    },
    submit: (change: Change) => api.bytes(server, { method: "POST", path: routes.publications, body: encodePublication(change) }),
  }
}

/** A member that the thief of the authority's key makes up. */
async function madeUp(role: MemberRole & AdmittedAs) {
  const identity = memberIdentity(randomBytes(32))
  const subject = {
    kind: "member",
    site: site.home.site,
    role,
    memberId: identity.memberId,
    groups: [DEFAULT_GROUP],
    sealingKeyHex: identity.sealing.publicKeyHex,
  } as const
  const { authority } = stolen
  const signingKeyHex = identity.signing.publicKeyHex
  return speaker(
    identity,
    await issueMemberCertificate({ authority, subject, signingKeyHex, nowMs: systemClock.nowMs(), random: randomBytes }),
  )
}

/** Changes that only people's keys sign: an image from nowhere, and a publisher of the thief's own. */
function forgeries(seeds: readonly Uint8Array[]): Change[] {
  const { files } = site.server.member.catalogs.catalog
  const edits: Edits[] = [
    { delegations: publishersAre({ thief: { seeds: [randomBytes(32)], pattern: "*" } }) },
    { site: (document) => ({ ...document, revoked: ["ab".repeat(16)] }) },
    { root: (root) => root },
  ]
  return edits.map((edit) => signChange(files, draftChange(files, edit, systemClock.nowMs()), seeds))
}

const onlineSeeds = () => Object.values(stolen.secrets.online ?? {}).flatMap((ring) => ring.map((seed) => Buffer.from(seed, "hex")))

test("the authority's key alone opens no image and signs no metadata", () => {
  const [group] = stolen.secrets.groups
  const document = site.server.member.catalogs.catalog.site.groups[0]
  assert.ok(group !== undefined && document !== undefined)
  const ref = imageRef("os:1")
  const grant = sealGrant({ site: "demo", ref, group: document, imageIdentity: `AGE-SECRET-KEY-1${"Q".repeat(58)}`, random: randomBytes })
  const grants: Grants = { format: "imagegrid-grants-1", site: "demo", ...ref, grants: [grant], retiredAtMs: null, pinned: false }
  assert.equal(mayOpen(grants, [group]), true, "the control: the group's key opens it")
  assert.equal(mayOpen(grants, [{ ...group, secretKey: Buffer.from(stolen.authority.seed).toString("hex") }]), false)
  for (const change of forgeries([stolen.authority.seed]))
    assert.ok(![...change.values()].some((bytes) => bytes.toString().includes('"sig"')))
})

test("with the authority's key and a server in reach a thief makes itself a member, and is given what that member is given", async () => {
  const client = await (await madeUp("client")).renew()
  assert.deepEqual(
    client.groups.map(({ name }) => name),
    ["default"],
  )
  assert.equal(client.online, undefined)
  // Stated in docs/security.md: this key is worth as much as a server. It must be replaced like one.
  const server = await (await madeUp("server")).renew()
  assert.deepEqual(server.online, stolen.secrets.online)
})

test("... and all that any server keeps forges neither an image nor a publisher, nor the site's document or root", async () => {
  const server = await madeUp("server")
  for (const change of forgeries(onlineSeeds())) await assert.rejects(server.submit(change), { code: "SIGNATURES_MISSING" })
})

test("a stolen client is given its own groups' keys and nothing that signs; once revoked it is given nothing, and others go on", async () => {
  const [victim, bystander] = [await site.join("victim"), await site.join("bystander")]
  const thief = speaker(victim.identity, (await victim.certificate()).der)
  const other = speaker(bystander.identity, (await bystander.certificate()).der)
  const given = await thief.renew()
  assert.equal(given.online, undefined)
  assert.deepEqual(
    given.groups.map(({ name }) => name),
    ["default"],
  )
  const [forgery] = forgeries([])
  assert.ok(forgery !== undefined)
  await assert.rejects(thief.submit(forgery), { code: "CERTIFICATE_INVALID" })

  const keys = await KeyRing.open({ homeKeys: keysDirectory(site.home.directory), files: [] }, () =>
    Promise.reject(new Error("no passphrase")),
  )
  const parts = { home: site.home, clock: systemClock, log: silentLog, keys }
  const { applied } = await makeChange(parts, () => ({ site: (document) => ({ ...document, revoked: [victim.memberId] }) }))
  assert.ok(applied)
  await assert.rejects(thief.renew(), { code: "CERTIFICATE_INVALID" })
  assert.equal((await other.renew()).groups.length, 1)
})

test("a stolen server that was revoked is given nothing more and its word counts no more, but what it knew it knows", async () => {
  const victim = await site.join("victim server", systemClock, await site.invite({ role: "server" }))
  const thief = speaker(victim.identity, (await victim.certificate()).der)
  assert.deepEqual((await thief.renew()).online, stolen.secrets.online)
  const keys = await KeyRing.open({ homeKeys: keysDirectory(site.home.directory), files: [] }, () =>
    Promise.reject(new Error("no passphrase")),
  )
  const parts = { home: site.home, clock: systemClock, log: silentLog, keys }
  await makeChange(parts, () => ({ site: (document) => ({ ...document, revoked: [...document.revoked, victim.memberId] }) }))
  await assert.rejects(thief.renew(), { code: "CERTIFICATE_INVALID" })
  for (const change of forgeries(onlineSeeds())) await assert.rejects(thief.submit(change), { code: "CERTIFICATE_INVALID" })
  // With the authority's key, which every server holds, it comes back under another name: revoking a server is not enough.
  assert.ok(((await (await madeUp("server")).renew()).online?.authorities.length ?? 0) > 0)
})
