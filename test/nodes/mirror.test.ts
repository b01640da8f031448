/** A mirror takes part in all that needs no key: it holds and seeds what is sealed, passes the catalog on and answers questions. */
import assert from "node:assert/strict"
import { after, before, test } from "node:test"
import { address, type Address } from "../../core/address.ts"
import { memberId } from "../../core/identifiers.ts"
import { systemClock } from "../../core/clock.ts"
import { readMembershipAnswer, routes } from "../../core/wire.ts"
import { Admission } from "../../crypto/admission.ts"
import { signingKeyFromSeed } from "../../crypto/identity.ts"
import { decodeInvite } from "../../crypto/invite.ts"
import { openSealed } from "../../crypto/sealed-box.ts"
import { ApiClient } from "../../member/api-client.ts"
import { MEMBERSHIP_PURPOSE } from "../../member/membership.ts"
import type { Member } from "../../member/member.ts"
import { outdatedOf } from "../../member/renewal.ts"
import { makeServerRecord } from "../../member/server-directory.ts"
import { DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { addToGroup, removeFromGroup } from "../../nodes/groups.ts"
import type { ImageServer } from "../../nodes/server.ts"
import { TestSite, until } from "../member/site.ts"

let site: TestSite
let mirror: ImageServer
let client: Member
let api: Address

before(async () => {
  site = await TestSite.start()
  await site.publish("os:1")
  mirror = await site.run(await site.joinServer("mirror", "mirror"))
  api = address(mirror.apiAddress)
  await until("the server knows of the mirror", () => site.server.member.directory.records().length === 2)
  client = await site.member(await site.join("client"))
})
after(() => site[Symbol.asyncDispose]())

/** Every secret of the site that a mirror is not to have, as text and as bytes. */
async function siteSecrets(): Promise<(string | Buffer)[]> {
  const { groups, online } = await site.home.secrets()
  assert.ok(online !== undefined)
  const hex = [...groups.map(({ secretKey }) => secretKey), ...Object.values(online).flat()]
  return [...hex, ...hex.map((text) => Buffer.from(text, "hex"))]
}

test("a mirror joins without a group and without keys of groups or servers, and a renewal gives it none, in a group or not", async () => {
  const { home } = mirror.member
  assert.equal(mirror.member.certificate.role, "mirror")
  await addToGroup(await site.parts(), DEFAULT_GROUP, [home.memberId])
  await removeFromGroup(await site.parts(), DEFAULT_GROUP, [memberId("ee".repeat(16))])
  await until("the mirror has the newest catalog", () => mirror.member.catalogs.catalog.seq === site.server.member.catalogs.catalog.seq)
  assert.deepEqual(outdatedOf(mirror.member), [], "a mirror lacks nothing that only others should have")
  const requireBlind = async () => {
    const secrets = await home.secrets()
    assert.deepEqual(Object.keys(secrets).sort(), ["groups", "networkKeys"])
    assert.deepEqual(secrets.groups, [])
    assert.deepEqual(mirror.member.certificate.groups, [])
  }
  await requireBlind()
  await mirror.member.renew()
  await requireBlind()
})

test("a mirror whose certificate was renewed says so in its record, which is good no longer than the certificate in it", async () => {
  const own = () => mirror.member.directory.records().find((record) => record.memberId === mirror.member.home.memberId)
  const former = own()
  await mirror.member.renew()
  await until("the record has the new certificate", () => own()?.certificate === mirror.member.certificate.der.toString("base64"))
  assert.ok(former !== undefined && (own()?.seq ?? 0) > former.seq)
})

test("no answer that a server gives a mirror holds a secret of a group or of servers", async () => {
  const { home, api: asking } = mirror.member
  const secrets = await siteSecrets()
  let answered = 0
  for (const path of Object.values(routes))
    for (const method of ["GET", "POST"] as const) {
      const request = { method, path, maxBytes: 10_000_000, ...(method === "POST" && { body: bodies[path] }) }
      const answer = await asking.bytes(address(site.server.apiAddress), request).catch(() => null)
      if (answer === null) continue
      answered++
      const read = path === routes.renew ? openSealed(home.identity.sealing, MEMBERSHIP_PURPOSE, sealedPartOf(answer)) : answer
      assert.ok(read !== null)
      for (const secret of secrets) assert.equal(read.includes(secret), false, `${method} ${path}`)
    }
  assert.ok(answered >= 8, `${answered} answers were looked at`)
})

function sealedPartOf(answer: Buffer): Buffer {
  return Buffer.from(readMembershipAnswer(JSON.parse(answer.toString())).secrets, "base64")
}

const bodies: Readonly<Record<string, unknown>> = {
  [routes.renew]: { clockMs: systemClock.nowMs() },
  [routes.servers]: { servers: [] },
  [routes.hints]: { catalogSeq: 1 },
  [routes.claims]: { inviteId: "0".repeat(32), uses: 1, memberId: "0".repeat(32), expiresAtMs: 1 },
  [routes.publications]: { files: {} },
  [routes.join]: { signingKey: "0".repeat(64), sealingKey: "0".repeat(64), proof: "", clockMs: 1 },
}

test("a mirror refuses joins, renewals, claims and changes with ROLE_WRONG, and says whom to ask", async () => {
  const post = (member: Member, path: string) => member.api.bytes(api, { method: "POST", path, body: bodies[path] })
  const refused = { code: "ROLE_WRONG", message: /this is a mirror, which issues nothing and takes no changes; ask a server/ }
  await assert.rejects(post(client, routes.renew), refused)
  const server = site.server.member
  for (const path of [routes.renew, routes.claims, routes.publications]) await assert.rejects(post(server, path), refused, path)
  await assert.rejects(
    client.api.json(api, { method: "POST", path: routes.renew, body: bodies[routes.renew], answeredBy: ["server"] }, readMembershipAnswer),
    { code: "CERTIFICATE_INVALID", message: /is certified as mirror; here server is needed/ },
    "and a member that wants to be renewed does not ask a mirror",
  )

  const invite = decodeInvite(await site.invite())
  const bearer = new Admission({
    clock: systemClock,
    site: invite.site,
    authorities: [invite.authorityDer],
    revoked: [],
    certificateDer: invite.certificateDer,
    signing: signingKeyFromSeed(invite.seed),
  })
  await assert.rejects(new ApiClient(bearer).bytes(api, { method: "POST", path: routes.join, body: bodies[routes.join] }), refused)
})

test("no invite sends anyone to a mirror to join, and members renew at servers alone", async () => {
  const invite = decodeInvite(await site.invite())
  assert.ok(invite.api.length > 0)
  assert.ok(!invite.api.some(({ port }) => port === api.port))
  assert.ok(
    invite.dht.some(({ port }) => port === mirror.member.dht.address.port),
    "its DHT node is as good as any",
  )
  for (const member of [client, mirror.member]) assert.ok(!member.directory.issuers().some(({ port }) => port === api.port))
})

test("a client that knows of the mirror takes the catalog from it, and finds it in the swarm", async () => {
  assert.ok(client.apiAddresses().some(({ port }) => port === api.port))
  assert.ok(client.swarmAddresses().some(({ port }) => port === mirror.member.swarm.address.port))
  const catalog = await new ApiClient(client.admission).bytes(api, { path: routes.catalog, maxBytes: 1e7 })
  assert.ok(catalog.equals(mirror.member.catalogs.bytes))
})

test("a mirror that calls a server's address its own takes that server off nobody's list", async () => {
  const { member } = site.server
  const own = member.directory.records().find((record) => record.memberId === mirror.member.home.memberId)
  assert.ok(own !== undefined)
  const lie = makeServerRecord({ ...own, seq: own.seq + 1, api: site.server.apiAddress }, mirror.member.home.identity.signing)
  assert.equal(await client.directory.consider([lie]), true)
  assert.deepEqual(
    client.directory.issuers().map(({ port }) => port),
    [address(site.server.apiAddress).port],
  )
  await client.renew()
})
