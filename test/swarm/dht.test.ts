import assert from "node:assert/strict"
import { createSocket } from "node:dgram"
import { describe, test } from "node:test"
import { type Address, formatAddress } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import { readDhtState } from "#swarm/dht.ts"
import { MemoryDht, MemoryDhtNetwork } from "#swarm/dht/memory-dht.ts"
import { digestOf, infohashOf, loopback, MovableClock, networkKey, openNode, openNodes, RawPeer, signer, until } from "./dht-grid.ts"
import { dhtConformance } from "./dht-conformance.ts"

dhtConformance("Dht", ({ networkKeys, listen, bootstrap, state }) =>
  openNode({ ...(networkKeys && { networkKeys }), ...(listen && { listen }), ...(bootstrap && { bootstrap }), ...(state && { state }) }),
)

const memoryNetworks = new WeakMap<object, MemoryDhtNetwork>()
dhtConformance("MemoryDht", ({ network, networkKeys, ...options }) => {
  const shared = memoryNetworks.get(network) ?? new MemoryDhtNetwork()
  memoryNetworks.set(network, shared)
  return MemoryDht.open({ networkKeys: networkKeys ?? [networkKey], network: shared }, { listen: loopback, bootstrap: [], ...options })
})

const layer = infohashOf("a layer")
const alice = signer("alice")

let deadHosts = 0

/** An address of loopback where nothing listens: on a host of its own, as another test may be given the same port. */
async function deadAddress(): Promise<Address> {
  deadHosts += 1
  const host = `127.0.1.${deadHosts}`
  const socket = createSocket("udp4")
  await new Promise<void>((resolve) => socket.bind(0, host, resolve))
  const { port } = socket.address()
  await new Promise<void>((resolve) => socket.close(resolve))
  return { host, port }
}

describe("a DHT node", { concurrency: 8 }, () => {
  test("keeps trying an address that was dead at its start, and finds the network when it answers", async () => {
    const dead = await deadAddress()
    const clock = new MovableClock()
    const node = await openNode({ bootstrap: [dead], clock })
    await node.announce(layer, 7_001)
    assert.equal(node.nodeCount(), 0)
    const revived = await openNode({ listen: dead, clock })
    await until(() => {
      clock.advance(10_000)
      return node.nodeCount() === 1
    })
    await until(async () => (await revived.lookup(layer)).length === 1)
  })

  test("keeps trying on its own, with nothing to announce, however long it takes", async () => {
    const dead = await deadAddress()
    const clock = new MovableClock()
    const node = await openNode({ bootstrap: [dead], clock })
    await assert.rejects(
      until(() => {
        clock.advance(60_000)
        return node.nodeCount() > 0
      }, 3_000),
    )
    const revived = await openNode({ listen: dead })
    clock.advance(60_000)
    await until(() => node.nodeCount() === 1 && revived.nodeCount() === 1)
  })

  test("finds the network from any one address of its saved state", async () => {
    const dead = await Promise.all(Array.from({ length: 40 }, deadAddress))
    const living = await openNode()
    const clock = new MovableClock()
    const node = await openNode({ clock, state: { nodeId: "11".repeat(20), nodes: [...dead, living.address], pointers: [] } })
    await until(() => {
      clock.advance(10_000)
      return node.nodeCount() === 1
    })
  })

  test("joins a network of 60, whose whole table would not fit one packet", async () => {
    const nodes = await openNodes(60)
    await until(() => nodes.every((node) => node.nodeCount() >= 20))
    await nodes[3]?.announce(layer, 7_001)
    const newcomer = await openNode({ bootstrap: [nodes[59]?.address ?? loopback] })
    assert.deepEqual(await newcomer.lookup(layer), [{ host: "127.0.0.1", port: 7_001 }])
    assert.ok(newcomer.nodeCount() >= 20, `${newcomer.nodeCount()} nodes known`)
    assert.ok([newcomer, ...nodes].every((node) => node.packets.sizeWrong === 0))
    await Promise.all([newcomer, ...nodes].map((node) => node.close()))
  })

  test("finds peers of a layer that 300 seed, in replies that fit one packet", async () => {
    const [holder, asking] = await openNodes(2)
    assert.ok(holder && asking)
    for (let port = 8_000; port < 8_300; port += 1) await asking.announce(layer, port)
    const fresh = await openNode({ bootstrap: [holder.address, asking.address] })
    const found = await fresh.lookup(layer)
    assert.ok(found.length >= 100, `${found.length} found`)
    assert.equal(fresh.packets.sizeWrong, 0)
  })

  test("announces 200 layers at once, each of which is found", async () => {
    const [seeding, other] = await openNodes(4)
    assert.ok(seeding && other)
    await until(() => seeding.nodeCount() === 3)
    const layers = Array.from({ length: 200 }, (_, index) => infohashOf(`layer ${index}`))
    await Promise.all(layers.map((each) => seeding.announce(each, 7_001)))
    await using peer = await RawPeer.open()
    for (const each of layers) assert.equal(await peer.peersAt(other.address, each), 1)
  })

  test("announces and re-puts every ten minutes at the nodes that it knows, and at a newcomer soon", async () => {
    const clock = new MovableClock()
    const node = await openNode({ clock })
    await node.announce(layer, 7_001)
    await node.putPointer({ signing: alice, salt: "catalog", seq: 4, infohash: infohashOf("four") })
    await using newcomer = await RawPeer.open()
    newcomer.answer = { token: Buffer.from("token") }
    await newcomer.ask(node.address, "ping", {})
    assert.equal(node.nodeCount(), 1)
    for (let round = 0; round < 4; round += 1) {
      newcomer.asked.length = 0
      await until(() => {
        clock.advance(10_000)
        return newcomer.asked.includes("announce_peer") && newcomer.asked.includes("put")
      })
    }
  })

  test("asks an unknown address under each of its network keys, and a known one under the key that it was heard with", async () => {
    const [oldKey, newKey] = [digestOf("old key"), digestOf("new key")]
    for (const key of [oldKey, newKey]) {
      const clock = new MovableClock()
      await using peer = await RawPeer.open(key)
      peer.answer = { token: Buffer.from("token") }
      const node = await openNode({ networkKeys: [newKey, oldKey], bootstrap: [peer.address], clock })
      await until(() => node.nodeCount() === 1)
      assert.ok(peer.received >= 2, "one of the first two could be opened")
      const [received, asked] = [peer.received, peer.asked.length]
      await node.lookup(layer)
      assert.equal(peer.received - received, peer.asked.length - asked, "from then on all can be")
      await node.close()
    }
  })

  test("announces no more after withdraw()", async () => {
    const clock = new MovableClock()
    const kept = infohashOf("a layer that is kept")
    const [first, second] = await openNodes(2, { clock })
    assert.ok(first && second)
    await first.announce(layer, 7_001)
    await first.announce(kept, 7_001)
    first.withdraw(layer)
    const newcomer = await openNode({ clock, bootstrap: [second.address] })
    await until(() => newcomer.nodeCount() === 2)
    await using peer = await RawPeer.open()
    clock.advance(11 * 60_000)
    await until(async () => (await peer.peersAt(newcomer.address, kept)) === 1)
    assert.equal(await peer.peersAt(newcomer.address, layer), 0)
  })

  test("puts what it holds again, so that nodes which came after the publisher died answer with it", async () => {
    const clock = new MovableClock()
    const [holder, publisher] = await openNodes(2, { clock })
    assert.ok(holder && publisher)
    await publisher.putPointer({ signing: alice, salt: "catalog", seq: 4, infohash: infohashOf("four") })
    const item = await holder.getPointer(alice.publicKeyHex, "catalog")
    assert.ok(item)
    holder.hold(item)
    await publisher.close()
    const newcomer = await openNode({ clock, bootstrap: [holder.address] })
    await until(() => newcomer.nodeCount() >= 1)
    await using peer = await RawPeer.open()
    assert.equal(await peer.seqAt(newcomer.address, alice.publicKeyHex, "catalog"), null)
    clock.advance(11 * 60_000)
    await until(async () => (await peer.seqAt(newcomer.address, alice.publicKeyHex, "catalog")) === 4)
  })

  test("takes the newer pointer that it meets when it re-puts its own", async () => {
    const clock = new MovableClock()
    const [first, second] = await openNodes(2, { clock })
    assert.ok(first && second)
    await first.putPointer({ signing: alice, salt: "catalog", seq: 1, infohash: infohashOf("one") })
    await second.putPointer({ signing: alice, salt: "catalog", seq: 2, infohash: infohashOf("two") })
    clock.advance(11 * 60_000)
    await until(() => first.state().pointers[0]?.seq === 2)
  })

  test("resolves host names among the addresses it is told", async () => {
    const first = await openNode()
    const named = await openNode({ bootstrap: [{ host: "localhost", port: first.address.port }] })
    await until(() => named.nodeCount() === 1)
  })

  test("ends a lookup at once when its signal aborts, though the nodes asked are dead", async () => {
    const node = await openNode({ bootstrap: await Promise.all(Array.from({ length: 8 }, deadAddress)) })
    const abort = new AbortController()
    const looking = node.lookup(layer, abort.signal)
    const reason = new Error("enough")
    abort.abort(reason)
    await assert.rejects(looking, (error) => error === reason)
  })

  test("closes at once while it asks dead nodes", async () => {
    const node = await openNode({ bootstrap: [await deadAddress()] })
    const looking = node.lookup(layer)
    await node.close()
    assert.deepEqual(await looking, [])
  })

  test("is not among its own nodes, even when told its own address", async () => {
    const node = await openNode()
    node.addNodes([node.address, { host: "localhost", port: node.address.port }])
    await node.lookup(layer)
    assert.equal(node.nodeCount(), 0)
    assert.equal(
      node.state().nodes.some((at) => formatAddress(at) === formatAddress(node.address)),
      false,
    )
  })

  test("is not among its own nodes when it listens on every interface and meets itself", async () => {
    const node = await openNode({ listen: { host: "0.0.0.0", port: 0 }, bootstrap: [] })
    const other = await openNode({ bootstrap: [{ host: "127.0.0.1", port: node.address.port }] })
    await until(() => node.nodeCount() === 1)
    node.addNodes([{ host: "127.0.0.1", port: node.address.port }])
    const before = node.packets.accepted
    await until(() => node.packets.accepted >= before + 4)
    assert.equal(node.nodeCount(), 1)
    await other.close()
  })

  test("refuses an address that is not this machine's with ADDRESS_INVALID", async () => {
    await assert.rejects(
      openNode({ listen: { host: "192.0.2.1", port: 0 } }),
      (error) => error instanceof GridError && error.code === "ADDRESS_INVALID",
    )
  })

  test("refuses a network key that has not 32 bytes", async () => {
    await assert.rejects(openNode({ networkKeys: [digestOf("short").subarray(0, 31)] }), RangeError)
    await assert.rejects(openNode({ networkKeys: [] }), RangeError)
  })
})

test("readDhtState() refuses what is not a saved state with STATE_DAMAGED", async () => {
  const node = await openNode()
  const state = node.state()
  assert.deepEqual(readDhtState(JSON.parse(JSON.stringify(state))), state)
  for (const damaged of [null, {}, { ...state, nodeId: "ff" }, { ...state, nodes: [{ host: "a", port: 0 }] }, { ...state, pointers: [{}] }])
    assert.throws(
      () => readDhtState(damaged),
      (error) => error instanceof GridError && error.code === "STATE_DAMAGED",
    )
})
