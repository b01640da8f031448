/** The danger: two pointers of one seq, both rightly signed, split the site into members that follow one and members that follow the other. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { signPointer } from "#swarm/dht/pointer.ts"
import { infohashOf, openNodes, signer } from "./dht-grid.ts"

const site = signer("the site")
const pointer = (seq: number, to: string) => signPointer({ signing: site, salt: "catalog", seq, infohash: infohashOf(to) })
const get = async (node: { getPointer: (key: string, salt: string) => Promise<{ seq: number; infohash: string } | null> }) =>
  node.getPointer(site.publicKeyHex, "catalog")

test("of two pointers of one seq each member keeps the one that it has, and the next seq ends the split for all", async () => {
  const nodes = await openNodes(6)
  for (const [position, node] of nodes.entries()) node.hold(pointer(5, position % 2 === 0 ? "left" : "right"))
  for (const node of nodes) {
    const found = await get(node)
    assert.equal(found?.seq, 5)
    assert.ok(found.infohash === infohashOf("left") || found.infohash === infohashOf("right"))
  }
  for (const node of nodes) node.hold(pointer(5, "right"))
  assert.equal((await get(nodes[0] ?? assert.fail()))?.infohash, infohashOf("left"), "an equal seq moves nobody")
  await nodes[5]?.putPointer({ signing: site, salt: "catalog", seq: 6, infohash: infohashOf("both") })
  for (const node of nodes) assert.deepEqual([(await get(node))?.seq, (await get(node))?.infohash], [6, infohashOf("both")])
})

test("whoever still has the older pointer, and puts it again and again, moves nobody back", async () => {
  const nodes = await openNodes(4)
  await nodes[0]?.putPointer({ signing: site, salt: "catalog", seq: 9, infohash: infohashOf("newest") })
  for (const node of nodes.slice(1)) await node.putPointer({ signing: site, salt: "catalog", seq: 8, infohash: infohashOf("old") })
  for (const node of nodes) assert.equal((await get(node))?.seq, 9)
})
