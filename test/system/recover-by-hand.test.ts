import assert from "node:assert/strict"
import { execFileSync, spawnSync } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { requireImageIdentity } from "../../client/open-image.ts"
import { systemClock } from "../../core/clock.ts"
import { layerOf } from "../../core/documents.ts"
import { Home } from "../../member/home.ts"
import { storedCatalog } from "../../member/stored-catalog.ts"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

const missing = ["age", "zstd", "tar"].filter((tool) => spawnSync(tool, ["--version"]).status !== 0)

test(
  "an image is recovered from a seeder's stored file with age, zstd and tar alone",
  { skip: missing.length > 0 && `not installed: ${missing.join(", ")}` },
  async () => {
    await using grid = new TestGrid()
    makeTree(grid.home("tree"), 500_000)
    await grid.site()
    await grid.run(["publish", grid.home("tree"), "os:1", "--home", grid.home("server-1"), "--wait-copies", "1"])
    await grid.joinClient("client")
    const stage = grid.home("stage")
    await grid.run([
      "deploy",
      "os:1",
      "--home",
      grid.home("client"),
      "--target",
      grid.home("root"),
      "--stage",
      stage,
      "--seed-until",
      "done",
    ])

    const home = await Home.open(grid.home("client"))
    const { catalog } = await storedCatalog(home, systemClock.nowMs())
    const manifest = catalog.images.get("os:1")
    assert.ok(manifest !== undefined)
    const identity = grid.home("identity")
    writeFileSync(identity, requireImageIdentity({ catalog, manifest }, { site: home.site, secrets: await home.secrets() }), {
      mode: 0o600,
    })
    const [staged] = readdirSync(stage)
    assert.ok(staged !== undefined)
    const { infohash } = layerOf(manifest, "full")
    for (const layer of [join(stage, staged, infohash, "layer.age"), join(grid.home("server-1/layers"), infohash, "layer.age")]) {
      const recovered = `${grid.home("by-hand")}-${layer.length}`
      mkdirSync(recovered)
      execFileSync("sh", ["-c", 'age -d -i "$1" "$2" | zstd -d | tar -x -p --numeric-owner -C "$3"', "sh", identity, layer, recovered])
      assert.deepEqual(readFileSync(join(recovered, "noise")), readFileSync(grid.home("tree/noise")))
      assert.equal(spawnSync("diff", ["-r", "--no-dereference", "--exclude=pipe", grid.home("tree"), recovered]).status, 0)
    }
  },
)
