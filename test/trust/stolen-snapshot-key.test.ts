/** The danger: somebody else has the snapshot key, alone or with the timestamp key, as on any server. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { METADATA_PATH, TARGET_PREFIX, type CatalogFiles } from "#trust/catalog-file.ts"
import { openCatalog, rootDigest } from "#trust/catalog.ts"
import { changed, nextOnline, onlineReplaced, published, publishersAre } from "./administrators.ts"
import {
  bodyOf,
  forge,
  grantsOf,
  keys,
  listTarget,
  manifestOf,
  newRepository,
  refusedWith,
  seedOf,
  startMs,
  withImages,
} from "./repositories.ts"

const thief = seedOf("thief")
const hpc = seedOf("hpc publisher")
const start = changed(
  newRepository(),
  { delegations: publishersAre({ publisher: { seeds: [keys.publisher], pattern: "debian" }, hpc: { seeds: [hpc], pattern: "hpc/*" } }) },
  { seeds: [keys.targets, keys.publisher, hpc] },
)
const old = withImages(start, "debian:1")
const middle = published(old, "hpc/tools:1", { seeds: [hpc] })
const newest = withImages(middle, "debian:2")
const newcomer = { rootDigest: rootDigest(start) }

/** The newest files but for the first publisher's, which are of `from`, under a snapshot and a timestamp of the thief's making. */
function mixed(from: CatalogFiles): CatalogFiles {
  const files = new Map([...newest].filter(([path]) => !path.includes("/debian/")))
  const documents = Object.keys(bodyOf(from, "publisher").targets).map((path) => TARGET_PREFIX + path)
  for (const path of [METADATA_PATH("publisher"), ...documents]) files.set(path, from.get(path) ?? assert.fail(path))
  const listed = forge(files, {})
  return forge(listed, { bodies: { snapshot: { ...bodyOf(listed, "snapshot"), version: 50 } } })
}

test("the snapshot key alone: nothing, for no timestamp lists what it signs", () => {
  const snapshot = { ...bodyOf(newest, "snapshot"), version: 50 }
  const forged = forge(newest, { bodies: { snapshot } })
  const alone = new Map([...forged, [METADATA_PATH("timestamp"), newest.get(METADATA_PATH("timestamp")) ?? assert.fail()]])
  assert.throws(() => openCatalog(alone, newcomer, startMs), refusedWith("CATALOG_INVALID", /snapshot/))
  assert.throws(
    () => openCatalog(forge(newest, { bodies: { snapshot }, seeds: { timestamp: [thief] } }), newcomer, startMs),
    refusedWith("CATALOG_INVALID", /timestamp/),
  )
})

test("with the timestamp key it can: show a newcomer one publisher's files of today beside another's of yesterday", () => {
  const catalog = openCatalog(mixed(old), newcomer, startMs)
  assert.deepEqual([...catalog.images.keys()].sort(), ["debian:1", "hpc/tools:1"])
})

test("... and can't: show that to a member who has seen newer files of either", () => {
  assert.throws(() => openCatalog(mixed(old), { trusted: newest }, startMs), refusedWith("CATALOG_ROLLBACK", /publisher.json/))
})

test("... and can't: forge an image, a publisher or the site's document, which other keys sign", () => {
  const publisher = bodyOf(newest, "publisher")
  publisher.version++
  const documents = { "images/debian/3.json": manifestOf("debian:3"), "grants/debian/3.json": grantsOf("debian:3") }
  for (const [path, document] of Object.entries(documents)) publisher.targets[path] = listTarget(document)
  assert.equal(openCatalog(forge(newest, { bodies: { publisher }, documents }), newcomer, startMs).images.size, 4, "the control")
  for (const seed of [thief, keys.snapshot, keys.timestamp])
    assert.throws(
      () => openCatalog(forge(newest, { bodies: { publisher }, documents, seeds: { publisher: [seed] } }), newcomer, startMs),
      refusedWith("CATALOG_INVALID", /publisher was signed by 0 of 1/),
    )
  const targets = { ...bodyOf(newest, "targets"), version: 9 }
  for (const seed of [thief, keys.snapshot])
    assert.throws(
      () => openCatalog(forge(newest, { bodies: { targets }, seeds: { targets: [seed] } }), newcomer, startMs),
      refusedWith("CATALOG_INVALID", /targets/),
    )
})

test("recovery: new online keys in the root; a thief's mixture that somebody took is followed by the truth", () => {
  const forged = mixed(old)
  const recovered = onlineReplaced(newest, nextOnline)
  for (const trusted of [newest, forged]) assert.equal(openCatalog(recovered, { trusted }, startMs).images.size, 3)
  assert.throws(() => openCatalog(forged, { trusted: recovered }, startMs), refusedWith("CATALOG_ROLLBACK", /root 1/))
})
