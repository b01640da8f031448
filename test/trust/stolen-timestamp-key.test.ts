/** The danger: somebody else has the timestamp key, and that key alone. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { METADATA_PATH, type CatalogFiles } from "#trust/catalog-file.ts"
import { openCatalog, rootDigest } from "#trust/catalog.ts"
import { listedFile, signMetadata, tufTime } from "#trust/metadata.ts"
import { refreshTimestamp } from "#trust/online-roles.ts"
import { nextOnline, onlineReplaced } from "./administrators.ts"
import { bodyOf, DAY_MS, forge, keys, manifestOf, newRepository, online, refusedWith, seedOf, startMs, withImages } from "./repositories.ts"

const old = withImages(newRepository(), "debian:1")
const newest = withImages(old, "debian:2")
const thief = seedOf("thief")
const newcomer = { rootDigest: rootDigest(old) }

/** These files under a timestamp that the thief makes at will: any version, any expiry. */
function stamped(files: CatalogFiles, version: number, lastsMs: number): CatalogFiles {
  const snapshot = files.get(METADATA_PATH("snapshot")) ?? assert.fail()
  const body = { ...bodyOf(files, "timestamp"), version, expires: tufTime(startMs + lastsMs) }
  body.meta["snapshot.json"] = listedFile(bodyOf(files, "snapshot").version, snapshot)
  return new Map([...files, [METADATA_PATH("timestamp"), signMetadata<"timestamp">(body, [keys.timestamp])]])
}

test("it can: hide news from who does not know them yet, until the snapshot ends and no longer", () => {
  const frozen = stamped(old, 9, 1_000 * DAY_MS)
  const at = (days: number) => () => openCatalog(frozen, newcomer, startMs + days * DAY_MS)
  assert.deepEqual([...at(29)().images.keys()], ["debian:1"])
  assert.throws(at(30), refusedWith("CATALOG_EXPIRED", /snapshot/))
})

test("it can't: take back what a member has seen", () => {
  assert.throws(() => openCatalog(stamped(old, 9, DAY_MS), { trusted: newest }, startMs), refusedWith("CATALOG_ROLLBACK", /snapshot/))
})

test("it can't: sign a snapshot, so no other image, document or publisher comes in", () => {
  const snapshot = { ...bodyOf(newest, "snapshot"), version: 9 }
  for (const seed of [thief, keys.timestamp])
    assert.throws(
      () => openCatalog(forge(newest, { bodies: { snapshot }, seeds: { snapshot: [seed] } }), newcomer, startMs),
      refusedWith("CATALOG_INVALID", /snapshot/),
    )
  const document = Buffer.from(JSON.stringify(manifestOf("debian:2", { entryCount: 4 })))
  const changed = new Map([...stamped(newest, 9, DAY_MS), ["targets/images/debian/2.json", document]])
  assert.throws(() => openCatalog(changed, newcomer, startMs), refusedWith("CATALOG_INVALID", /not of the digest/))
})

test("recovery: a new timestamp key in the root; what the stolen one signed counts no more", () => {
  const next = { ...online, timestampSeed: nextOnline.timestampSeed }
  const forged = stamped(newest, 2_000_000_000, DAY_MS)
  const recovered = onlineReplaced(forged, next)
  assert.equal(openCatalog(recovered, { trusted: forged }, startMs).images.size, 2)
  assert.throws(() => openCatalog(stamped(recovered, 10, DAY_MS), newcomer, startMs), refusedWith("CATALOG_INVALID", /timestamp/))
  assert.throws(() => refreshTimestamp({ files: recovered, online, nowMs: startMs }), refusedWith("KEY_MISSING"))
})
