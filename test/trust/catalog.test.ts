import assert from "node:assert/strict"
import { test } from "node:test"
import { TrustedMetadataStore } from "tuf-js/dist/store.js"
import { ownImageQuery } from "#core/identifiers.ts"
import { keyIdOfSeed, listedFile, signMetadata, tufKeyOf } from "#trust/metadata.ts"
import { METADATA_PATH, ROOT_PATH, type CatalogFiles } from "#trust/catalog-file.ts"
import { newestVersion, openCatalog, resolveImage, rootDigest } from "#trust/catalog.ts"
import { createRepository } from "#trust/create-repository.ts"
import { refreshTimestamp } from "#trust/online-roles.ts"
import {
  bodyOf,
  DAY_MS,
  forge,
  keysOf,
  grantsOf,
  keys,
  listTarget,
  manifestOf,
  newRepository,
  online,
  open,
  refusedWith,
  repositoryKeys,
  rotateRoot,
  seedOf,
  siteDocument,
  startMs,
  withImages,
} from "./repositories.ts"

const strangers = createRepository({ document: siteDocument("strangers"), keys: repositoryKeys(keysOf("strangers")), nowMs: startMs })
const files = withImages(newRepository(), "debian:1", "hpc/debian:1", "debian:2")

test("a catalog holds the site's documents, its versions and its first expiry", () => {
  const catalog = open(files)
  assert.deepEqual(catalog.site, siteDocument())
  assert.deepEqual([...catalog.images.keys()], ["debian:1", "hpc/debian:1", "debian:2"])
  assert.deepEqual(catalog.images.get("hpc/debian:1"), manifestOf("hpc/debian:1"))
  assert.deepEqual(catalog.grants.get("debian:2"), grantsOf("debian:2"))
  assert.deepEqual([catalog.rootVersion, catalog.snapshotVersion, catalog.timestampVersion], [1, 4, 4])
  assert.equal(catalog.expiresAtMs, startMs + 3 * DAY_MS)
})

test("the library that speaks TUF to everyone else takes every file of ours", () => {
  const store = new TrustedMetadataStore(bytes(files, ROOT_PATH(1)))
  Reflect.set(store, "referenceTime", new Date(startMs))
  store.updateTimestamp(bytes(files, METADATA_PATH("timestamp")))
  store.updateSnapshot(bytes(files, METADATA_PATH("snapshot")))
  store.updateDelegatedTargets(bytes(files, METADATA_PATH("targets")), "targets", "root")
  store.updateDelegatedTargets(bytes(files, METADATA_PATH("publisher")), "publisher", "targets")
  assert.equal(Object.keys(store.getRole("publisher")?.signed.targets ?? {}).length, 6)
})

test("a catalog opens from the files that were trusted before, and from itself", () => {
  const newer = withImages(files, "debian:3")
  assert.equal(openCatalog(newer, { trusted: files }, startMs).images.size, 4)
  assert.equal(openCatalog(files, { trusted: files }, startMs).images.size, 3)
})

test("trusted files that have expired still protect: a machine comes back after a month", () => {
  const later = startMs + 40 * DAY_MS
  const fresh = refreshTimestamp({ files, online, nowMs: later })
  assert.equal(openCatalog(fresh, { trusted: files }, later).timestampVersion, 5)
})

test("another site's catalog is refused by its first root", () => {
  assert.throws(() => openCatalog(files, { rootDigest: rootDigest(strangers) }, startMs), refusedWith("CATALOG_INVALID", /another site/))
  assert.throws(() => openCatalog(files, { trusted: strangers }, startMs), refusedWith("CATALOG_INVALID", /root 1/))
})

test("roots that follow each other are walked, from the first and from the trusted one", () => {
  const next = seedOf("next timestamp")
  const rotated = rotateRoot(files, (root) => {
    root.keys[keyIdOfSeed(next)] = tufKeyOf(next)
    root.roles.timestamp.keyids = [keyIdOfSeed(next)]
  })
  const signed = refreshTimestamp({ files: rotated, online: { ...online, timestampSeed: next }, nowMs: startMs })
  for (const anchor of [{ rootDigest: rootDigest(files) }, { trusted: files }, { trusted: signed }])
    assert.equal(openCatalog(signed, anchor, startMs).rootVersion, 2)
  assert.throws(() => open(rotated), refusedWith("CATALOG_INVALID", /timestamp/), "the old key signs no more")
})

test("an expired root on the way to the newest does not matter", () => {
  const old = forge(files, {
    bodies: { root: { ...bodyOf(files, "root"), expires: "2020-01-01T00:00:00Z" } },
  })
  assert.throws(() => open(old), refusedWith("CATALOG_EXPIRED", /root/))
  const renewed = rotateRoot(old, (root) => (root.expires = "2027-11-01T00:00:00Z"))
  assert.equal(open(renewed).rootVersion, 2)
})

test("a publisher that is delegated no more needs no file, and stays listed in the snapshot", () => {
  const targets = { ...bodyOf(files, "targets"), version: 2, delegations: { keys: {}, roles: [] } }
  const kept = new Map([...files].filter(([path]) => !/publisher|images|grants/.test(path)))
  const snapshot = bodyOf(files, "snapshot")
  snapshot.version++
  snapshot.meta["targets.json"] = listedFile(2, signMetadata<"targets">(targets, [keys.targets]))
  const timestamp = { ...bodyOf(files, "timestamp"), version: 9 }
  timestamp.meta["snapshot.json"] = listedFile(snapshot.version, signMetadata<"snapshot">(snapshot, [keys.snapshot]))
  const revoked = forge(kept, { bodies: { targets, snapshot, timestamp } })
  assert.equal(openCatalog(revoked, { trusted: files }, startMs).images.size, 0)
  const refreshed = refreshTimestamp({ files: revoked, online, nowMs: startMs + 28 * DAY_MS })
  assert.equal(openCatalog(refreshed, { trusted: files }, startMs + 28 * DAY_MS).snapshotVersion, snapshot.version + 1)
})

test("the newest version is the one that was published last, whatever its name", () => {
  const images = new Map(
    (["debian:9", "debian:10", "other:1"] as const).map((image, at) => [image, manifestOf(image, { publishedAtMs: startMs + at })]),
  )
  assert.equal(newestVersion({ images, grants: new Map() }, "debian")?.version, "10")
  assert.equal(newestVersion({ images, grants: new Map() }, "nothing"), null)
})

test("resolveImage() finds a version, else the newest, else says what is near", () => {
  const catalog = open(files)
  assert.equal(resolveImage(catalog, ownImageQuery("debian:1")).version, "1")
  assert.equal(resolveImage(catalog, ownImageQuery("debian")).version, "2")
  assert.throws(
    () => resolveImage(catalog, ownImageQuery("debain")),
    refusedWith("IMAGE_UNKNOWN", /debain; site lab has debian, hpc\/debian$/),
  )
  assert.throws(() => resolveImage(catalog, ownImageQuery("debian:3")), refusedWith("IMAGE_UNKNOWN", /its newest versions are 2, 1$/))
  assert.throws(() => resolveImage(open(newRepository()), ownImageQuery("debian")), refusedWith("IMAGE_UNKNOWN", /has published none yet/))
})

test("500 images open in well under a second, and 2,000 in proportion", () => {
  const tookMs = (count: number): number => {
    const large = catalogOf(count)
    const began = performance.now()
    assert.equal(open(large).images.size, count)
    return performance.now() - began
  }
  tookMs(50)
  const [small, large] = [tookMs(500), tookMs(2_000)]
  // Measured: 40 and 155 ms. The library's own way took 160 and 3,400.
  assert.ok(small < 800, `500 images: ${small} ms`)
  assert.ok(large < 12 * small + 200, `2,000 images: ${large} ms after ${small}`)
})

function catalogOf(count: number): CatalogFiles {
  const empty = newRepository()
  const publisher = bodyOf(empty, "publisher")
  const documents: Record<string, unknown> = {}
  for (let at = 0; at < count; at++) {
    const image = `site/image-${at % 20}:${at}`
    documents[`images/${image.replace(":", "/")}.json`] = manifestOf(image)
    documents[`grants/${image.replace(":", "/")}.json`] = grantsOf(image)
  }
  publisher.version++
  publisher.targets = Object.fromEntries(Object.entries(documents).map(([path, document]) => [path, listTarget(document)]))
  return forge(empty, { bodies: { publisher }, documents })
}

function bytes(from: CatalogFiles, path: string): Buffer {
  return from.get(path) ?? assert.fail(path)
}
