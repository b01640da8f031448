/** The danger: someone who speaks for the site to a machine gives it an image that no publisher of the site signed. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "#trust/catalog-file.ts"
import { openCatalog, rootDigest } from "#trust/catalog.ts"
import { createRepository } from "#trust/create-repository.ts"
import { applyChange } from "#trust/change.ts"
import { publication } from "./administrators.ts"
import {
  bodyOf,
  forge,
  grantsOf,
  keys,
  keysOf,
  listTarget,
  manifestOf,
  newRepository,
  online,
  open,
  refusedWith,
  repositoryKeys,
  seedOf,
  siteDocument,
  startMs,
  withImages,
} from "./repositories.ts"

const files = withImages(newRepository(), "debian:1")
const thief = seedOf("thief")
const refused = refusedWith("CATALOG_INVALID")
const evil = { "images/debian/2.json": manifestOf("debian:2"), "grants/debian/2.json": grantsOf("debian:2") }

/** The site's catalog with one more image, everything signed by the seeds that are given for each role. */
function withEvil(seeds: Readonly<Record<string, readonly Uint8Array[]>>): CatalogFiles {
  const publisher = bodyOf(files, "publisher")
  publisher.version++
  for (const [path, document] of Object.entries(evil)) publisher.targets[path] = listTarget(document)
  return forge(files, { bodies: { publisher }, documents: evil, seeds })
}

test("an image that the publisher signed is taken: the control", () => {
  assert.equal(open(withEvil({})).images.size, 2)
})

test("an image is refused when any one role on its way was signed by a stranger, whoever signed the rest", () => {
  for (const role of ["publisher", "snapshot", "timestamp"])
    assert.throws(() => open(withEvil({ [role]: [thief] })), refused, `${role} by a stranger`)
  for (const kept of ["publisher", "snapshot", "timestamp"]) {
    const strangers = ["publisher", "snapshot", "timestamp"].filter((role) => role !== kept)
    assert.throws(() => open(withEvil(Object.fromEntries(strangers.map((role) => [role, [thief]])))), refused, `${kept} alone is right`)
  }
})

test("a whole site of the same name, well formed and well signed by itself, is refused by the root that the invite names", () => {
  const strangers = repositoryKeys(keysOf("strangers"))
  const empty = createRepository({ document: siteDocument(), keys: strangers, nowMs: startMs })
  const change = publication(empty, "debian:2", [strangers.publisher])
  const strangersOnline = { snapshotSeed: strangers.snapshot, timestampSeed: strangers.timestamp }
  const forged = applyChange({ files: empty, change, online: () => strangersOnline, nowMs: startMs })
  assert.equal(open(forged).images.size, 1, "it is a good site in itself")
  assert.throws(() => openCatalog(forged, { rootDigest: rootDigest(files) }, startMs), refusedWith("CATALOG_INVALID", /another site/))
  assert.throws(() => openCatalog(forged, { trusted: files }, startMs), refused)
  const onOurRoot = new Map([...forged, [ROOT_PATH(1), files.get(ROOT_PATH(1)) ?? assert.fail()]])
  assert.throws(() => openCatalog(onOurRoot, { rootDigest: rootDigest(files) }, startMs), refused)
})

test("a manifest put beside the signed ones, or in the place of one, is refused", () => {
  const manifest = Buffer.from(`${JSON.stringify(manifestOf("debian:1", { entryCount: 4 }))}\n`)
  assert.throws(() => open(new Map([...files, [`${TARGET_PREFIX}images/debian/1.json`, manifest]])), refused)
  assert.throws(() => open(new Map([...files, [`${TARGET_PREFIX}images/evil/1.json`, manifest]])), refusedWith("CATALOG_INVALID", /nobody/))
})

test("a server does not take an image from a key that is no publisher's", () => {
  const apply = (seed: Uint8Array) => {
    const forged = withEvil({ publisher: [seed] })
    const paths = [METADATA_PATH("publisher"), ...Object.keys(evil).map((path) => TARGET_PREFIX + path)]
    const change = new Map(paths.map((path) => [path, forged.get(path) ?? assert.fail(path)]))
    return applyChange({ files, change, online: () => online, nowMs: startMs })
  }
  assert.equal(open(apply(keys.publisher)).images.size, 2, "the control")
  assert.throws(() => apply(thief), refusedWith("SIGNATURES_MISSING", /publisher has 0 of 1/))
})
