/** What every DHT adapter must do; run by dht.test.ts against both. */
import assert from "node:assert/strict"
import { describe, test } from "node:test"
import { type Address, formatAddress } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import type { DhtPort } from "#swarm/dht/dht-port.ts"
import { type PointerItem, signPointer } from "#swarm/dht/pointer.ts"
import type { DhtState } from "#swarm/dht/state.ts"
import { digestOf, infohashOf, loopback, signer, until } from "./dht-grid.ts"

export type OpenDht = (options: {
  readonly network: object
  readonly networkKeys?: readonly Uint8Array[]
  readonly listen?: Address
  readonly bootstrap?: readonly Address[]
  readonly state?: DhtState
}) => Promise<DhtPort>

async function close(nodes: readonly DhtPort[]): Promise<void> {
  await Promise.all(nodes.map((node) => node.close()))
}

export function dhtConformance(name: string, open: OpenDht): void {
  const layer = infohashOf("a layer")
  const alice = signer("alice")

  /** Nodes that each know only the first. */
  async function network(count: number): Promise<[DhtPort, DhtPort, ...DhtPort[]]> {
    const shared = {}
    const first = await open({ network: shared })
    const second = await open({ network: shared, bootstrap: [first.address] })
    const rest = Array.from({ length: count - 2 }, () => open({ network: shared, bootstrap: [first.address] }))
    return [first, second, ...(await Promise.all(rest))]
  }

  function pointer(seq: number, target: string, by = alice): PointerItem {
    return signPointer({ signing: by, salt: "catalog", seq, infohash: infohashOf(target) })
  }

  describe(`${name} is a DHT that`, { concurrency: 8 }, () => {
    test("finds every announce from every one of 8 nodes that know only the first", async () => {
      const nodes = await network(8)
      await Promise.all(nodes.map((node, index) => node.announce(layer, 7_001 + index)))
      for (const node of nodes) {
        const found = (await node.lookup(layer)).map(formatAddress).sort()
        assert.deepEqual(
          found,
          nodes.map((_, index) => `127.0.0.1:${7_001 + index}`),
        )
      }
      await close(nodes)
    })

    test("finds nothing under an infohash that nobody announced", async () => {
      const nodes = await network(3)
      await nodes[0].announce(layer, 7_001)
      assert.deepEqual(await nodes[1].lookup(infohashOf("another layer")), [])
      await close(nodes)
    })

    test("answers a newcomer with what was announced before it came", async () => {
      const shared = {}
      const first = await open({ network: shared })
      await first.announce(layer, 7_001)
      const newcomer = await open({ network: shared, bootstrap: [first.address] })
      assert.deepEqual(await newcomer.lookup(layer), [{ host: "127.0.0.1", port: 7_001 }])
      await close([first, newcomer])
    })

    test("takes announces and pointers while it is alone, and shares them when another comes", async () => {
      const shared = {}
      const alone = await open({ network: shared })
      await alone.announce(layer, 7_001)
      await alone.putPointer({ signing: alice, salt: "catalog", seq: 3, infohash: infohashOf("three") })
      const newcomer = await open({ network: shared, bootstrap: [alone.address] })
      assert.equal((await newcomer.getPointer(alice.publicKeyHex, "catalog"))?.seq, 3)
      assert.equal((await newcomer.lookup(layer)).length, 1)
      await close([alone, newcomer])
    })

    test("does not find the nodes of another network key", async () => {
      const shared = {}
      const member = await open({ network: shared })
      await member.announce(layer, 7_001)
      const stranger = await open({ network: shared, networkKeys: [digestOf("another key")], bootstrap: [member.address] })
      assert.deepEqual(await stranger.lookup(layer), [])
      assert.equal(stranger.nodeCount(), 0)
      assert.equal(member.nodeCount(), 0)
      await close([member, stranger])
    })

    test("lets those who hold the old network key alone, both, and the new one alone find each other's announces", async () => {
      const [oldKey, newKey] = [digestOf("old key"), digestOf("new key")]
      const shared = {}
      const both = await open({ network: shared, networkKeys: [oldKey] })
      const behind = await open({ network: shared, networkKeys: [oldKey], bootstrap: [both.address] })
      await until(() => behind.nodeCount() === 1)
      both.setNetworkKeys([newKey, oldKey])
      const ahead = await open({ network: shared, networkKeys: [newKey], bootstrap: [both.address] })
      const alsoBoth = await open({ network: shared, networkKeys: [newKey, oldKey], bootstrap: [both.address] })
      await Promise.all([both, behind, ahead, alsoBoth].map((node, index) => node.announce(layer, 7_001 + index)))
      for (const node of [both, behind, ahead, alsoBoth])
        await until(async () => {
          return new Set((await node.lookup(layer)).map(({ port }) => port)).size === 4
        })
      await close([both, behind, ahead, alsoBoth])
    })

    test("takes those who hold the old network key alone for strangers once it has dropped that", async () => {
      const [oldKey, newKey] = [digestOf("old key"), digestOf("new key")]
      const shared = {}
      const first = await open({ network: shared, networkKeys: [newKey, oldKey] })
      const second = await open({ network: shared, networkKeys: [newKey, oldKey], bootstrap: [first.address] })
      await first.announce(layer, 7_001)
      first.setNetworkKeys([newKey])
      const behind = await open({ network: shared, networkKeys: [oldKey], bootstrap: [first.address] })
      assert.deepEqual(await behind.lookup(layer), [])
      assert.equal(behind.nodeCount(), 0)
      second.setNetworkKeys([newKey])
      await until(async () => (await second.lookup(layer)).length === 1)
      assert.throws(() => second.setNetworkKeys([]), RangeError)
      await close([first, second, behind])
    })

    test("gives every node the pointer that one has put", async () => {
      const nodes = await network(5)
      await nodes[1].putPointer({ signing: alice, salt: "catalog", seq: 7, infohash: infohashOf("seven") })
      for (const node of nodes) {
        const item = await node.getPointer(alice.publicKeyHex, "catalog")
        assert.equal(item?.infohash, infohashOf("seven"))
        assert.equal(item.seq, 7)
      }
      assert.equal(await nodes[0].getPointer(alice.publicKeyHex, "another salt"), null)
      assert.equal(await nodes[0].getPointer(signer("bob").publicKeyHex, "catalog"), null)
      await close(nodes)
    })

    test("shows a node the pointer that was put at it, without asking anybody", async () => {
      const nodes = await network(3)
      assert.equal(nodes[0].pointerHere(alice.publicKeyHex, "catalog"), null)
      await nodes[1].putPointer({ signing: alice, salt: "catalog", seq: 7, infohash: infohashOf("seven") })
      for (const node of nodes) {
        assert.equal(node.pointerHere(alice.publicKeyHex, "catalog")?.seq, 7)
        assert.equal(node.pointerHere(alice.publicKeyHex, "another salt"), null)
      }
      await nodes[1].putPointer({ signing: alice, salt: "catalog", seq: 8, infohash: infohashOf("eight") })
      for (const node of nodes) assert.equal(node.pointerHere(alice.publicKeyHex, "catalog")?.infohash, infohashOf("eight"))
      await close(nodes)
    })

    test("never lets a stale seq win, whoever puts or holds it", async () => {
      const nodes = await network(4)
      const [first, second] = nodes
      await first.putPointer({ signing: alice, salt: "catalog", seq: 9, infohash: infohashOf("nine") })
      await second.putPointer({ signing: alice, salt: "catalog", seq: 8, infohash: infohashOf("eight") })
      second.hold(pointer(2, "two"))
      for (const node of nodes) assert.equal((await node.getPointer(alice.publicKeyHex, "catalog"))?.seq, 9)
      await close(nodes)
    })

    test("replaces a pointer with one of a higher seq", async () => {
      const nodes = await network(4)
      await nodes[0].putPointer({ signing: alice, salt: "catalog", seq: 1, infohash: infohashOf("one") })
      await nodes[0].putPointer({ signing: alice, salt: "catalog", seq: 2, infohash: infohashOf("two") })
      for (const node of nodes) assert.equal((await node.getPointer(alice.publicKeyHex, "catalog"))?.infohash, infohashOf("two"))
      await close(nodes)
    })

    test("ignores held items whose signature is forged", async () => {
      const nodes = await network(3)
      const item = pointer(5, "five")
      nodes[0].hold({ ...item, seq: 6 })
      nodes[0].hold({ ...item, infohash: infohashOf("another") })
      nodes[0].hold({ ...item, signature: Buffer.alloc(64) })
      nodes[0].hold({ ...item, signature: item.signature.subarray(0, 63) })
      nodes[0].hold({ ...item, publicKey: Buffer.from(signer("bob").publicKeyHex, "hex") })
      for (const node of nodes) {
        assert.equal(await node.getPointer(alice.publicKeyHex, "catalog"), null)
        assert.equal(await node.getPointer(signer("bob").publicKeyHex, "catalog"), null)
      }
      await close(nodes)
    })

    test("refuses to put what its signer did not sign", async () => {
      const node = await open({ network: {} })
      const lying = { publicKeyHex: alice.publicKeyHex, sign: (message: Buffer) => signer("bob").sign(message) }
      await assert.rejects(
        node.putPointer({ signing: lying, salt: "catalog", seq: 1, infohash: layer }),
        (error) => error instanceof GridError && error.code === "KEY_INVALID",
      )
      await assert.rejects(node.putPointer({ signing: alice, salt: "", seq: 1, infohash: layer }), RangeError)
      await assert.rejects(node.putPointer({ signing: alice, salt: "x".repeat(65), seq: 1, infohash: layer }), RangeError)
      await assert.rejects(node.putPointer({ signing: alice, salt: "catalog", seq: -1, infohash: layer }), RangeError)
      await assert.rejects(node.announce(layer, 0), RangeError)
      await assert.rejects(node.getPointer("ff", "catalog"), RangeError)
      await close([node])
    })

    test("keeps a pointer alive after its publisher died, through whoever holds it", async () => {
      const shared = {}
      const holder = await open({ network: shared })
      const publisher = await open({ network: shared, bootstrap: [holder.address] })
      await publisher.putPointer({ signing: alice, salt: "catalog", seq: 4, infohash: infohashOf("four") })
      const item = await holder.getPointer(alice.publicKeyHex, "catalog")
      assert.ok(item)
      holder.hold(item)
      await publisher.close()
      const newcomer = await open({ network: shared, bootstrap: [holder.address] })
      assert.equal((await newcomer.getPointer(alice.publicKeyHex, "catalog"))?.seq, 4)
      await close([holder, newcomer])
    })

    test("starts again from its saved state without bootstrap, the same node with the same pointers", async () => {
      const shared = {}
      const first = await open({ network: shared })
      const other = await open({ network: shared, bootstrap: [first.address] })
      await other.putPointer({ signing: alice, salt: "catalog", seq: 4, infohash: infohashOf("four") })
      await other.announce(layer, 7_002)
      const state = JSON.parse(JSON.stringify(other.state())) as DhtState
      await other.close()
      const again = await open({ network: shared, state })
      await first.announce(layer, 7_001)
      assert.equal(again.state().nodeId, state.nodeId)
      assert.deepEqual(again.state().pointers, state.pointers)
      await until(() => again.nodeCount() === 1)
      assert.ok((await again.lookup(layer)).some((peer) => peer.port === 7_001))
      assert.equal((await again.getPointer(alice.publicKeyHex, "catalog"))?.seq, 4)
      await close([first, again])
    })

    test("drops saved pointers whose signature fails", async () => {
      const node = await open({ network: {} })
      node.hold(pointer(5, "five"))
      const state = node.state()
      await node.close()
      for (const saved of state.pointers) saved.seq = 6
      const again = await open({ network: {}, state })
      assert.deepEqual(again.state().pointers, [])
      await close([again])
    })

    test("finds the network through an address that it learns late", async () => {
      const shared = {}
      const first = await open({ network: shared })
      await first.announce(layer, 7_001)
      const late = await open({ network: shared })
      assert.deepEqual(await late.lookup(layer), [])
      late.addNodes([first.address])
      await until(() => late.nodeCount() === 1)
      assert.equal((await late.lookup(layer)).length, 1)
      await close([first, late])
    })

    test("refuses an address that is in use with ADDRESS_IN_USE", async () => {
      const shared = {}
      const first = await open({ network: shared, listen: loopback })
      await assert.rejects(
        open({ network: shared, listen: first.address }),
        (error) => error instanceof GridError && error.code === "ADDRESS_IN_USE",
      )
      await close([first])
    })

    test("rejects a lookup whose signal has aborted, with the signal's reason", async () => {
      const node = await open({ network: {} })
      const reason = new Error("enough")
      await assert.rejects(node.lookup(layer, AbortSignal.abort(reason)), (error) => error === reason)
      await close([node])
    })

    test("finds nothing and throws nothing after it was closed, twice even", async () => {
      const nodes = await network(3)
      await nodes[0].announce(layer, 7_001)
      await nodes[1].close()
      await nodes[1].close()
      assert.equal(await nodes[1].getPointer(alice.publicKeyHex, "catalog"), null)
      nodes[1].withdraw(layer)
      assert.ok(Array.isArray(await nodes[1].lookup(layer)))
      await close(nodes)
    })
  })
}
