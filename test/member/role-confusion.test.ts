/** The danger: who is one thing in the site acts as another: a mirror or a client as a server that issues, an invite as a member. */
import assert from "node:assert/strict"
import { after, before, test } from "node:test"
import { Admission } from "../../crypto/admission.ts"
import { decodeInvite } from "../../crypto/invite.ts"
import { signingKeyFromSeed } from "../../crypto/identity.ts"
import { address, type Address } from "../../core/address.ts"
import { systemClock } from "../../core/clock.ts"
import { readMembershipAnswer, routes } from "../../core/wire.ts"
import { ApiClient } from "../../member/api-client.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { renewMembership } from "../../member/renewal.ts"
import { askFellows } from "../../nodes/fellows.ts"
import { RogueServer, type Answer } from "./rogue-server.ts"
import { TestSite } from "./site.ts"

let site: TestSite
let server: Address
before(async () => {
  site = await TestSite.start()
  server = address(site.server.apiAddress)
})
after(() => site[Symbol.asyncDispose]())

const claim = { inviteId: "ab".repeat(16), uses: 1, memberId: "cd".repeat(16), expiresAtMs: systemClock.nowMs() + 60_000 }
const memberOf = async (role: "client" | "mirror" | "server", name: string) =>
  Member.start(
    { home: await site.join(name, systemClock, await site.invite({ role })), clock: systemClock, log: silentLog },
    { network: "api-only" },
  )

test("what is for issuing servers is refused to a mirror and a client, and granted to a server", async () => {
  const calls = [
    { path: routes.claims, body: claim },
    { path: routes.publications, body: { files: {} } },
  ]
  for (const role of ["mirror", "client"] as const) {
    const member = await memberOf(role, `${role} that asks`)
    for (const call of calls)
      await assert.rejects(member.api.bytes(server, { method: "POST", ...call }), { code: "CERTIFICATE_INVALID" }, `${role} ${call.path}`)
    await member.close()
  }
  const fellow = await memberOf("server", "server that asks")
  assert.deepEqual(JSON.parse((await fellow.api.bytes(server, { method: "POST", path: routes.claims, body: claim })).toString()), {
    accepted: true,
  })
  await fellow.close()
})

test("a mirror is given neither online keys nor a group's key, when it joins or renews", async () => {
  const member = await memberOf("mirror", "mirror with no keys")
  for (const secrets of [await member.home.secrets(), (await renewMembership(member), member.secrets)]) {
    assert.equal(secrets.online, undefined)
    assert.deepEqual(secrets.groups, [])
  }
  await member.close()
})

test("a mirror or a client that answers a join, a renewal or a claim like a server is not believed, and hears no request for it", async () => {
  for (const role of ["mirror", "client"] as const) {
    const heard: string[] = []
    const answer: Answer = (request, response) => {
      heard.push(String(request.url))
      if (request.url === routes.catalog) response.end(site.server.member.catalogs.bytes)
      else response.end(JSON.stringify({ accepted: false }))
    }
    await using rogue = await RogueServer.listen(await site.join(`${role} that poses`, systemClock, await site.invite({ role })), answer)
    const invite = decodeInvite(await site.invite())
    await assert.rejects(site.joinWith(`joins at a ${role}`, { ...invite, api: [rogue.address] }), { code: "CERTIFICATE_INVALID" })

    const renewing = await memberOf("client", `renews at a ${role}`)
    const ask = renewing.api.json(
      rogue.address,
      { method: "POST", path: routes.renew, body: { clockMs: 1 }, answeredBy: ["server"] },
      readMembershipAnswer,
    )
    await assert.rejects(ask, { code: "CERTIFICATE_INVALID" })
    await renewing.close()

    const fellow = await memberOf("server", `asks a ${role}`)
    await fellow.directory.consider([rogue.record])
    assert.equal(await askFellows(fellow, claim), true, "its no to an invite counts for nothing")
    await fellow.close()
    assert.deepEqual(
      heard.filter((path) => path !== routes.catalog),
      [],
    )
  }
})

test("a client's word about where servers are is not taken, nor a server's about another", async () => {
  const listener = await memberOf("client", "listener")
  const client = await site.join("client with a record")
  await using posing = await RogueServer.listen(client, () => {})
  assert.equal(await listener.directory.consider([posing.record]), false)
  const other = await site.join("other server", systemClock, await site.invite({ role: "server" }))
  await using rightful = await RogueServer.listen(other, () => {})
  const moved = { ...rightful.record, api: "192.0.2.66:1", seq: rightful.record.seq + 1 }
  assert.equal(await listener.directory.consider([moved]), false)
  assert.equal(await listener.directory.consider([{ ...rightful.record, memberId: site.home.memberId }]), false)
  assert.equal(await listener.directory.consider([rightful.record]), true)
  await listener.close()
})

test("the holder of an invite reads the catalog and may join, and is refused everything else", async () => {
  const invite = decodeInvite(await site.invite({ role: "server" }))
  const visitor = new Admission({
    clock: systemClock,
    site: invite.site,
    authorities: [invite.authorityDer],
    revoked: [],
    certificateDer: invite.certificateDer,
    signing: signingKeyFromSeed(invite.seed),
  })
  const api = new ApiClient(visitor)
  assert.ok((await api.bytes(server, { path: routes.catalog, maxBytes: 1_000_000 })).length > 0)
  for (const path of [routes.status, routes.servers, routes.health, routes.description])
    await assert.rejects(api.bytes(server, { path }), { code: "CERTIFICATE_INVALID" }, path)
  for (const [path, body] of [
    [routes.renew, { clockMs: systemClock.nowMs() }],
    [routes.claims, claim],
    [routes.servers, { servers: [] }],
    [routes.publications, { files: {} }],
  ] as const)
    await assert.rejects(api.bytes(server, { method: "POST", path, body }), { code: "CERTIFICATE_INVALID" }, path)
})
