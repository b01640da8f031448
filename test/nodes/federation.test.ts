/** Two sites agree on what each may have of the other, and end it. */
import assert from "node:assert/strict"
import { after, test } from "node:test"
import { requireImageIdentity } from "../../client/open-image.ts"
import { address } from "../../core/address.ts"
import type { GridError } from "../../core/errors.ts"
import { imageQuery, ownImageQuery, siteName } from "../../core/identifiers.ts"
import { readServerList, routes } from "../../core/wire.ts"
import { findImage } from "../../member/image-sources.ts"
import { openLayerSession } from "../../member/layer-session.ts"
import type { Member } from "../../member/member.ts"
import { acceptOffer, endAgreement } from "../../nodes/federate.ts"
import { grantImage } from "../../nodes/grants.ts"
import { makeOffer, readOffer } from "../../nodes/offer.ts"
import { TestSite, until } from "../member/site.ts"

const lab = await TestSite.start(undefined, { site: siteName("lab") })
const cineca = await TestSite.start(undefined, { site: siteName("cineca") })
after(async () => {
  await lab[Symbol.asyncDispose]()
  await cineca[Symbol.asyncDispose]()
})
await cineca.publish("rhel/base:9")
await cineca.publish("secret:1")
const client = await lab.join("client")

const offerOf = async (site: TestSite) => readOffer(await makeOffer(await site.parts()), Date.now())
const accept = async (by: TestSite, of: TestSite, shares: readonly string[], mirrors: readonly string[] = []) => {
  const { applied } = await acceptOffer(await by.parts(), await offerOf(of), { shares, mirrors })
  assert.ok(applied)
}
const inForce = ({ server }: TestSite): boolean => server.member.federation.catalogs.sites().some((site) => site.inForce)
const layersOf = (member: Member, image: string) => findImage(member.images, imageQuery(image)).manifest.layers
const holds = ({ server: { member } }: TestSite, image: string): boolean =>
  layersOf(member, image).every(({ infohash }) => member.swarm.session(infohash)?.complete === true)

test("a site is unknown to another's members before there is an agreement", async () => {
  const asking = await lab.member(client)
  await assert.rejects(asking.api.bytes(address(cineca.server.apiAddress), { path: routes.catalog, site: "cineca" }), {
    code: "CERTIFICATE_INVALID",
  })
  assert.throws(() => findImage(asking.images, imageQuery("cineca/rhel/base")), { code: "IMAGE_UNKNOWN" })
})

test("an agreement of one side alone shows nothing but who speaks for that side", async () => {
  await accept(lab, cineca, [], ["rhel/*"])
  const { member } = lab.server
  assert.equal(inForce(lab), false)
  assert.throws(() => findImage(member.images, imageQuery("cineca/rhel/base")), { code: "SITE_UNKNOWN" })
})

test("once both have agreed, the other's servers mirror what they may and want, and nothing else", async () => {
  await accept(cineca, lab, ["rhel/*"])
  await until("the agreement is in force on both sides", () => inForce(lab) && inForce(cineca))
  await until("lab has the images' list", () => lab.server.member.federation.catalogs.newest("cineca")?.images.size === 2)
  await until("lab holds the image that it mirrors", () => holds(lab, "cineca/rhel/base"))
  const { member } = lab.server
  for (const { infohash } of layersOf(cineca.server.member, "secret")) assert.equal(member.swarm.session(infohash), null)
  assert.throws(() => findImage(member.images, imageQuery("cineca/secret")), { code: "IMAGE_UNKNOWN" })
})

test("a layer that is not shared is not to be had, whoever knows its infohash", async () => {
  const { member } = lab.server
  const [layer] = layersOf(cineca.server.member, "secret")
  assert.ok(layer !== undefined)
  await assert.rejects(member.swarm.fetchTorrent(layer.infohash, { peers: [cineca.server.member.swarm.address] }), {
    code: "SEEDERS_MISSING",
  })
})

test("a client opens another site's image by a grant to its own group there, whose name says the site", async () => {
  const member = await lab.runMember(client)
  await member.catalogs.refresh()
  await member.federation.refresh()
  const opener = { site: member.home.site, secrets: member.secrets }
  assert.throws(() => requireImageIdentity(findImage(member.images, imageQuery("cineca/rhel/base")), opener), { code: "GRANT_MISSING" })

  const granted = await grantImage(await cineca.parts(), ownImageQuery("rhel/base"), "lab/default")
  assert.deepEqual(granted?.images, ["rhel/base:9"])
  await until("lab's server has heard of the grant", () => {
    const { catalog } = findImage(lab.server.member.images, imageQuery("cineca/rhel/base"))
    return catalog.grants.get("rhel/base:9")?.grants.length === 2
  })
  await member.federation.refresh()
  const image = findImage(member.images, imageQuery("cineca/rhel/base:9"))
  assert.match(requireImageIdentity(image, opener), /^AGE-SECRET-KEY-1/)
  for (const layer of image.manifest.layers) {
    const session = await openLayerSession(member, { manifest: image.manifest, layer }, member.layers)
    await session.whenComplete()
  }
})

test("a group of another site that it does not have, and one of a stranger, get no grant", async () => {
  const grant = async (group: string) => grantImage(await cineca.parts(), ownImageQuery("rhel/base"), group)
  await assert.rejects(grant("lab/nobody"), { code: "GROUP_UNKNOWN" })
  await assert.rejects(grant("elsewhere/default"), { code: "SITE_UNKNOWN" })
})

test("servers know those of the other site, and members are told of them; a third site is not", async () => {
  const asking = await lab.member(client)
  const list = async (site: TestSite, name: string) =>
    (await asking.api.json(address(site.server.apiAddress), { path: routes.servers, site: name }, readServerList)).servers
  await until("lab's server knows cineca's", () => lab.server.member.directory.records("cineca").length === 1)
  assert.deepEqual((await list(lab, "lab")).map(({ memberId }) => memberId).sort(), [lab, cineca].map(({ home }) => home.memberId).sort())
  assert.deepEqual(
    (await list(cineca, "cineca")).map(({ memberId }) => memberId),
    [cineca.home.memberId],
  )
})

test("another site's members may ask for nothing that is a site's own", async () => {
  const { api } = lab.server.member
  const server = address(cineca.server.apiAddress)
  for (const path of [routes.status, routes.metrics, routes.health, routes.auditHead, "/v1/catalogs/lab"])
    await assert.rejects(api.bytes(server, { path, site: "cineca" }), { code: "CERTIFICATE_INVALID" }, path)
  const claim = { inviteId: "0".repeat(32), uses: 1, memberId: "0".repeat(32), expiresAtMs: 1 }
  for (const [path, body] of [
    [routes.renew, { clockMs: Date.now() }],
    [routes.claims, claim],
    [routes.publications, { files: {} }],
  ] as const)
    await assert.rejects(api.bytes(server, { method: "POST", path, body, site: "cineca" }), { code: "CERTIFICATE_INVALID" }, path)
})

test("names that begin with a site's are that site's: none is published under one", async () => {
  await assert.rejects(lab.publish("cineca/mine:1"), { code: "NAME_INVALID" })
  await assert.rejects(lab.publish("lab/mine:1"), { code: "NAME_INVALID" })
})

test("a member that its own site revokes is refused by the other one too", async () => {
  const revoked = await lab.join("revoked")
  const asking = await lab.member(revoked)
  const server = address(cineca.server.apiAddress)
  await asking.api.bytes(server, { path: routes.catalogSeq, site: "cineca" })
  await lab.revoke(revoked.memberId)
  await until("cineca has heard of it", () => cineca.server.member.admission.isRevoked(revoked.memberId, "lab"))
  await assert.rejects(asking.api.bytes(server, { path: routes.catalogSeq, site: "cineca" }), { code: "CERTIFICATE_INVALID" })
})

test("who ends the agreement ends it on both sides: connections are cut, and no newer catalog is given", async () => {
  const { member } = lab.server
  const [layer] = layersOf(member, "cineca/rhel/base")
  assert.ok(layer !== undefined)
  const { applied } = await endAgreement(await cineca.parts(), siteName("lab"), { forget: false })
  assert.ok(applied)
  await until("neither side counts it any more", () => !inForce(lab) && !inForce(cineca))
  assert.throws(() => findImage(member.images, imageQuery("cineca/rhel/base")), { code: "SITE_UNKNOWN" })
  assert.equal(member.federation.catalogs.newest("cineca")?.images.size, 0)
  assert.ok(member.federation.catalogs.newest("cineca") !== null)
  const given = cineca.server.member.swarm.session(layer.infohash)
  await until("no member of the other site is connected for the layer", () => given?.statistics().peers === 0)
})

test("it is taken up again where it was left", async () => {
  await accept(cineca, lab, ["rhel/*"])
  await until("the agreement is in force again", () => inForce(lab) && inForce(cineca))
  await until("lab sees the images again", () => lab.server.member.federation.catalogs.newest("cineca")?.images.size === 2)
  assert.ok(holds(lab, "cineca/rhel/base"))
})

test("a forgotten site's servers are not admitted at all", async () => {
  await endAgreement(await cineca.parts(), siteName("lab"), { forget: true })
  const server = address(cineca.server.apiAddress)
  // The refusal comes as an alert of TLS, or as the end of the connection that follows it.
  await assert.rejects(
    lab.server.member.api.bytes(server, { path: routes.catalogSeq, site: "cineca" }),
    ({ code }: GridError) => code === "CERTIFICATE_INVALID" || code === "SERVERS_UNREACHABLE",
  )
})

test("a site of the same name as this one, and another site under a known name, are refused", async () => {
  await using twin = await TestSite.start(undefined, { site: siteName("lab") })
  await assert.rejects(accept(lab, twin, []), { code: "USAGE" })
  await using impostor = await TestSite.start(undefined, { site: siteName("cineca") })
  await assert.rejects(accept(lab, impostor, []), { code: "USAGE" })
})
