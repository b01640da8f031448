/** The danger: whoever is revoked keeps what it has open: a connection to the API, or a server's connection that we opened. */
import assert from "node:assert/strict"
import { once } from "node:events"
import { createServer, connect, type TLSSocket } from "node:tls"
import type { AddressInfo } from "node:net"
import { after, before, test } from "node:test"
import { address } from "../../core/address.ts"
import { systemClock } from "../../core/clock.ts"
import { routes } from "../../core/wire.ts"
import { decodeInvite } from "../../crypto/invite.ts"
import { ApiClient } from "../../member/api-client.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { testMember } from "../swarm/fixture.ts"
import { TestSite } from "../member/site.ts"

let site: TestSite
before(async () => {
  site = await TestSite.start()
})
after(() => site[Symbol.asyncDispose]())

async function member(name: string): Promise<Member> {
  return Member.start({ home: await site.join(name), clock: systemClock, log: silentLog }, { network: "api-only" })
}

/** A connection to the API that has had one answer and is kept open. */
async function keptAlive(caller: Member): Promise<TLSSocket> {
  const { host, port } = address(site.server.apiAddress)
  const socket = connect({ ...caller.admission.tlsClientOptions(), host, port })
  socket.on("error", () => {})
  await once(socket, "secureConnect")
  await answered(socket)
  return socket
}

async function answered(socket: TLSSocket): Promise<string> {
  socket.write(`GET ${routes.health} HTTP/1.1\r\nhost: server\r\nconnection: keep-alive\r\n\r\n`)
  const [bytes] = (await once(socket, "data")) as [Buffer]
  return bytes.toString("latin1")
}

test("a revoked member's open connection to the API is cut at once, another's goes on", async () => {
  const [bad, good] = [await member("bad"), await member("good")]
  const sockets = [await keptAlive(bad), await keptAlive(good)] as const
  const cut = once(sockets[0], "close")
  await site.revoke(bad.home.memberId)
  await cut
  assert.match(await answered(sockets[1]), /^HTTP\/1\.1 200/)
  sockets[1].destroy()
  await Promise.all([bad.close(), good.close()])
})

test("an invite that is revoked lets nobody in, and a newcomer's own one still does", async () => {
  const [bad, good] = [await site.invite(), await site.invite()]
  const { certificateDer } = decodeInvite(bad)
  const invite = site.server.member.admission.admit(certificateDer, ["invite"])
  assert.equal(invite.kind, "invite")
  if (invite.kind === "invite") await site.revoke(invite.inviteId)
  await assert.rejects(site.join("uninvited", systemClock, bad), { code: "CERTIFICATE_INVALID" })
  assert.equal((await site.join("invited", systemClock, good)).role, "client")
})

test("a server that is revoked while it answers is not listened to any longer", async (t) => {
  const [caller, server] = [await testMember("caller", "client"), await testMember("slow", "server")]
  const listening = createServer(server.admission.tlsServerOptions())
  const asked = once(listening, "secureConnection")
  listening.listen(0, "127.0.0.1")
  await once(listening, "listening")
  t.after(() => listening.close())
  const { port } = listening.address() as AddressInfo
  const answer = new ApiClient(caller.admission).bytes({ host: "127.0.0.1", port }, { path: routes.catalog })
  const refused = assert.rejects(answer, { code: "CERTIFICATE_INVALID", message: /revoked/ })
  const [socket] = (await asked) as [TLSSocket]
  await once(socket, "data")
  caller.admission.update({ revoked: [server.memberId] })
  await refused
})

test("a revoked server's addresses are not asked any more and its record is not passed on", async () => {
  const client = await member("asking")
  assert.equal(client.directory.contacts("api").length, 1)
  client.admission.update({ revoked: [site.home.memberId] })
  assert.deepEqual(client.directory.contacts("api"), [])
  assert.deepEqual(client.directory.records(), [])
  await client.close()
})
