import assert from "node:assert/strict"
import { once } from "node:events"
import { test, type TestContext } from "node:test"
import { createServer, type TLSSocket } from "node:tls"
import { GridError } from "#core/errors.ts"
import { infohash } from "#core/identifiers.ts"
import type { Connection } from "#swarm/connection.ts"
import { Dialler } from "#swarm/dialler.ts"
import { encodeHandshake, encodeMessages, HANDSHAKE_BYTES, peerIdOf } from "#swarm/wire.ts"
import { eventually, testMember } from "./fixture.ts"

const TIMEOUT = { timeout: 20_000 }
const INFOHASH = infohash("0123456789abcdef0123456789abcdef01234567")

/** A member that is dialled and whose part the test plays: `answer` is called when it has the other end's handshake. */
async function dialled(t: TestContext, answer: (socket: TLSSocket, handshake: Buffer) => void): Promise<Connection> {
  const server = await testMember("answering", "server")
  const client = await testMember("dialling", "client")
  const listener = createServer(server.admission.tlsServerOptions(), (socket) => {
    socket.on("error", () => undefined)
    socket.once("data", (bytes: Buffer) => {
      assert.ok(bytes.length >= HANDSHAKE_BYTES)
      answer(socket, encodeHandshake({ infohash: INFOHASH, peerId: peerIdOf(server.memberId) }))
    })
  })
  listener.listen(0, "127.0.0.1")
  await once(listener, "listening")
  t.after(() => listener.close())
  const at = listener.address()
  assert.ok(at !== null && typeof at === "object")
  const dialler = new Dialler(client.admission, client.memberId, () => performance.now())
  const connection = await dialler.dial({ host: "127.0.0.1", port: at.port }, INFOHASH, () => true)
  t.after(() => connection.close())
  return connection
}

function haves(count: number): Buffer {
  return encodeMessages(Array.from({ length: count }, (_, piece) => ({ type: "have", piece })))
}

/** Pieces that the peer told of, from now on. */
function listen(connection: Connection): number[] {
  const told: number[] = []
  connection.start({
    message: (message) => {
      assert.ok(message.type === "have")
      told.push(message.piece)
    },
    closed: () => undefined,
  })
  return told
}

test("messages that come on the heels of the handshake wait for who takes them, in order", TIMEOUT, async (t) => {
  const connection = await dialled(t, (socket, handshake) => socket.write(Buffer.concat([handshake, haves(5_000)])))
  const told = listen(connection)
  await eventually(() => told.length === 5_000)
  assert.ok(told.every((piece, at) => piece === at))
})

test("a handshake that comes byte by byte is read, and what follows is not lost", TIMEOUT, async (t) => {
  const connection = await dialled(t, (socket, handshake) => {
    for (const byte of handshake) socket.write(Buffer.of(byte))
    socket.write(haves(3))
  })
  const told = listen(connection)
  await eventually(() => told.length === 3)
})

test("a peer that floods before anyone takes its messages is left waiting, not kept in memory", TIMEOUT, async (t) => {
  const { promise: begun, resolve } = Promise.withResolvers<void>()
  const connection = await dialled(t, (socket, handshake) => {
    socket.write(Buffer.concat([handshake, haves(5_000)]), () => {
      socket.write(haves(495_000))
      resolve()
    })
  })
  await begun
  let calmRounds = 0
  let readBytes = 0
  await eventually(() => {
    calmRounds = connection.socket.bytesRead === readBytes ? calmRounds + 1 : 0
    readBytes = connection.socket.bytesRead
    return calmRounds === 10
  })
  assert.ok(readBytes < 1024 * 1024, `${readBytes} of 4,500,000 bytes were read`)
  const told = listen(connection)
  await eventually(() => told.length === 500_000)
})

test("two connections that read in turns do not mix up what they bring", TIMEOUT, async (t) => {
  // Messages of 13 bytes over records of 4 kB: most records end within one.
  const send = (from: number) => (socket: TLSSocket, handshake: Buffer) => {
    socket.setMaxSendFragment(4_096)
    const requests = Array.from({ length: 20_000 }, (_, at) => ({ type: "request" as const, piece: from, offset: at, length: 1 }))
    socket.write(Buffer.concat([handshake, encodeMessages(requests)]))
  }
  const connections = [await dialled(t, send(1)), await dialled(t, send(2))]
  const offsets = connections.map((connection, at) => {
    const came: number[] = []
    connection.start({
      message: (message) => {
        assert.ok(message.type === "request" && message.piece === at + 1)
        came.push(message.offset)
      },
      closed: () => undefined,
    })
    return came
  })
  await eventually(() => offsets.every((came) => came.length === 20_000))
  for (const came of offsets) assert.ok(came.every((offset, at) => offset === at))
})

test("a peer that closes at once ends the wait for its handshake", TIMEOUT, async (t) => {
  await assert.rejects(
    dialled(t, (socket) => socket.destroy()),
    (error) => error instanceof GridError && error.code === "SEEDERS_MISSING",
  )
})
