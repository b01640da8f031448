/** A member of the site that listens as all do, ends every handshake rightly, and from then on behaves as the test says. */
import { once } from "node:events"
import type { AddressInfo } from "node:net"
import { createServer } from "node:tls"
import type { TestContext } from "node:test"
import type { Address } from "#core/address.ts"
import { admitPeer } from "#swarm/admission.ts"
import { Connection } from "#swarm/connection.ts"
import { peerIdOf, type WireMessage } from "#swarm/wire.ts"
import { testMember } from "./fixture.ts"

export type Behaviour = {
  /** Right after the handshake. */
  readonly greeted?: (connection: Connection) => void
  readonly message?: (connection: Connection, message: WireMessage) => void
}

export async function roguePeer(
  t: TestContext,
  name: string,
  behaviour: Behaviour,
): Promise<{ readonly address: Address; readonly connections: Connection[] }> {
  const { admission, memberId } = await testMember(name, "server")
  const connections: Connection[] = []
  const server = createServer(admission.tlsServerOptions(), (socket) => {
    socket.on("error", () => {})
    const connection = new Connection(socket, admitPeer(admission, socket), null)
    connections.push(connection)
    void (async () => {
      try {
        const { infohash } = await connection.readHandshake(5_000)
        connection.sendHandshake({ infohash, peerId: peerIdOf(memberId) })
        behaviour.greeted?.(connection)
        connection.start({ message: (message) => behaviour.message?.(connection, message), closed: () => {} })
      } catch {
        connection.close()
      }
    })()
  })
  server.on("tlsClientError", () => {})
  t.after(() => {
    for (const connection of connections) connection.close()
    server.close()
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return { address: { host: "127.0.0.1", port: (server.address() as AddressInfo).port }, connections }
}
