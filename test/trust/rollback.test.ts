/** The danger: someone who kept old files, rightly signed, passes them off as the newest. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { METADATA_PATH, ROOT_PATH } from "#trust/catalog-file.ts"
import { openCatalog, rootDigest } from "#trust/catalog.ts"
import { keyIdOfSeed, tufKeyOf } from "#trust/metadata.ts"
import { refreshTimestamp } from "#trust/online-roles.ts"
import { bodyOf, forge, newRepository, online, refusedWith, rotateRoot, seedOf, startMs, withImages } from "./repositories.ts"

const old = withImages(newRepository(), "debian:1")
const trusted = refreshTimestamp({ files: withImages(old, "debian:2"), online, nowMs: startMs })
const offer = (files: typeof old) => () => openCatalog(files, { trusted }, startMs)

test("a whole old catalog is refused, which a newcomer could not tell from a new one", () => {
  assert.throws(offer(old), refusedWith("CATALOG_ROLLBACK", /timestamp version 2, and 4 is trusted/))
  assert.equal(openCatalog(old, { rootDigest: rootDigest(old) }, startMs).images.size, 1)
})

test("an old snapshot under a new timestamp is refused", () => {
  const timestamp = { ...bodyOf(old, "timestamp"), version: 9 }
  assert.throws(
    offer(forge(old, { bodies: { timestamp, snapshot: bodyOf(old, "snapshot") } })),
    refusedWith("CATALOG_ROLLBACK", /snapshot version 2/),
  )
})

test("an old publisher's file under a new snapshot and timestamp is refused", () => {
  const timestamp = { ...bodyOf(old, "timestamp"), version: 9 }
  const snapshot = { ...bodyOf(old, "snapshot"), version: 9 }
  timestamp.meta["snapshot.json"].version = 9
  const forged = forge(old, { bodies: { snapshot } })
  const meta = bodyOf(forged, "timestamp").meta
  assert.throws(
    offer(forge(forged, { bodies: { snapshot, timestamp: { ...timestamp, meta } } })),
    refusedWith("CATALOG_ROLLBACK", /publisher.json version 2/),
  )
})

test("a snapshot that lists a role no more is refused", () => {
  const snapshot = { ...bodyOf(trusted, "snapshot"), version: 9 }
  delete snapshot.meta["publisher.json"]
  const forged = forge(trusted, { bodies: { snapshot } })
  assert.throws(offer(forged), refusedWith("CATALOG_ROLLBACK", /publisher.json is gone/))
})

test("an older root is refused", () => {
  const rotated = rotateRoot(trusted, () => {})
  assert.throws(() => openCatalog(trusted, { trusted: rotated }, startMs), refusedWith("CATALOG_ROLLBACK", /root 1, and 2 is trusted/))
})

test("another root of the same version is refused, however well signed", () => {
  const rotated = rotateRoot(trusted, () => {})
  const other = rotateRoot(trusted, (root) => (root.expires = "2030-01-01T00:00:00Z"))
  assert.throws(() => openCatalog(other, { trusted: rotated }, startMs), refusedWith("CATALOG_INVALID", /root 2/))
})

test("a root that skips a version is refused", () => {
  const skipped = new Map(rotateRoot(trusted, () => {}))
  skipped.set(
    ROOT_PATH(3),
    rotateRoot(
      rotateRoot(trusted, () => {}),
      () => {},
    ).get(ROOT_PATH(3)) ?? assert.fail(),
  )
  skipped.set(ROOT_PATH(2), skipped.get(ROOT_PATH(3)) ?? assert.fail())
  skipped.delete(ROOT_PATH(3))
  assert.throws(offer(skipped), refusedWith("CATALOG_INVALID", /root 2/))
})

test("equal versions of other bytes are no rollback: two servers signed at the same time", () => {
  const twin = refreshTimestamp({ files: withImages(old, "debian:2"), online, nowMs: startMs + 5_000 })
  assert.notDeepEqual(twin.get(METADATA_PATH("timestamp")), trusted.get(METADATA_PATH("timestamp")))
  assert.equal(offer(twin)().timestampVersion, 4)
})

test("after the online keys were rotated lower versions are taken: a thief's high version does not last (TUF 5.3.11)", () => {
  const stolen = forge(trusted, { bodies: { timestamp: { ...bodyOf(trusted, "timestamp"), version: 1_000_000 } } })
  const next = seedOf("next timestamp")
  const rotated = rotateRoot(trusted, (root) => {
    root.keys[keyIdOfSeed(next)] = tufKeyOf(next)
    root.roles.timestamp.keyids = [keyIdOfSeed(next)]
  })
  const recovered = refreshTimestamp({ files: rotated, online: { ...online, timestampSeed: next }, nowMs: startMs })
  assert.equal(openCatalog(recovered, { trusted: stolen }, startMs).timestampVersion, 5)
  assert.throws(() => openCatalog(trusted, { trusted: stolen }, startMs), refusedWith("CATALOG_ROLLBACK"))
})
