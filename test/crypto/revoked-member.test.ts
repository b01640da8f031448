/** The danger: a member that was thrown out keeps what it has: a connection, a TLS session, an unused invite. */
import assert from "node:assert/strict"
import { once } from "node:events"
import type { AddressInfo } from "node:net"
import { test } from "node:test"
import { connect, createServer, type TLSSocket } from "node:tls"
import { handshake } from "./handshake.ts"
import { admissionOf, authorityOf, inviteOf, memberOf, ownOf, refusedWith } from "./site.ts"

const authority = await authorityOf("authority")
const server = await memberOf(authority, "server", { role: "server" })
const client = await memberOf(authority, "client")
const refused = refusedWith("CERTIFICATE_INVALID")

test("a revoked member is refused on both ends of a handshake", async () => {
  const revoked = [client.identity.memberId]
  const outcome = await handshake(
    admissionOf(authority, ownOf(server), { revoked }),
    admissionOf(authority, ownOf(client)).tlsClientOptions(),
  )
  assert.ok(outcome.answered instanceof Error && refused(outcome.answered))
  assert.equal(outcome.read, "")
  const dialled = await handshake(
    admissionOf(authority, ownOf(client)),
    admissionOf(authority, ownOf(server), { revoked }).tlsClientOptions(),
  )
  assert.ok(dialled.dialError !== null && refused(dialled.dialError))
})

test("a revoked invite is refused", async () => {
  const invite = await inviteOf(authority, "invite")
  const admission = admissionOf(authority, ownOf(server), { revoked: [invite.inviteId] })
  assert.throws(() => admission.admit(invite.der, ["invite"]), refused)
})

test("a live connection is found out when the revocation arrives", async (t) => {
  const admission = admissionOf(authority, ownOf(server))
  const live = new Set<TLSSocket>()
  const listening = createServer(admission.tlsServerOptions(), (socket) => {
    admission.admitSocket(socket, ["client"])
    socket.on("error", () => {}).resume()
    live.add(socket)
    socket.write("welcome")
  })
  admission.onChange(() => {
    for (const socket of live)
      try {
        admission.admitSocket(socket, ["client"])
      } catch {
        socket.destroy()
      }
  })
  t.after(() => listening.close())
  listening.listen(0, "127.0.0.1")
  await once(listening, "listening")
  const dialling = admissionOf(authority, ownOf(client))
  const socket = connect({ host: "127.0.0.1", port: (listening.address() as AddressInfo).port, ...dialling.tlsClientOptions() })
  socket.on("error", () => {})
  const closed = once(socket, "close")
  await once(socket, "data")
  admission.update({ revoked: ["00".repeat(16)] })
  assert.ok(
    [...live].every((one) => !one.destroyed),
    "another's revocation leaves it alone",
  )
  admission.update({ revoked: [client.identity.memberId] })
  await closed
})

test("a TLS session that was saved is not taken back: every connection shows its certificate", async (t) => {
  const answering = admissionOf(authority, ownOf(server))
  const dialling = admissionOf(authority, ownOf(client))
  const resumed: boolean[] = []
  const listening = createServer(answering.tlsServerOptions(), (socket) => {
    resumed.push(socket.isSessionReused())
    socket.on("error", () => {}).end("welcome")
  })
  t.after(() => listening.close())
  listening.listen(0, "127.0.0.1")
  await once(listening, "listening")
  let session: Buffer | undefined
  for (let dial = 0; dial < 3; dial++) {
    const { port } = listening.address() as AddressInfo
    const socket = connect({ host: "127.0.0.1", port, ...dialling.tlsClientOptions(), ...(session && { session }) })
    socket.on("session", (bytes: Buffer) => (session = bytes)).resume()
    await once(socket, "close")
  }
  assert.ok(session !== undefined, "OpenSSL gave the dialling end something to come back with")
  assert.deepEqual(resumed, [false, false, false])
})
