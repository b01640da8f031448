/** A server shows that it holds what it says it holds. */
import assert from "node:assert/strict"
import { after, test } from "node:test"
import { readFileSync, statSync, writeFileSync } from "node:fs"
import { address } from "../../core/address.ts"
import { routes } from "../../core/wire.ts"
import { makeTorrent } from "../../core/torrent.ts"
import { auditLayer, auditLayerByPiece, proofOf } from "../../nodes/proof.ts"
import { TestSite, until } from "../member/site.ts"

const site = await TestSite.start()
after(() => site[Symbol.asyncDispose]())
await site.publish("os:1")
const second = await site.run(await site.joinServer("second"))
const layers = () => site.server.member.catalogs.catalog.images.get("os:1")?.layers ?? assert.fail()
const infohash = layers()[0]?.infohash ?? assert.fail()
const first = { api: address(site.server.apiAddress), site: "demo" }
await until("the second server holds the image", () =>
  layers().every((layer) => second.member.swarm.session(layer.infohash)?.complete === true),
)
await until("it has verified it", async () => await second.member.layers.isWhole(infohash))

test("who holds a layer proves it, and who asks must hold it too", async () => {
  assert.equal(await auditLayer(second.member, second.member.layers, first, infohash), "passed")
  await assert.rejects(auditLayer(second.member, second.member.layers, first, "0".repeat(40) as typeof infohash), { code: "LAYER_MISSING" })
})

test("a proof is of the pieces and the number that were asked for", async () => {
  const proof = (nonce: string, pieces: number[]) => proofOf(site.server.member.layers, { infohash, nonce, pieces })
  const [a, b] = ["a".repeat(64), "b".repeat(64)]
  assert.equal(await proof(a, [0]), await proof(a, [0]))
  assert.notEqual(await proof(a, [0]), await proof(b, [0]))
  assert.notEqual(await proof(a, [0]), await proof(a, [0, 0]))
  await assert.rejects(proof(a, [1_000_000]), { code: "REQUEST_INVALID" })
})

test("a server that has not got the layer asks for a piece of it", async () => {
  const torrent = (await second.member.layers.torrent(infohash)) ?? assert.fail()
  assert.equal(await auditLayerByPiece(second.member, first, torrent), "passed")
  const other = makeTorrent({ ...torrent, pieceDigests: Buffer.alloc(torrent.pieceDigests.length) })
  assert.equal(await auditLayerByPiece(second.member, first, other), "failed", "of a torrent that it does not know")
  const lied = { ...torrent, pieceDigests: other.pieceDigests }
  assert.equal(await auditLayerByPiece(second.member, first, lied), "failed", "bytes that are not the piece's")
  assert.equal(await auditLayerByPiece(second.member, { api: address("127.0.0.1:1"), site: "demo" }, torrent), "unanswered")
  const body = { infohash, piece: torrent.pieceCount }
  await assert.rejects(second.member.api.bytes(first.api, { method: "POST", path: routes.pieces, body }), { code: "REQUEST_INVALID" })
})

test("a server whose copy is bad accuses nobody, fails when it is audited, and has a good copy again soon after", async () => {
  const at = { api: address(second.apiAddress), site: "demo" }
  const path = second.member.home.path("layers", infohash, "layer.age")
  const { size } = statSync(path)
  writeFileSync(path, Buffer.alloc(size))
  await assert.rejects(auditLayer(second.member, second.member.layers, first, infohash), { code: "DIGEST_MISMATCH" })
  assert.equal(await auditLayer(site.server.member, site.server.member.layers, at, infohash), "failed")
  const good = readFileSync(site.server.member.home.path("layers", infohash, "layer.age"))
  await until("it has fetched what was bad", async () => (await second.member.layers.isWhole(infohash)) && readFileSync(path).equals(good))
  await until("it is believed again", async () => {
    if (second.member.swarm.session(infohash)?.complete !== true) return false
    return (await auditLayer(site.server.member, site.server.member.layers, at, infohash)) === "passed"
  })
})

test("a server without it fails, and one that can't be reached has not answered", async () => {
  await site.server.member.swarm.session(infohash)?.close()
  await site.server.member.layers.remove(infohash)
  assert.equal(await auditLayer(second.member, second.member.layers, first, infohash), "failed")
  const nowhere = { api: address("127.0.0.1:1"), site: "demo" }
  assert.equal(await auditLayer(second.member, second.member.layers, nowhere, infohash), "unanswered")
})

test("a client may not ask", async () => {
  const client = await site.member(await site.join("client"))
  const body = { infohash, nonce: "a".repeat(64), pieces: [0] }
  await assert.rejects(client.api.bytes(first.api, { method: "POST", path: routes.proofs, body }), { code: "CERTIFICATE_INVALID" })
  const asked = { infohash, piece: 0 }
  await assert.rejects(client.api.bytes(first.api, { method: "POST", path: routes.pieces, body: asked }), { code: "CERTIFICATE_INVALID" })
})
