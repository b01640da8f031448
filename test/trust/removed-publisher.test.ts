/** The danger: a publisher that was removed lives on in its old files, which were rightly signed when they were made. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { METADATA_PATH, TARGET_PREFIX } from "#trust/catalog-file.ts"
import { openCatalog } from "#trust/catalog.ts"
import { applyChange } from "#trust/change.ts"
import { mergeCatalogs } from "#trust/merge.ts"
import { listedFile } from "#trust/metadata.ts"
import { changed, publication, published, publishersAre } from "./administrators.ts"
import { bodyOf, forge, keys, newRepository, online, open, refusedWith, seedOf, startMs, withImages } from "./repositories.ts"

const hpc = seedOf("hpc publisher")
const both = { publisher: { seeds: [keys.publisher], pattern: "debian" }, hpc: { seeds: [hpc], pattern: "hpc/*" } }
const start = changed(newRepository(), { delegations: publishersAre(both) }, { seeds: [keys.targets, keys.publisher, hpc] })
const before = published(withImages(start, "debian:1"), "hpc/tools:1", { seeds: [hpc] })
const after = changed(before, { delegations: publishersAre({ publisher: both.publisher }) })
const late = publication(before, "hpc/tools:2", [hpc])

test("with its delegation a publisher's images vanish, and the others' stay", () => {
  assert.deepEqual([...open(before).images.keys()].sort(), ["debian:1", "hpc/tools:1"])
  const catalog = openCatalog(after, { trusted: before }, startMs)
  assert.deepEqual([...catalog.images.keys()], ["debian:1"])
  assert.ok(![...after.keys()].some((path) => path.includes("hpc")))
})

test("a removed publisher's file that is put back is signed by nobody", () => {
  const paths = [METADATA_PATH("hpc"), `${TARGET_PREFIX}images/hpc/tools/1.json`, `${TARGET_PREFIX}grants/hpc/tools/1.json`]
  const back = new Map([...after, ...paths.map((path) => [path, before.get(path) ?? assert.fail(path)] as const)])
  assert.throws(() => openCatalog(back, { trusted: after }, startMs), refusedWith("CATALOG_INVALID", /signed by nobody/))
})

test("the catalog of before is refused as a rollback", () => {
  assert.throws(() => openCatalog(before, { trusted: after }, startMs), refusedWith("CATALOG_ROLLBACK"))
})

test("a publication that was signed before the removal is not taken after it", () => {
  const images = (files: Parameters<typeof open>[0]) => [...open(files).images.keys()].sort()
  const apply = (files: typeof before) => applyChange({ files, change: late, online: () => online, nowMs: startMs })
  assert.deepEqual(images(apply(before)), ["debian:1", "hpc/tools:1", "hpc/tools:2"], "the control")
  assert.throws(() => apply(after), refusedWith("CATALOG_INVALID", /is not part of this change/))
})

test("a server that missed the removal, and took one more of its images, loses them at the next exchange", () => {
  const behind = applyChange({ files: before, change: late, online: () => online, nowMs: startMs })
  for (const [mine, theirs] of [
    [behind, after],
    [after, behind],
  ] as const) {
    const merged = mergeCatalogs({ mine, theirs, online: () => online, nowMs: startMs })
    assert.deepEqual([...openCatalog(merged, { trusted: after }, startMs).images.keys()], ["debian:1"])
  }
})

test("a publisher of the same name that comes later does not bring its predecessor's images back", () => {
  const successor = { ...both.hpc, seeds: [seedOf("next hpc publisher")] }
  const renewed = changed(after, { delegations: publishersAre({ ...both, hpc: successor }) }, { seeds: [keys.targets, ...successor.seeds] })
  assert.deepEqual([...openCatalog(renewed, { trusted: after }, startMs).images.keys()], ["debian:1"])
  const old = before.get(METADATA_PATH("hpc")) ?? assert.fail()
  const snapshot = bodyOf(renewed, "snapshot")
  snapshot.meta["hpc.json"] = listedFile(2, old)
  const replayed = forge(new Map([...renewed, [METADATA_PATH("hpc"), old]]), { bodies: { snapshot } })
  assert.throws(() => openCatalog(replayed, { trusted: after }, startMs), refusedWith("CATALOG_INVALID", /hpc was signed by 0 of 1/))
})
