import assert from "node:assert/strict"
import { test } from "node:test"
import { METADATA_PATH } from "#trust/catalog-file.ts"
import { openCatalog } from "#trust/catalog.ts"
import { applyChange } from "#trust/change.ts"
import { createRepository } from "#trust/create-repository.ts"
import { refreshTimestamp } from "#trust/online-roles.ts"
import { signPublication } from "#trust/publication.ts"
import {
  bodyOf,
  DAY_MS,
  grantsOf,
  keys,
  manifestOf,
  newRepository,
  online,
  open,
  publicationOf,
  refusedWith,
  repositoryKeys,
  seedOf,
  siteDocument,
  startMs,
  withImages,
} from "./repositories.ts"

const files = withImages(newRepository(), "debian:1")

test("a new site opens, has no image, and its roles live as long as they should", () => {
  const catalog = open(newRepository())
  assert.deepEqual([catalog.images.size, catalog.grants.size, catalog.timestampVersion], [0, 0, 1])
  const days = (role: "root" | "targets" | "publisher" | "snapshot" | "timestamp"): number =>
    (Date.parse(bodyOf(catalog.files, role).expires) - startMs) / DAY_MS
  assert.deepEqual([days("root"), days("targets"), days("publisher"), days("snapshot"), days("timestamp")], [365, 365, 365, 30, 3])
})

test("lifetimes can be chosen, and the same input gives the same bytes", () => {
  const make = () =>
    createRepository({ document: siteDocument(), keys: repositoryKeys(keys), nowMs: startMs, lifetimes: { timestamp: 60_000 } })
  assert.equal(open(make()).expiresAtMs, startMs + 60_000)
  assert.deepEqual(make(), make())
})

test("a publication holds what has changed: the publisher's file and two documents", () => {
  const publication = publicationOf(files, "hpc/debian:2")
  assert.deepEqual([...publication.keys()].sort(), [
    "metadata/publisher.json",
    "targets/grants/hpc/debian/2.json",
    "targets/images/hpc/debian/2.json",
  ])
})

test("a publication that is applied is in the catalog, under a newer snapshot and timestamp", () => {
  const next = applyChange({ files, change: publicationOf(files, "debian:2"), online: () => online, nowMs: startMs + DAY_MS })
  const [before, after] = [open(files), openCatalog(next, { trusted: files }, startMs + DAY_MS)]
  assert.deepEqual([...after.images.keys()], ["debian:1", "debian:2"])
  assert.deepEqual([after.snapshotVersion, after.timestampVersion], [before.snapshotVersion + 1, before.timestampVersion + 1])
  assert.equal(after.expiresAtMs, startMs + 4 * DAY_MS)
  assert.deepEqual([...before.images.keys()], ["debian:1"], "the files that were given are as they were")
})

test("a publication applied twice changes nothing the second time", () => {
  const publication = publicationOf(files, "debian:2")
  const once = applyChange({ files, change: publication, online: () => online, nowMs: startMs })
  assert.equal(applyChange({ files: once, change: publication, online: () => online, nowMs: startMs }), once)
})

test("a version that exists is not signed again", () => {
  assert.throws(() => publicationOf(files, "debian:1"), refusedWith("IMAGE_EXISTS", /debian:1/))
})

test("a key that is no publisher's signs nothing", () => {
  const parts = { files, manifest: manifestOf("debian:2"), grants: grantsOf("debian:2"), nowMs: startMs }
  for (const seed of [seedOf("stranger"), keys.targets])
    assert.throws(() => signPublication({ ...parts, seeds: [seed] }), refusedWith("KEY_MISSING"))
})

test("a manifest and grants of different images or another site are not signed", () => {
  const sign = (manifest: Parameters<typeof manifestOf>, grants: Parameters<typeof grantsOf>) => () =>
    signPublication({
      files,
      seeds: [keys.publisher],
      manifest: manifestOf(...manifest),
      grants: grantsOf(...grants),
      nowMs: startMs,
    })
  const refused = refusedWith("MANIFEST_INVALID")
  assert.throws(sign(["debian:2"], ["debian:3"]), refused)
  assert.throws(sign(["debian:2", { site: "elsewhere" }], ["debian:2"]), refused)
  assert.throws(sign(["debian:2"], ["debian:2", { site: "elsewhere" }]), refused)
  assert.throws(sign(["debian:2", { layers: [] }], ["debian:2"]), refused)
})

test("a refreshed timestamp is newer and lasts three days from now; the rest stays as it is", () => {
  const later = startMs + 2 * DAY_MS
  const refreshed = refreshTimestamp({ files, online, nowMs: later })
  const catalog = openCatalog(refreshed, { trusted: files }, later)
  assert.deepEqual([catalog.timestampVersion, catalog.snapshotVersion, catalog.expiresAtMs], [3, 2, later + 3 * DAY_MS])
  for (const [path, bytes] of files) if (path !== METADATA_PATH("timestamp")) assert.equal(refreshed.get(path), bytes, path)
})

test("a snapshot near its end is signed anew with the timestamp", () => {
  const later = startMs + 21 * DAY_MS
  const catalog = openCatalog(refreshTimestamp({ files, online, nowMs: later }), { trusted: files }, later)
  assert.deepEqual([catalog.timestampVersion, catalog.snapshotVersion], [3, 3])
  assert.equal(Date.parse(bodyOf(catalog.files, "snapshot").expires), later + 30 * DAY_MS)
})

test("a server whose keys are the site's no more signs nothing", () => {
  for (const wrong of [
    { ...online, timestampSeed: seedOf("old") },
    { ...online, snapshotSeed: seedOf("old") },
  ]) {
    assert.throws(() => refreshTimestamp({ files, online: wrong, nowMs: startMs }), refusedWith("KEY_MISSING"))
    assert.throws(
      () => applyChange({ files, change: publicationOf(files, "debian:2"), online: () => wrong, nowMs: startMs }),
      refusedWith("KEY_MISSING"),
    )
  }
})

test("a site document out of form makes no site", () => {
  const document = { ...siteDocument(), pointerKey: "zz" }
  assert.throws(() => createRepository({ document, keys: repositoryKeys(keys), nowMs: startMs }), refusedWith("CATALOG_INVALID"))
})
