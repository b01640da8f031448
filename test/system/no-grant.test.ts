import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { test } from "node:test"
import { imageIdentity } from "../../client/open-image.ts"
import { systemClock } from "../../core/clock.ts"
import { layerOf } from "../../core/documents.ts"
import { newImageIdentity } from "../../crypto/age.ts"
import { openLayer } from "../../image/open-layer.ts"
import { Home } from "../../member/home.ts"
import { openLayerSession, requireSealedDigest, type ImageLayer } from "../../member/layer-session.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

test("a member without a grant is told so before it downloads, and the sealed bytes that it may have are closed to it", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 300_000)
  await grid.site(["--groups", "lab"])
  await grid.run(["publish", grid.home("tree"), "lab/os:1", "--group", "lab", "--home", grid.home("server-1"), "--wait-copies", "1"])
  await grid.joinClient("outsider")
  await grid.joinClient("insider", ["--group", "lab"])

  const listed = grid.outcome(["images", "--home", grid.home("outsider")]).events.find(({ event }) => event === "image")
  assert.equal(listed?.["mayOpen"], false)
  const refused = grid.outcome(["deploy", "lab/os:1", "--home", grid.home("outsider"), "--target", grid.home("no")])
  assert.equal(refused.code, 77)
  assert.equal(refused.events.at(-1)?.["code"], "GRANT_MISSING")
  assert.match(refused.stderr, /granted to: lab; this member's groups: default/)
  assert.ok(!refused.events.some((event) => event["event"] === "download-started"))
  assert.equal(existsSync(grid.home("no")), false)

  const home = await Home.open(grid.home("outsider"))
  const member = await Member.start({ home, clock: systemClock, log: silentLog })
  try {
    await member.catalogs.refresh()
    const { catalog } = member.catalogs
    const manifest = catalog.images.get("lab/os:1")
    assert.ok(manifest !== undefined)
    assert.equal(imageIdentity({ catalog, manifest }, { site: home.site, secrets: member.secrets }), null)
    const layer = layerOf(manifest, "full")
    const { pieces, torrent, ...session } = await sealedBytes(member, { manifest, layer })
    const sealed = Buffer.alloc(layer.sealedBytes)
    await pieces.read(0, sealed.length, sealed)
    assert.equal(session.complete, true)
    assert.equal(torrent.contentBytes, sealed.length)
    const { identity } = await newImageIdentity()
    const opened = openLayer(
      (async function* () {
        yield sealed
      })(),
      { identity, layer },
    )
    await assert.rejects(opened.next(), { code: "SEALED_INVALID" })
  } finally {
    await member.close()
  }

  const deploy = await grid.run([
    "deploy",
    "lab/os:1",
    "--home",
    grid.home("insider"),
    "--target",
    grid.home("yes"),
    "--seed-until",
    "done",
  ])
  await deploy.event("good")
})

async function sealedBytes(member: Member, one: ImageLayer) {
  const session = await openLayerSession(member, one, member.layers)
  await session.whenComplete()
  await requireSealedDigest(session.pieces, one.layer)
  return { pieces: session.pieces, torrent: session.torrent, complete: session.pieces.heldCount === session.torrent.pieceCount }
}
