/** The danger: a tag, which machines deploy by, is moved by who may not, or back to where it was. */
import assert from "node:assert/strict"
import { test } from "node:test"
import type { Tags } from "#core/documents.ts"
import { openCatalog } from "#trust/catalog.ts"
import { applyChange, draftChange, signChange } from "#trust/change.ts"
import { mergeCatalogs } from "#trust/merge.ts"
import { changed, published, publishersAre } from "./administrators.ts"
import {
  bodyOf,
  forge,
  keys,
  listTarget,
  newRepository,
  online,
  open,
  refusedWith,
  seedOf,
  startMs,
  tagsOf,
  withImages,
} from "./repositories.ts"

const hpc = seedOf("hpc publisher")
const both = { hpc: { seeds: [hpc], pattern: "hpc/*" }, publisher: { seeds: [keys.publisher], pattern: "debian" } }
const start = changed(newRepository(), { delegations: publishersAre(both) }, { seeds: [keys.targets, keys.publisher, hpc] })
const site = published(withImages(start, "debian:1", "debian:2"), "hpc/node:1", { seeds: [hpc] })
const edit = (publisher: string, path: string, document: Tags) => ({
  publishers: new Map([[publisher, { documents: new Map([[path, document]]) }]]),
})
const single = withImages(newRepository(), "debian:1", "debian:2")
/** A rightly signed catalog whose publisher lists this document at this path. */
function listing(path: string, document: unknown) {
  const publisher = bodyOf(single, "publisher")
  publisher.targets[path] = listTarget(document)
  return forge(single, { bodies: { publisher }, documents: { [path]: document } })
}

test("a publisher that signs other names moves no tag of this one", () => {
  const tags = edit("hpc", "tags/debian.json", tagsOf("debian", { stable: "1" }))
  assert.throws(() => changed(site, tags, { seeds: [hpc] }), refusedWith("CATALOG_INVALID", /hpc may not sign tags\/debian.json/))
  const own = edit("hpc", "tags/hpc/node.json", tagsOf("hpc/node", { stable: "1" }))
  assert.equal(open(changed(site, own, { seeds: [hpc] })).tags.size, 1, "the control")
})

test("the tags of an image are one publisher's: another whose names fit too can't sign them beside it", () => {
  const overlapping = { hpc: { seeds: [hpc], pattern: "hpc/*" }, publisher: { seeds: [keys.publisher], pattern: "*" } }
  const two = changed(newRepository(), { delegations: publishersAre(overlapping) }, { seeds: [keys.targets, keys.publisher, hpc] })
  const before = published(two, "hpc/node:1", { seeds: [hpc] })
  const by = (publisher: string) => edit(publisher, "tags/hpc/node.json", tagsOf("hpc/node", { stable: "1" }))
  const one = changed(before, by("publisher"))
  assert.throws(() => changed(one, by("hpc"), { seeds: [hpc] }), refusedWith("CATALOG_INVALID", /signed by two roles/))
  const apart = mergeCatalogs({ mine: one, theirs: changed(before, by("hpc"), { seeds: [hpc] }), online: () => online, nowMs: startMs })
  assert.throws(() => openCatalog(apart, { trusted: one }, startMs), refusedWith("CATALOG_INVALID", /signed by two roles/))
  const without = changed(one, { delegations: publishersAre({ publisher: overlapping.publisher }) })
  const mended = mergeCatalogs({
    mine: without,
    theirs: changed(before, by("hpc"), { seeds: [hpc] }),
    online: () => online,
    nowMs: startMs,
  })
  assert.equal(
    openCatalog(mended, { trusted: without }, startMs).tags.get("hpc/node")?.publisher,
    "publisher",
    "without the other it merges",
  )
})

test("no key but the publisher's moves a tag", () => {
  const draft = draftChange(single, edit("publisher", "tags/debian.json", tagsOf("debian", { stable: "1" })), startMs)
  for (const seeds of [[], [hpc], [keys.targets], [keys.snapshot, keys.timestamp]])
    assert.throws(
      () => applyChange({ files: single, change: signChange(single, draft, seeds), online: () => online, nowMs: startMs }),
      refusedWith("SIGNATURES_MISSING"),
    )
})

test("tags of one image at the path of another are refused, before they are signed and when they come", () => {
  const moved = tagsOf("web", { stable: "1" })
  assert.throws(
    () => draftChange(single, edit("publisher", "tags/debian.json", moved), startMs),
    refusedWith("MANIFEST_INVALID", /belongs at tags\/web.json/),
  )
  assert.throws(() => open(listing("tags/debian.json", moved)), refusedWith("CATALOG_INVALID", /belongs at tags\/web.json/))
  assert.throws(() => open(listing("grants/debian/1.json", tagsOf("debian", {}))), refusedWith("CATALOG_INVALID"))
})

test("tags of another site, a tag twice, and words out of form are refused", () => {
  const two = [1, 2].map((version) => ({ tag: "stable", version: String(version), movedAtMs: startMs }))
  const word = (tag: string, version: string) => tagsOf("debian", {}, { tags: [{ tag, version, movedAtMs: startMs }] })
  for (const document of [
    tagsOf("debian", { stable: "1" }, { site: "elsewhere" }),
    tagsOf("debian", {}, { tags: two }),
    word("../x", "1"),
    word("stable", "a/b"),
    word("", "1"),
    word("x".repeat(65), "1"),
    { ...tagsOf("debian", {}), more: 1 },
    tagsOf("debian", {}, { tags: Array.from({ length: 1_001 }, (_, at) => ({ tag: `t${at}`, version: "1", movedAtMs: startMs })) }),
  ])
    assert.throws(() => open(listing("tags/debian.json", document)), refusedWith("CATALOG_INVALID"), JSON.stringify(document).slice(0, 200))
  assert.equal(open(listing("tags/debian.json", tagsOf("debian", { stable: "1" }))).tags.size, 1, "the control")
})

test("where a tag was before is refused by who knows where it went", () => {
  const old = changed(single, edit("publisher", "tags/debian.json", tagsOf("debian", { stable: "1" })))
  const trusted = changed(old, edit("publisher", "tags/debian.json", tagsOf("debian", { stable: "2" })))
  assert.throws(() => openCatalog(old, { trusted }, startMs), refusedWith("CATALOG_ROLLBACK"))
  const [timestamp, snapshot] = [
    { ...bodyOf(old, "timestamp"), version: 9 },
    { ...bodyOf(old, "snapshot"), version: 9 },
  ]
  const forged = forge(old, { bodies: { snapshot } })
  timestamp.meta["snapshot.json"] = bodyOf(forged, "timestamp").meta["snapshot.json"]
  assert.throws(
    () => openCatalog(forge(forged, { bodies: { snapshot: bodyOf(forged, "snapshot"), timestamp } }), { trusted }, startMs),
    refusedWith("CATALOG_ROLLBACK", /publisher.json version/),
  )
})

test("old tags under the new publisher's file are not what was signed", () => {
  const old = changed(single, edit("publisher", "tags/debian.json", tagsOf("debian", { stable: "1" })))
  const trusted = changed(old, edit("publisher", "tags/debian.json", tagsOf("debian", { stable: "2" })))
  const mixed = new Map([...trusted, ["targets/tags/debian.json", old.get("targets/tags/debian.json") ?? assert.fail()] as const])
  assert.throws(() => open(mixed), refusedWith("CATALOG_INVALID", /not of the digest/))
})

test("a publisher that leaves its tags out is refused: what was signed stays, if only as an empty list", () => {
  const before = changed(single, edit("publisher", "tags/debian.json", tagsOf("debian", { stable: "1" })))
  const draft = new Map(draftChange(before, { publishers: new Map([["publisher", {}]]) }, startMs))
  const body = bodyOf(new Map([...before, ...draft]), "publisher")
  delete body.targets["tags/debian.json"]
  const signed = forge(before, { bodies: { publisher: body } }).get("metadata/publisher.json") ?? assert.fail()
  const change = new Map([["metadata/publisher.json", signed]])
  assert.throws(
    () => applyChange({ files: before, change, online: () => online, nowMs: startMs }),
    refusedWith("CATALOG_INVALID", /is gone/),
  )
})
