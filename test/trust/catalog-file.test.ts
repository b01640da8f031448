import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { test } from "node:test"
import { packCatalog, unpackCatalog } from "#trust/catalog-file.ts"
import { newRepository, open, withImages } from "./repositories.ts"

const longest = `${"n".repeat(126)}/n:${"v".repeat(64)}`
const files = withImages(newRepository(), "debian:1", "a/b/c/d:1", longest)

test("a catalog comes out of its file as it went in, and opens", async () => {
  const back = await unpackCatalog(await packCatalog(files))
  assert.deepEqual(back, files)
  assert.ok(open(back).images.has(longest))
})

test("equal catalogs have equal bytes, in whatever order their files came", async () => {
  assert.ok((await packCatalog(files)).equals(await packCatalog(new Map([...files].toReversed()))))
})

test("GNU tar lists and reads it: by hand it is an ordinary archive", async () => {
  const listed = spawnSync("tar", ["-tf", "-"], { input: await packCatalog(files), encoding: "utf8" })
  assert.equal(listed.status, 0, listed.stderr)
  assert.deepEqual(listed.stdout.trimEnd().split("\n"), [...files.keys()].sort())
  const site = spawnSync("tar", ["-xOf", "-", "targets/site.json"], { input: await packCatalog(files) })
  assert.ok(site.stdout.equals(files.get("targets/site.json") ?? assert.fail()))
})

test("a path that is no catalog's is not packed", async () => {
  for (const path of ["../x", "/etc/passwd", "metadata/0.root.json", "targets/site.json/x", `metadata/${"x".repeat(300)}.json`])
    await assert.rejects(packCatalog(new Map([[path, Buffer.alloc(1)]])), TypeError, path)
})
