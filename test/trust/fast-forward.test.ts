/** The danger: a thief signs the highest version that there can be, and nothing of the site counts as newer ever after. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { METADATA_PATH, type CatalogFiles } from "#trust/catalog-file.ts"
import { openCatalog, rootDigest } from "#trust/catalog.ts"
import { applyChange } from "#trust/change.ts"
import { mergeCatalogs } from "#trust/merge.ts"
import { signMetadata } from "#trust/metadata.ts"
import { refreshTimestamp } from "#trust/online-roles.ts"
import { nextOnline, onlineReplaced, published, versionOf } from "./administrators.ts"
import { bodyOf, DAY_MS, forge, keys, newRepository, online, open, refusedWith, startMs, withImages } from "./repositories.ts"

const LAST_VERSION = 2_147_483_647
const before = withImages(newRepository(), "debian:1")

/** Snapshot and timestamp at the last version of all, signed with the site's own online keys. */
const atTheEnd = forge(before, {
  bodies: { snapshot: { ...bodyOf(before, "snapshot"), version: LAST_VERSION } },
})
const stolen: CatalogFiles = forge(atTheEnd, {
  bodies: { snapshot: bodyOf(atTheEnd, "snapshot"), timestamp: { ...bodyOf(atTheEnd, "timestamp"), version: LAST_VERSION } },
})

test("who took the thief's catalog takes nothing more that the old keys sign", () => {
  assert.equal(openCatalog(stolen, { trusted: before }, startMs).timestampVersion, LAST_VERSION)
  assert.throws(() => openCatalog(withImages(before, "debian:2"), { trusted: stolen }, startMs), refusedWith("CATALOG_ROLLBACK"))
  assert.throws(() => open(refreshTimestamp({ files: stolen, online, nowMs: startMs })), refusedWith("CATALOG_INVALID", /timestamp/))
})

test("a version beyond the last is out of form, so that the thief can't go further than the site can come back from", () => {
  const beyond = forge(before, { bodies: { timestamp: { ...bodyOf(before, "timestamp"), version: LAST_VERSION + 1 } } })
  assert.throws(() => open(beyond), refusedWith("CATALOG_INVALID", /timestamp metadata/))
})

test("recovery: new online keys in the root bring everybody back, whether they took the thief's catalog or not", () => {
  const recovered = published(onlineReplaced(stolen), "debian:2", { online: nextOnline })
  for (const [who, trusted] of [
    ["who took the thief's catalog", stolen],
    ["who did not", before],
  ] as const) {
    const catalog = openCatalog(recovered, { trusted }, startMs)
    assert.equal(catalog.images.size, 2, who)
    assert.ok(catalog.seq > openCatalog(trusted, { trusted }, startMs).seq, `${who} sees that it is newer`)
  }
  assert.equal(openCatalog(recovered, { rootDigest: rootDigest(before) }, startMs).images.size, 2, "a newcomer")
  assert.ok(versionOf(recovered, "timestamp") < 10 && versionOf(recovered, "snapshot") < 10, "versions begin anew")
  const months = refreshTimestamp({ files: recovered, online: nextOnline, nowMs: startMs + 60 * DAY_MS })
  assert.equal(openCatalog(months, { trusted: recovered }, startMs + 60 * DAY_MS).images.size, 2, "and go on for good")
})

test("recovery holds: the thief's catalog, and all that the stolen keys sign later, is refused by who recovered", () => {
  const recovered = onlineReplaced(stolen)
  assert.throws(() => openCatalog(stolen, { trusted: recovered }, startMs), refusedWith("CATALOG_ROLLBACK", /root 1/))
  const again = new Map(recovered)
  const timestamp = { ...bodyOf(recovered, "timestamp"), version: LAST_VERSION }
  again.set(METADATA_PATH("timestamp"), signMetadata<"timestamp">(timestamp, [keys.timestamp]))
  assert.throws(() => openCatalog(again, { trusted: recovered }, startMs), refusedWith("CATALOG_INVALID", /timestamp/))
})

test("a server that recovered and one that still holds the thief's catalog agree on the recovery", () => {
  const recovered = onlineReplaced(stolen)
  for (const [mine, theirs] of [
    [recovered, stolen],
    [stolen, recovered],
  ] as const)
    assert.equal(mergeCatalogs({ mine, theirs, online: () => nextOnline, nowMs: startMs }), recovered)
})

test("a publisher or targets key alone can't be run ahead: a server takes the next version and no other", () => {
  const publisher = { ...bodyOf(before, "publisher"), version: LAST_VERSION }
  const change = new Map([[METADATA_PATH("publisher"), signMetadata<"publisher">(publisher, [keys.publisher])]])
  const apply = (files: ReadonlyMap<string, Buffer>) => applyChange({ files: before, change: files, online: () => online, nowMs: startMs })
  assert.throws(() => apply(change), refusedWith("CATALOG_INVALID", /came after/))
  const targets = { ...bodyOf(before, "targets"), version: LAST_VERSION }
  const ofTargets = new Map([[METADATA_PATH("targets"), signMetadata<"targets">(targets, [keys.targets])]])
  assert.throws(() => apply(ofTargets), refusedWith("CATALOG_INVALID", /came after/))
})
