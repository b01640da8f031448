/** The danger: somebody sits on the way between two members, and reads, changes or answers what they say to each other. */
import assert from "node:assert/strict"
import { once } from "node:events"
import { connect as connectPlain, createServer as createPlainServer, type AddressInfo, type Server, type Socket } from "node:net"
import { test, type TestContext } from "node:test"
import { connect, createServer } from "node:tls"
import { siteName } from "#core/identifiers.ts"
import type { Admission } from "#crypto/admission.ts"
import { admissionOf, authorityOf, inviteOf, memberOf, ownOf } from "./site.ts"

const authority = await authorityOf("authority")
const server = await memberOf(authority, "server", { role: "server" })
const client = await memberOf(authority, "client")
const QUESTION = "a question with a secret in it"
const ANSWER = "an answer with a secret in it"

async function listening(t: TestContext, listener: Server): Promise<number> {
  t.after(() => listener.close())
  listener.listen(0, "127.0.0.1")
  await once(listener, "listening")
  return (listener.address() as AddressInfo).port
}

/** A server of the site that answers the one question; gives what it heard. */
async function answering(t: TestContext): Promise<{ readonly port: number; readonly heard: string[] }> {
  const admission = admissionOf(authority, ownOf(server))
  const heard: string[] = []
  const listener = createServer(admission.tlsServerOptions(), (socket) => {
    socket
      .on("error", () => {})
      .on("data", (bytes) => {
        heard.push(bytes.toString())
        if (bytes.toString() === QUESTION) socket.end(ANSWER)
      })
    try {
      admission.admitSocket(socket, ["server", "client"])
    } catch {
      socket.destroy()
    }
  })
  listener.on("tlsClientError", () => {})
  return { port: await listening(t, listener), heard }
}

/** Asks the question over this port; gives what came back, and whether anything was said at all. */
async function asking(port: number): Promise<{ readonly read: string; readonly said: boolean }> {
  const socket = connect({ host: "127.0.0.1", port, ...admissionOf(authority, ownOf(client)).tlsClientOptions(["server"]) })
  let [read, said] = ["", false]
  socket.on("error", () => {}).on("data", (bytes) => (read += bytes.toString()))
  socket.once("secureConnect", () => {
    said = true
    socket.write(QUESTION)
  })
  await new Promise((resolve) => socket.once("close", resolve))
  return { read, said }
}

/** Passes bytes on both ways, changed as it likes; keeps all that it saw. */
async function passing(
  t: TestContext,
  to: number,
  change: (bytes: Buffer, seenBytes: number, from: "client" | "server") => Buffer = (bytes) => bytes,
) {
  const seen: Buffer[] = []
  const listener = createPlainServer((socket) => {
    const onward = connectPlain(to, "127.0.0.1")
    const pass = (from: Socket, into: Socket, who: "client" | "server") => {
      let seenBytes = 0
      from.on("error", () => into.destroy()).on("close", () => into.destroy())
      from.on("data", (bytes: Buffer) => {
        seen.push(bytes)
        into.write(change(Buffer.from(bytes), seenBytes, who))
        seenBytes += bytes.length
      })
    }
    pass(socket, onward, "client")
    pass(onward, socket, "server")
  })
  return { port: await listening(t, listener), seen: () => Buffer.concat(seen) }
}

test("a relay that passes every byte on learns neither what is said nor who says it", async (t) => {
  const { port, heard } = await answering(t)
  const relay = await passing(t, port)
  assert.deepEqual(await asking(relay.port), { read: ANSWER, said: true })
  assert.deepEqual(heard, [QUESTION])
  const seen = relay.seen()
  assert.ok(seen.length > 1_000)
  for (const secret of [
    QUESTION,
    ANSWER,
    "imagegrid://",
    client.identity.memberId,
    server.identity.memberId,
    client.der,
    server.der.subarray(100, 200),
  ])
    assert.ok(!seen.includes(secret), String(secret).slice(0, 20))
})

test("a relay that changes one byte, wherever, ends the connection, and no changed word arrives", async (t) => {
  const { port, heard } = await answering(t)
  for (const who of ["client", "server"] as const)
    for (const at of [0, 1, 6, 50, 120, 300, 700, 1_100, 1_300]) {
      heard.length = 0
      const relay = await passing(t, port, (bytes, seenBytes, from) => {
        const position = at - seenBytes
        if (from === who && position >= 0 && position < bytes.length) bytes[position] = (bytes[position] ?? 0) ^ 0x20
        return bytes
      })
      const { read } = await asking(relay.port)
      for (const word of heard) assert.equal(word, QUESTION)
      assert.ok(read === "" || read === ANSWER, `${who} ${at}: ${JSON.stringify(read)}`)
      // Beyond what is said in whole, a changed byte has nothing to change.
      if (at < 700) assert.equal(read, "", `${who} ${at}`)
    }
})

test("a relay that ends TLS with a certificate of its own is refused by both ends, before either has said a word", async (t) => {
  const { port, heard } = await answering(t)
  const stranger = await authorityOf("stranger")
  const elsewhere = await authorityOf("their authority", siteName("elsewhere"))
  const invite = await inviteOf(authority, "invite")
  const rogue = await memberOf(authority, "rogue client")
  const everyone = { authorities: [authority.der, stranger.der, elsewhere.der] }
  const relays: [what: string, admission: Admission][] = [
    ["an authority of the same name", admissionOf(stranger, ownOf(await memberOf(stranger, "forged", { role: "server" })), everyone)],
    ["another site's server", admissionOf(elsewhere, ownOf(await memberOf(elsewhere, "theirs", { role: "server" })), everyone)],
    ["an invite's certificate", admissionOf(authority, { signing: invite.signing, der: invite.der }, everyone)],
    ["a client of the site that poses as its server", admissionOf(authority, ownOf(rogue), everyone)],
  ]
  for (const [what, admission] of relays) {
    let overheard = ""
    const listener = createServer({ ...admission.tlsServerOptions(), rejectUnauthorized: false }, (socket) => {
      socket.on("error", () => {}).on("data", (bytes) => (overheard += bytes.toString()))
      const onward = connect({ host: "127.0.0.1", port, ...admission.tlsClientOptions(), checkServerIdentity: () => undefined })
      onward.on("error", () => {})
      socket.pipe(onward).pipe(socket)
      socket.on("close", () => onward.destroy())
    })
    listener.on("tlsClientError", () => {})
    const outcome = await asking(await listening(t, listener))
    assert.deepEqual([outcome.read, overheard], ["", ""], what)
  }
  assert.deepEqual(heard, [])
})
