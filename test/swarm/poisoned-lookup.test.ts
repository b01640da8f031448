/** The danger: members fill the DHT with peers that do not exist, and downloads drown in dialling them. */
import assert from "node:assert/strict"
import { once } from "node:events"
import { createServer, type AddressInfo, type Socket } from "node:net"
import { test, type TestContext } from "node:test"
import type { Infohash } from "#core/identifiers.ts"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { infohashOf, MovableClock, networkKey, openNode, openNodes, RawPeer, until } from "./dht-grid.ts"
import { addressesOf, readAll, testContent, testSwarm, torrentOf } from "./fixture.ts"

const SOURCES = 100
const PORTS = 100

/** Listeners that take every connection and never say a word, on every address of loopback. */
class BlackHole {
  readonly ports: number[] = []
  readonly #open = new Set<Socket>()
  dials = 0
  openAtOnceMax = 0

  static async listen(t: TestContext, count: number): Promise<BlackHole> {
    const hole = new BlackHole()
    for (let listener = 0; listener < count; listener += 1) {
      const server = createServer((socket) => {
        hole.#open.add(socket)
        hole.dials += 1
        hole.openAtOnceMax = Math.max(hole.openAtOnceMax, hole.#open.size)
        socket.on("error", () => {}).on("close", () => hole.#open.delete(socket))
      }).listen(0, "0.0.0.0")
      await once(server, "listening")
      hole.ports.push((server.address() as AddressInfo).port)
      t.after(() => server.close())
    }
    t.after(() => {
      for (const socket of hole.#open) socket.destroy()
    })
    return hole
  }
}

/** Members at as many addresses, each of which announces a peer at every one of the ports. */
async function announceFalsePeers(
  t: TestContext,
  node: Awaited<ReturnType<typeof openNode>>,
  clock: MovableClock,
  layer: Infohash,
  ports: readonly number[],
) {
  const info_hash = Buffer.from(layer, "hex")
  for (let source = 1; source <= SOURCES; source += 1) {
    const attacker = await RawPeer.open(networkKey, { host: `127.0.1.${source}` })
    t.after(() => attacker.close())
    const token = (await attacker.ask(node.address, "get_peers", { info_hash }))?.r?.["token"]
    for (const port of ports) await attacker.ask(node.address, "announce_peer", { info_hash, port, implied_port: 0, token })
    // Seconds of the node's clock, so that it takes as many as it takes in minutes.
    clock.advance(1_000)
  }
  assert.deepEqual([node.packets.overRate, node.packets.overQuota], [0, 0], "every announce was taken")
  assert.ok(node.packets.accepted >= SOURCES * ports.length)
}

test("10,000 false peers in the DHT: a download finishes, and dials few of them, a few at a time", { timeout: 60_000 }, async (t) => {
  const content = testContent(3_000_000)
  const torrent = torrentOf(content, 64 * 1024)
  const clock = new MovableClock()
  const [serverNode, clientNode] = await openNodes(2, { clock })
  assert.ok(serverNode && clientNode)
  const server = await testSwarm(t, "server", "server", { discovery: serverNode, uploadBytesPerSecondLimit: 1_000_000 })
  server.join(torrent, MemoryPieceStore.full(torrent, content))
  const hole = await BlackHole.listen(t, PORTS)
  await announceFalsePeers(t, serverNode, clock, torrent.infohash, hole.ports)
  await using asker = await RawPeer.open()
  assert.equal(await asker.peersAt(serverNode.address, torrent.infohash), 100, "a node answers for a layer of thousands, and in one packet")
  const found = await clientNode.lookup(torrent.infohash)
  assert.ok(found.filter(({ host }) => host.startsWith("127.0.1.")).length > 50, "the lookup is poisoned indeed")

  const client = await testSwarm(t, "client", "client", { discovery: clientNode })
  const peers = addressesOf(server)
  const startedMs = performance.now()
  await client.fetchTorrent(torrent.infohash, { peers })
  const session = client.join(torrent, new MemoryPieceStore(torrent))
  session.addPeers(peers)
  await session.whenComplete()
  const tookMs = performance.now() - startedMs
  assert.ok((await readAll(session)).equals(content))
  assert.ok(hole.dials > 0, "none of them was dialled: nothing was put to the test")
  assert.ok(hole.dials <= 40, `${hole.dials} false peers were dialled in ${Math.round(tookMs)} ms`)
  assert.ok(hole.openAtOnceMax <= 8, `${hole.openAtOnceMax} at once`)
  assert.ok(tookMs < 15_000, `${Math.round(tookMs)} ms for 3 s of download`)
})

test("nodes that answer every lookup with lies give a bounded number of addresses", { timeout: 30_000 }, async (t) => {
  const layer = infohashOf("a layer")
  const near = Buffer.from(layer, "hex")
  const attackers: RawPeer[] = []
  for (let number = 0; number < 40; number += 1) {
    const id = Buffer.from(near)
    id.writeUInt16BE(number, 18)
    const attacker = await RawPeer.open(networkKey, { id })
    t.after(() => attacker.close())
    attackers.push(attacker)
  }
  const nodes = Buffer.concat(
    attackers
      .slice(0, 16)
      .map(({ id, address }) => Buffer.concat([id, Buffer.from([127, 0, 0, 1, address.port >> 8, address.port & 255])])),
  )
  for (const [number, attacker] of attackers.entries()) {
    const values = Array.from({ length: 120 }, (_, index) => Buffer.from([127, 1, number, index, 1, 1]))
    attacker.answer = { token: Buffer.alloc(20), nodes, values }
  }
  const client = await openNode({ bootstrap: attackers.map(({ address }) => address) })
  await until(() => client.nodeCount() >= 8)
  const found = await client.lookup(layer)
  assert.ok(found.length > 300 && found.length <= 1_000, `${found.length} addresses`)
})
