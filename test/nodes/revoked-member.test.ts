/** The danger: who was thrown out goes on with the connections, the certificate or the invite that it has, at this server or at another. */
import assert from "node:assert/strict"
import { once } from "node:events"
import { test } from "node:test"
import { connect, type TLSSocket } from "node:tls"
import { randomBytes } from "node:crypto"
import { join } from "node:path"
import { address, formatAddress, type Address } from "../../core/address.ts"
import { systemClock } from "../../core/clock.ts"
import { layerOf } from "../../core/documents.ts"
import { readMembershipAnswer, routes } from "../../core/wire.ts"
import { decodeInvite } from "../../crypto/invite.ts"
import { joinSite } from "../../member/join.ts"
import type { Member } from "../../member/member.ts"
import { revoke } from "../../nodes/revoke.ts"
import { encodeHandshake, peerIdOf } from "../../swarm/wire.ts"
import { TestSite, until } from "../member/site.ts"

/** Far below the time after which a server hangs up on a connection that says nothing. */
const CUT_WITHIN_MS = 15_000
const refuse = { ownMember: "refuse" } as const

test("a revoked member's live connections are cut, in the swarm and at the API of each server, and it comes in nowhere again", async () => {
  await using site = await TestSite.start()
  await site.publish("os:1")
  const servers = [site.server, await site.run(await site.joinServer("second"))]
  const [layer] = [...site.server.member.catalogs.catalog.images.values()].map((manifest) => layerOf(manifest, "full"))
  assert.ok(layer !== undefined)
  await until("both servers know of each other and serve the layer", () =>
    servers.every(({ member }) => member.directory.records().length === 2 && member.swarm.session(layer.infohash) !== null),
  )
  const [member, other] = [await site.member(await site.join("client")), await site.member(await site.join("other"))]

  const handshakeOf = ({ home }: Member) => encodeHandshake({ infohash: layer.infohash, peerId: peerIdOf(home.memberId) })
  const inTouch = async (one: Member) => {
    const sockets: TLSSocket[] = []
    for (const server of servers) {
      sockets.push(await dial(one, address(server.apiAddress), Buffer.from("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"), /^HTTP\/1.1 200/))
      sockets.push(await dial(one, server.member.swarm.address, handshakeOf(one), /^.BitTorrent protocol/s))
    }
    return sockets
  }
  const [live, spared] = [await inTouch(member), await inTouch(other)]
  const cut = Promise.all(live.map((socket) => once(socket, "close", { signal: AbortSignal.timeout(CUT_WITHIN_MS) })))

  assert.deepEqual((await revoke(await site.parts(), [member.home.memberId], refuse))?.ids, [member.home.memberId])
  await cut
  assert.deepEqual(
    spared.map(({ destroyed }) => destroyed),
    [false, false, false, false],
  )
  for (const socket of spared) socket.destroy()

  for (const { apiAddress } of servers) {
    for (const path of [routes.catalog, routes.servers, routes.status])
      await assert.rejects(member.api.bytes(address(apiAddress), { path }), { code: "CERTIFICATE_INVALID", message: /was revoked by demo/ })
    const renewal = { method: "POST", path: routes.renew, body: { clockMs: systemClock.nowMs() } } as const
    await assert.rejects(member.api.json(address(apiAddress), renewal, readMembershipAnswer), { code: "CERTIFICATE_INVALID" })
  }
  await assert.rejects(member.renew(), { code: "CERTIFICATE_INVALID" })
  await other.renew()
  assert.equal(await revoke(await site.parts(), [member.home.memberId], refuse), null, "once is enough")
})

/** A connection of the member that has said its word and got its answer. */
async function dial(member: Member, at: Address, word: Buffer, answer: RegExp): Promise<TLSSocket> {
  const socket = connect({ host: at.host, port: at.port, ...member.admission.tlsClientOptions(["server"]) })
  socket.on("error", () => {})
  await once(socket, "secureConnect")
  socket.write(word)
  const [bytes] = (await once(socket, "data")) as [Buffer]
  assert.match(bytes.toString("latin1"), answer)
  return socket.resume()
}

test("a revoked invite is refused at every server, and whoever joined with it before stays", async () => {
  await using site = await TestSite.start()
  const second = await site.run(await site.joinServer("second"))
  await until("the servers know of each other", () => site.server.member.directory.records().length === 2)
  const { text, inviteId } = await site.inviteFrom(site.home, { uses: 5 })
  const early = await site.join("early", systemClock, text)
  await revoke(await site.parts(), [inviteId], refuse)
  await until("the second server has heard of it", () => second.member.catalogs.catalog.site.revoked.includes(inviteId))

  const invite = decodeInvite(text)
  const loopback = { host: "127.0.0.1", port: 0 }
  for (const { apiAddress } of [site.server, second]) {
    assert.ok(invite.api.map(formatAddress).includes(apiAddress))
    const options = { directory: join(site.directory, `late-${apiAddress}`), listen: { api: null, swarm: loopback, dht: loopback } }
    const only = { ...invite, api: [address(apiAddress)] }
    await assert.rejects(joinSite(only, { clock: systemClock, random: randomBytes }, options), {
      code: "CERTIFICATE_INVALID",
      message: new RegExp(`invite ${inviteId} was revoked by demo`),
    })
  }
  await (await site.member(early)).renew()
})

test("a home does not revoke its own member unless that is said in so many words, and then hears that it is done", async () => {
  await using site = await TestSite.start()
  const parts = await site.parts()
  await assert.rejects(revoke(parts, [site.home.memberId], refuse), { code: "USAGE", message: /add --yes/ })
  const made = await revoke(parts, [site.home.memberId], { ownMember: "revoke" })
  assert.equal(made?.applied, true)
  assert.deepEqual(site.server.member.catalogs.catalog.site.revoked, [site.home.memberId])
})

test("a revoked server's records are taken by nobody any more, and it gets no keys", async () => {
  await using site = await TestSite.start()
  const second = await site.run(await site.joinServer("second"))
  await until("the servers know of each other", () => site.server.member.directory.records().length === 2)
  const record = second.member.directory.records().find(({ memberId }) => memberId === second.member.home.memberId)
  assert.ok(record !== undefined)
  await revoke(await site.parts(), [second.member.home.memberId], refuse)
  assert.equal(await site.server.member.directory.consider([{ ...record, seq: record.seq + 1 }]), false)
  await assert.rejects(second.member.renew(), { code: "CERTIFICATE_INVALID" })
})
