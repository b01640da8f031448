import assert from "node:assert/strict"
import { once } from "node:events"
import type { X509Certificate } from "node:crypto"
import { test } from "node:test"
import { connect } from "node:tls"
import type { AddressInfo } from "node:net"
import { createServer } from "node:tls"
import { admissionOf, authorityOf, clockAt, HOUR_MS, inviteOf, memberOf, ownOf, refusedWith, startMs } from "./site.ts"
import { handshake } from "./handshake.ts"

const authority = await authorityOf("authority")
const server = await memberOf(authority, "server", { role: "server" })
const client = await memberOf(authority, "client")

test("members of one site meet in TLS 1.3, and each learns who the other is", async () => {
  const answering = admissionOf(authority, ownOf(server))
  const dialling = admissionOf(authority, ownOf(client))
  let cipher = ""
  let protocol: string | null = ""
  const outcome = await handshake(answering, dialling.tlsClientOptions(["server"]), {
    observe: (socket) =>
      socket.once("secureConnect", () => {
        cipher = socket.getCipher().standardName
        protocol = socket.getProtocol()
        assert.equal(dialling.admitSocket(socket, ["server"]).signingKeyHex, server.identity.signing.publicKeyHex)
      }),
  })
  assert.equal(outcome.dialError, null)
  assert.equal(outcome.read, "welcome")
  assert.ok(outcome.answered !== null && "kind" in outcome.answered && outcome.answered.kind === "member")
  assert.equal(outcome.answered.memberId, client.identity.memberId)
  assert.deepEqual([protocol, cipher], ["TLSv1.3", "TLS_AES_128_GCM_SHA256"])
})

test("a client answers as well as it dials: clients seed to clients", async () => {
  const answering = admissionOf(authority, ownOf(client))
  const outcome = await handshake(answering, admissionOf(authority, ownOf(server)).tlsClientOptions())
  assert.equal(outcome.read, "welcome")
})

test("the holder of an invite is admitted where invites are", async () => {
  const invite = await inviteOf(authority, "invite")
  const visitor = admissionOf(authority, invite)
  const outcome = await handshake(admissionOf(authority, ownOf(server)), visitor.tlsClientOptions(["server"]), {
    answeringAdmits: ["server", "client", "invite"],
  })
  assert.equal(outcome.read, "welcome")
  assert.ok(outcome.answered !== null && "inviteId" in outcome.answered && outcome.answered.inviteId === invite.inviteId)
})

test("a new authority is admitted beside the old one as soon as the site document names it", async () => {
  const next = await authorityOf("next authority")
  const admission = admissionOf(authority, ownOf(server))
  const renewed = await memberOf(next, "renewed")
  assert.throws(() => admission.admit(renewed.der, ["client"]), refusedWith("CERTIFICATE_INVALID"))
  admission.update({ authorities: [authority.der, next.der] })
  assert.equal(admission.admit(renewed.der, ["client"]).kind, "member")
  assert.equal(admission.admit(client.der, ["client"]).kind, "member")
  assert.equal(
    (await handshake(admission, admissionOf(next, ownOf(renewed), { authorities: [authority.der, next.der] }).tlsClientOptions())).read,
    "welcome",
  )
})

test("a change is told once to each listener, and no change is not told", () => {
  const admission = admissionOf(authority, ownOf(server), { revoked: ["a"] })
  const told: string[] = []
  const stop = admission.onChange(() => told.push("first"))
  admission.onChange(() => told.push("second"))
  admission.update({ revoked: ["a"], authorities: [authority.der], certificateDer: server.der })
  admission.update({})
  assert.deepEqual(told, [])
  admission.update({ revoked: ["a", "b"] })
  assert.deepEqual(told, ["first", "second"])
  stop()
  admission.update({ revoked: ["b"] })
  assert.deepEqual(told, ["first", "second", "second"])
})

test("a renewed certificate is shown on the next connection", async () => {
  const renewed = await memberOf(authority, "client", { notAfterMs: startMs + 5 * HOUR_MS })
  const dialling = admissionOf(authority, ownOf(client))
  const answering = admissionOf(authority, ownOf(server))
  const expiry = async (): Promise<number> => {
    const { answered } = await handshake(answering, dialling.tlsClientOptions())
    assert.ok(answered !== null && "notAfterMs" in answered)
    return answered.notAfterMs
  }
  assert.equal(await expiry(), startMs + HOUR_MS)
  dialling.update({ certificateDer: renewed.der })
  assert.equal(dialling.certificate.notAfterMs, startMs + 5 * HOUR_MS)
  assert.equal(await expiry(), startMs + 5 * HOUR_MS)
})

test("a listening server takes changed authorities through setSecureContext()", async (t) => {
  const next = await authorityOf("next authority")
  const renewed = await memberOf(next, "renewed")
  const admission = admissionOf(authority, ownOf(server))
  const listening = createServer(admission.tlsServerOptions(), (socket) => socket.on("error", () => {}).end("welcome"))
  listening.on("tlsClientError", () => {})
  admission.onChange(() => listening.setSecureContext(admission.tlsServerOptions()))
  t.after(() => listening.close())
  listening.listen(0, "127.0.0.1")
  await once(listening, "listening")
  const dialling = admissionOf(next, ownOf(renewed), { authorities: [authority.der, next.der] })
  const read = async (): Promise<string> => {
    const socket = connect({ host: "127.0.0.1", port: (listening.address() as AddressInfo).port, ...dialling.tlsClientOptions() })
    let text = ""
    socket.on("error", () => {}).on("data", (chunk) => (text += String(chunk)))
    await once(socket, "close")
    return text
  }
  assert.equal(await read(), "")
  admission.update({ authorities: [authority.der, next.der] })
  assert.equal(await read(), "welcome")
})

test("an update that is refused changes nothing", async () => {
  const admission = admissionOf(authority, ownOf(server))
  const other = await memberOf(authority, "other")
  assert.throws(
    () => admission.update({ certificateDer: other.der, revoked: [client.identity.memberId] }),
    refusedWith("CERTIFICATE_INVALID"),
  )
  assert.throws(() => admission.update({ authorities: [client.der] }), refusedWith("CERTIFICATE_INVALID"))
  assert.throws(() => admission.update({ authorities: [Buffer.from("junk")] }), refusedWith("CERTIFICATE_INVALID"))
  assert.equal(admission.admit(client.der, ["client"]).kind, "member")
  assert.ok(admission.certificate.der.equals(server.der))
})

test("a socket without a certificate is refused", () => {
  const admission = admissionOf(authority, ownOf(server))
  const socket = { getPeerX509Certificate: (): X509Certificate | undefined => undefined }
  assert.throws(() => admission.admitSocket(socket, ["client"]), refusedWith("CERTIFICATE_INVALID"))
})

test("the clock that is asked is the one that was passed in", () => {
  const clock = clockAt(startMs)
  const admission = admissionOf(authority, ownOf(server), { clock })
  assert.equal(admission.admit(client.der, ["client"]).kind, "member")
  clock.now = startMs + HOUR_MS
  assert.throws(() => admission.admit(client.der, ["client"]), refusedWith("CERTIFICATE_EXPIRED"))
})
