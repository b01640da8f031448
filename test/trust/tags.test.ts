import assert from "node:assert/strict"
import { test } from "node:test"
import { ownImageQuery, type ImageName } from "#core/identifiers.ts"
import type { CatalogFiles } from "#trust/catalog-file.ts"
import { packCatalog, unpackCatalog } from "#trust/catalog-file.ts"
import { openCatalog, requireCurrentTagger, resolveImage } from "#trust/catalog.ts"
import { decodeChange, encodeChange } from "#trust/change-file.ts"
import { eventsOf } from "#trust/change-events.ts"
import { draftChange } from "#trust/change.ts"
import { describeChange } from "#trust/describe-change.ts"
import { siteScope } from "#trust/files.ts"
import { mergeCatalogs } from "#trust/merge.ts"
import { keyIdOfSeed } from "#trust/metadata.ts"
import { outlived } from "#trust/retention.ts"
import { taggerOf, tagsNaming } from "#trust/tags.ts"
import { changed, published, publishersAre } from "./administrators.ts"
import { DAY_MS, grantsOf, keys, newRepository, online, open, refusedWith, seedOf, startMs, tagsOf, withImages } from "./repositories.ts"

const base = withImages(newRepository(), "debian:1", "debian:2", "debian:3")
const tagsEdit = (name: string, versions: Readonly<Record<string, string>>, publisher = "publisher") => ({
  publishers: new Map([[publisher, { documents: new Map([[`tags/${name}.json`, tagsOf(name, versions)]]) }]]),
})
const tagged = (files: CatalogFiles, versions: Readonly<Record<string, string>>, name = "debian"): CatalogFiles =>
  changed(files, tagsEdit(name, versions))
const withGrants = (files: CatalogFiles, image: string, more: Parameters<typeof grantsOf>[1]): CatalogFiles =>
  changed(files, {
    publishers: new Map([["publisher", { documents: new Map([[`grants/${image.replace(":", "/")}.json`, grantsOf(image, more)]]) }]]),
  })
const find = (files: CatalogFiles, image: string) => resolveImage(open(files), ownImageQuery(image)).version

test("a tag stands for the version that it names, and moves", () => {
  const stable = tagged(base, { stable: "1", testing: "3" })
  assert.equal(find(stable, "debian:stable"), "1")
  assert.equal(find(tagged(stable, { stable: "2" }), "debian:stable"), "2")
  assert.equal(find(stable, "debian"), "3", "without a version the newest is meant, whatever is tagged")
  assert.deepEqual(tagsNaming(open(tagged(base, { stable: "2", lts: "2", testing: "3" })), { name: "debian", version: "2" }), [
    "lts",
    "stable",
  ])
})

test("an unknown tag is refused, and the tags that there are are named", () => {
  assert.throws(
    () => find(tagged(base, { stable: "1" }), "debian:stabel"),
    refusedWith("IMAGE_UNKNOWN", /versions are 3, 2, 1, and its tags stable$/),
  )
})

test("a tag of a version that is out of use, or gone with its publisher, is refused and says what it names", () => {
  const retired = withGrants(tagged(base, { stable: "1" }), "debian:1", { retiredAtMs: startMs })
  assert.throws(
    () => find(retired, "debian:stable"),
    refusedWith("IMAGE_RETIRED", /debian:stable of site lab is a tag of version 1, .*imagegrid tag debian:stable VERSION/),
  )
  assert.equal(resolveImage(open(retired), ownImageQuery("debian:stable"), { retired: "show" }).version, "1")

  const hpc = seedOf("hpc publisher")
  const both = { hpc: { seeds: [hpc], pattern: "hpc/*" }, publisher: { seeds: [keys.publisher], pattern: "*" } }
  const start = changed(newRepository(), { delegations: publishersAre(both) }, { seeds: [keys.targets, keys.publisher, hpc] })
  const byTwo = tagged(published(start, "hpc/node:1", { seeds: [hpc] }), { stable: "1" }, "hpc/node")
  assert.equal(find(byTwo, "hpc/node:stable"), "1")
  const without = changed(byTwo, { delegations: publishersAre({ publisher: both.publisher }) })
  assert.throws(
    () => find(without, "hpc/node:stable"),
    refusedWith("IMAGE_UNKNOWN", /a tag of version 1, which is gone with its publisher/),
  )
})

test("with their publisher its tags vanish, and the log says so", () => {
  const hpc = seedOf("hpc publisher")
  const both = { hpc: { seeds: [hpc], pattern: "hpc/*" }, publisher: { seeds: [keys.publisher], pattern: "*" } }
  const start = changed(newRepository(), { delegations: publishersAre(both) }, { seeds: [keys.targets, keys.publisher, hpc] })
  const before = changed(published(start, "hpc/node:1", { seeds: [hpc] }), tagsEdit("hpc/node", { stable: "1" }, "hpc"), { seeds: [hpc] })
  const after = changed(before, { delegations: publishersAre({ publisher: both.publisher }) })
  assert.equal(open(before).tags.size, 1)
  assert.equal(open(after).tags.size, 0)
  const untagged = eventsOf(before, after).filter(({ event }) => event === "untagged")
  assert.deepEqual(untagged, [{ event: "untagged", what: { image: "hpc/node:1", tag: "stable" }, signedBy: [keyIdOfSeed(keys.targets)] }])
})

test("no rule retires a version that a tag names, and it counts for nothing as a pinned one does", () => {
  const keepTwo = (files: CatalogFiles) =>
    changed(files, { site: (site) => ({ ...site, retention: [{ names: ["debian"], keepLast: 2 }] }) })
  const versions = (files: CatalogFiles) => outlived(open(keepTwo(files)), "debian").map(({ version }) => version)
  assert.deepEqual(versions(base), ["2", "1"])
  assert.deepEqual(versions(tagged(base, { stable: "1" })), ["2"])
  assert.deepEqual(versions(tagged(base, { stable: "3" })), ["1"])
})

test("what is a version is no tag, and what is a tag is no version", () => {
  const stable = tagged(base, { stable: "1" })
  assert.throws(() => tagged(base, { "3": "1" }), refusedWith("IMAGE_EXISTS", /debian:3 is a version/))
  assert.throws(() => withImages(stable, "debian:stable"), refusedWith("TAG_EXISTS", /debian:stable is a tag, which names version 1/))
  assert.equal(find(withImages(tagged(stable, {}), "debian:stable"), "debian:stable"), "stable", "once the tag is gone")
  assert.equal(open(withImages(stable, "web:stable")).images.size, 4, "another image's tags are its own")
})

test("where two servers took a tag and a version of one name, the version counts, and whoever goes on is told", () => {
  const hpc = seedOf("hpc publisher")
  const both = { hpc: { seeds: [hpc], pattern: "debian" }, publisher: { seeds: [keys.publisher], pattern: "*" } }
  const start = changed(base, { delegations: publishersAre(both) }, { seeds: [keys.targets, keys.publisher, hpc] })
  const one = changed(start, tagsEdit("debian", { next: "1" }, "hpc"), { seeds: [hpc] })
  const merged = mergeCatalogs({ mine: one, theirs: published(start, "debian:next"), online: () => online, nowMs: startMs })
  assert.equal(open(merged).tags.size, 1)
  assert.equal(find(merged, "debian:next"), "next")
  assert.throws(() => changed(merged, tagsEdit("debian", { next: "2" }, "hpc"), { seeds: [hpc] }), refusedWith("IMAGE_EXISTS"))
})

test("two catalogs' tags come together, and of two moves under one version the same one stays everywhere", () => {
  const merge = (mine: CatalogFiles, theirs: CatalogFiles) => mergeCatalogs({ mine, theirs, online: () => online, nowMs: startMs })
  const hpc = seedOf("hpc publisher")
  const both = { hpc: { seeds: [hpc], pattern: "hpc/*" }, publisher: { seeds: [keys.publisher], pattern: "debian" } }
  const start = changed(base, { delegations: publishersAre(both) }, { seeds: [keys.targets, keys.publisher, hpc] })
  const node = published(start, "hpc/node:1", { seeds: [hpc] })
  const [here, there] = [tagged(node, { stable: "1" }), changed(node, tagsEdit("hpc/node", { stable: "1" }, "hpc"), { seeds: [hpc] })]
  assert.deepEqual([...open(merge(here, there)).tags.keys()].sort(), ["debian", "hpc/node"])
  assert.deepEqual(merge(here, there), merge(there, here))

  const [a, b] = [tagged(base, { stable: "1" }), tagged(base, { stable: "2" })]
  const [ab, ba] = [merge(a, b), merge(b, a)]
  assert.deepEqual(ab, ba)
  const displaced = [a, b].flatMap((side) => eventsOf(side, ab)).filter(({ event }) => event === "displaced")
  assert.equal(displaced.length, 1, "and the one whose move is gone is told")
})

test("tags travel in a catalog's file, and not in the site's scope of it", async () => {
  const files = tagged(base, { stable: "1" })
  const carried = await unpackCatalog(await packCatalog(files))
  assert.equal(find(carried, "debian:stable"), "1")
  assert.ok(![...siteScope(files).keys()].some((path) => path.includes("tags/")))
  assert.equal(openCatalog(siteScope(files), { trusted: files }, startMs, { scope: "site" }).tags.size, 0)
})

test("the log has each tag that is made, moved and taken away, with the keys that signed", () => {
  const one = tagged(base, { stable: "1", testing: "2" })
  const two = tagged(one, { stable: "2" })
  const happened = (before: CatalogFiles, after: CatalogFiles) =>
    eventsOf(before, after).map(({ event, what, signedBy }) => {
      assert.deepEqual(signedBy, [keyIdOfSeed(keys.publisher)])
      return [event, what]
    })
  assert.deepEqual(happened(base, one), [
    ["tagged", { image: "debian:1", tag: "stable" }],
    ["tagged", { image: "debian:2", tag: "testing" }],
  ])
  assert.deepEqual(happened(one, two), [
    ["tagged", { image: "debian:2", tag: "stable", was: "1" }],
    ["untagged", { image: "debian:2", tag: "testing" }],
  ])
})

test("who is to sign reads what a tag names and named", () => {
  const one = tagged(base, { stable: "1", testing: "2" })
  const told = (files: CatalogFiles, versions: Readonly<Record<string, string>>): string[] =>
    describeChange(decodeChange(encodeChange({ files, change: draftChange(files, tagsEdit("debian", versions), startMs) }))).slice(1)
  assert.deepEqual(told(base, { stable: "1" }), ["  + tag debian:stable names version 1 from 2026-11-22T12:00:00.000Z"])
  assert.deepEqual(told(one, { stable: "2" }), [
    "  + tag debian:stable names version 2 from 2026-11-22T12:00:00.000Z (was 1)",
    "  - tag debian:testing, which named version 2",
  ])
  assert.deepEqual(told(one, { testing: "2", stable: "1" }), ["  tags of debian, as they will stand: testing 2, stable 1"], "another order")
})

test("the tags of an image are for who has signed them, else for the first publisher whose names fit", () => {
  const hpc = seedOf("hpc publisher")
  const [first, other] = [keyIdOfSeed(keys.publisher), keyIdOfSeed(hpc)]
  const both = { hpc: { seeds: [hpc], pattern: "hpc/*" }, publisher: { seeds: [keys.publisher], pattern: "*" } }
  const start = changed(newRepository(), { delegations: publishersAre(both) }, { seeds: [keys.targets, keys.publisher, hpc] })
  const node = "hpc/node" as ImageName
  assert.equal(taggerOf(start, [other, first], node).name, "hpc")
  assert.throws(() => taggerOf(start, [first], node), refusedWith("KEY_MISSING", /hpc\/node are for publisher hpc .*one of \*/))
  assert.throws(() => taggerOf(start, [other], "web" as ImageName), refusedWith("KEY_MISSING", /for publisher publisher to sign/))
  const before = tagged(published(start, "hpc/node:1"), { stable: "1" }, "hpc/node")
  assert.equal(taggerOf(before, [other, first], node).name, "publisher", "a path is of one role")
})

test("a deploy by tag asks that the tags' publisher has signed in time", () => {
  const catalog = open(tagged(base, { stable: "1" }))
  requireCurrentTagger(catalog, "debian", startMs)
  const far = startMs + 10_000 * DAY_MS
  assert.throws(
    () => requireCurrentTagger(catalog, "debian", far),
    refusedWith("CATALOG_EXPIRED", /publisher of the tags of debian expired/),
  )
})
