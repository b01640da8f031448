/** The danger: somebody without a certificate has the network key, from an old invite or a former member. */
import assert from "node:assert/strict"
import { connect as connectTls, type ConnectionOptions } from "node:tls"
import { test } from "node:test"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { pointerTarget, signPointer, type PointerItem } from "#swarm/dht/pointer.ts"
import { encodeHandshake, peerIdOf } from "#swarm/wire.ts"
import { digestOf, infohashOf, networkKey, openNodes, RawPeer, signer, until } from "./dht-grid.ts"
import { testContent, testMember, testSwarm, torrentOf } from "./fixture.ts"

const content = testContent(400_000)
const torrent = torrentOf(content, 64 * 1024)

test("it can: ask the DHT who has which layer, and announce itself", async () => {
  const [node, other] = await openNodes(2)
  assert.ok(node && other)
  await node.announce(torrent.infohash, 7_001)
  await using thief = await RawPeer.open(networkKey)
  await until(
    async () => (await thief.peersAt(node.address, torrent.infohash)) + (await thief.peersAt(other.address, torrent.infohash)) > 0,
  )
  await using former = await RawPeer.open(digestOf("the network key of before"))
  assert.equal(await former.ask(node.address, "ping", {}, 300), null, "recovery: a key that was replaced is not even answered")
})

test("it can't: get a byte from those whom it finds there", async (t) => {
  const server = await testSwarm(t, "server", "server")
  const seeding = server.join(torrent, MemoryPieceStore.full(torrent, content))
  const foreign = await testMember("thief", "client", "elsewhere")
  const ways: ConnectionOptions[] = [
    { rejectUnauthorized: false },
    { ...foreign.admission.tlsClientOptions(), rejectUnauthorized: false, checkServerIdentity: () => undefined },
  ]
  for (const way of ways) {
    const socket = connectTls({ ...way, ...server.address })
    let received = 0
    socket.on("error", () => {}).on("data", (bytes: Buffer) => (received += bytes.length))
    socket.write(encodeHandshake({ infohash: torrent.infohash, peerId: peerIdOf(foreign.memberId) }))
    await new Promise((resolve) => socket.once("close", resolve))
    assert.equal(received, 0)
  }
  assert.equal(seeding.statistics().uploadedBytes, 0)
})

test("it can't: point to another catalog, which takes the pointer's own key", async () => {
  const [node, other] = await openNodes(2)
  assert.ok(node && other)
  const site = signer("the site")
  await node.putPointer({ signing: site, salt: "catalog", seq: 5, infohash: infohashOf("catalog 5") })
  await using thief = await RawPeer.open(networkKey)
  const target = pointerTarget(Buffer.from(site.publicKeyHex, "hex"), Buffer.from("catalog"))
  const token = (await thief.ask(node.address, "get", { target }))?.r?.["token"]
  const put = (item: PointerItem) => {
    const { publicKey: k, salt, signature: sig, seq } = item
    return thief.ask(node.address, "put", { k, salt, sig, seq, token, v: { ih: Buffer.from(item.infohash, "hex") } }, 500)
  }
  const own = signPointer({ signing: signer("the thief"), salt: "catalog", seq: 6, infohash: infohashOf("malware") })
  const { signature } = signPointer({ signing: site, salt: "catalog", seq: 5, infohash: infohashOf("catalog 5") })
  for (const forged of [
    { ...own, publicKey: Buffer.from(site.publicKeyHex, "hex") },
    { ...own, publicKey: Buffer.from(site.publicKeyHex, "hex"), signature },
  ])
    assert.equal((await put(forged))?.r, undefined)
  for (const asked of [node, other]) assert.equal((await asked.getPointer(site.publicKeyHex, "catalog"))?.seq, 5)
  const next = signPointer({ signing: site, salt: "catalog", seq: 7, infohash: infohashOf("catalog 7") })
  assert.ok((await put(next))?.r !== undefined, "the control: what the site signed it may pass on")
})
