import assert from "node:assert/strict"
import { test } from "node:test"
import type { CatalogFiles } from "#trust/catalog-file.ts"
import { openCatalog } from "#trust/catalog.ts"
import { createRepository } from "#trust/create-repository.ts"
import { mergeCatalogs } from "#trust/merge.ts"
import { refreshTimestamp } from "#trust/online-roles.ts"
import { changed, published as publish, publishersAre } from "./administrators.ts"
import {
  bodyOf,
  DAY_MS,
  forge,
  keys,
  keysOf,
  listTarget,
  newRepository,
  online,
  open,
  refusedWith,
  repositoryKeys,
  rotateRoot,
  siteDocument,
  startMs,
  withImages,
} from "./repositories.ts"

const base = withImages(newRepository(), "debian:1")
const merge = (mine: CatalogFiles, theirs: CatalogFiles, nowMs = startMs) => mergeCatalogs({ mine, theirs, online: () => online, nowMs })
const refreshed = (files: CatalogFiles, afterMs: number) => refreshTimestamp({ files, online, nowMs: startMs + afterMs })

test("the side that has everything comes back as it is, whichever side it is", () => {
  const newer = withImages(base, "debian:2")
  assert.equal(merge(newer, base), newer)
  assert.equal(merge(base, newer), newer)
  assert.equal(merge(base, base), base)
  const fresher = refreshed(newer, 1_000)
  assert.equal(merge(newer, fresher), fresher)
  const copy = new Map([...newer].map(([path, bytes]) => [path, Buffer.from(bytes)]))
  assert.equal(merge(newer, copy), newer)
})

test("a publication here and a fresher timestamp there come together, newer than both", () => {
  const [published, fresher] = [withImages(base, "debian:2"), refreshed(refreshed(base, 1_000), 2_000)]
  const merged = merge(published, fresher)
  const catalog = open(merged)
  assert.deepEqual([...catalog.images.keys()], ["debian:1", "debian:2"])
  assert.equal(catalog.timestampVersion, 5)
  for (const side of [published, fresher]) assert.equal(openCatalog(merged, { trusted: side }, startMs).images.size, 2)
})

test("servers that merge the same two get the same bytes, whichever is theirs and whatever their clocks say", () => {
  const [a, b] = [withImages(base, "debian:2"), refreshed(base, 7_000)]
  assert.deepEqual(merge(a, b, startMs), merge(b, a, startMs + 60_000))
})

test("two timestamps of one version and other times become one", () => {
  const [a, b] = [refreshed(base, 1_000), refreshed(base, 2_000)]
  const merged = merge(a, b)
  assert.deepEqual(merged, merge(b, a))
  assert.equal(open(merged).timestampVersion, open(a).timestampVersion + 1)
  assert.equal(open(merged).snapshotVersion, open(base).snapshotVersion)
  assert.equal(open(merged).expiresAtMs, open(b).expiresAtMs)
  assert.equal(merge(merged, a), merged)
  assert.equal(merge(b, merged), merged)
})

test("three servers that signed at once and merge in pairs, all at the same time, end with the same bytes", () => {
  let sides = [refreshed(base, 1_000), withImages(base, "debian:2"), refreshed(base, 3_000)]
  let rounds = 0
  const agree = () => sides.every((side) => merge(side, sides[0] ?? base) === side && merge(sides[0] ?? base, side) === sides[0])
  while (!agree()) {
    assert.ok(rounds++ < 5, "they sign past each other")
    sides = sides.map((side, at) => merge(side, sides[(at + 1) % sides.length] ?? base))
  }
  assert.deepEqual(sides[0], sides[1])
  assert.deepEqual(sides[1], sides[2])
  assert.equal(open(sides[0] ?? base).images.size, 2)
})

test("of two publications under one version the same one stays everywhere, whole", () => {
  const [a, b] = [withImages(base, "left:1"), withImages(base, "right:1")]
  const merged = merge(a, b)
  assert.deepEqual(merged, merge(b, a))
  const kept = [...open(merged).images.keys()].filter((image) => image !== "debian:1")
  assert.equal(kept.length, 1)
  assert.equal(open(merged).grants.has(kept[0] ?? ""), true)
})

test("an old side whose snapshot was signed anew for its age does not bring old content back", () => {
  const month = 25 * DAY_MS
  const renewed = refreshed(refreshed(base, month), month)
  const published = withImages(base, "debian:2")
  const merged = merge(renewed, published, startMs + month)
  assert.equal(openCatalog(merged, { trusted: renewed }, startMs + month).images.size, 2)
  assert.equal(openCatalog(merged, { trusted: published }, startMs + month).images.size, 2)
})

test("a merge of two that have both lapsed is fresh", () => {
  const [a, b] = [refreshed(base, 0), refreshed(base, 1_000)]
  const later = startMs + 5 * DAY_MS
  assert.equal(openCatalog(merge(a, b, later), { trusted: a }, later).expiresAtMs, later + 3 * DAY_MS)
})

test("a new root is taken along", () => {
  const rotated = rotateRoot(base, (root) => (root.expires = "2028-01-01T00:00:00Z"))
  const published = withImages(base, "debian:2")
  const catalog = open(merge(published, rotated))
  assert.deepEqual([catalog.rootVersion, catalog.images.size], [2, 2])
})

test("another site's catalog, and another root of the same version, are not merged", () => {
  const foreign = createRepository({ document: siteDocument("elsewhere"), keys: repositoryKeys(keysOf("elsewhere")), nowMs: startMs })
  assert.throws(() => merge(base, foreign), refusedWith("CATALOG_INVALID", /another site/))
  const [a, b] = ["2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z"].map((expires) => rotateRoot(base, (root) => (root.expires = expires)))
  assert.throws(() => merge(a ?? base, b ?? base), refusedWith("CATALOG_INVALID", /2\.root\.json differs/))
})

test("a newer site document is taken, beside a publication that its side had not seen", () => {
  const document = { ...siteDocument(), revoked: ["ab".repeat(16)] }
  const targets = { ...bodyOf(base, "targets"), version: 2, targets: { "site.json": listTarget(document) } }
  const revoking = forge(base, { bodies: { targets }, documents: { "site.json": document } })
  const catalog = open(merge(withImages(base, "debian:2"), revoking))
  assert.deepEqual([catalog.site.revoked.length, catalog.images.size], [1, 2])
})

test("of two changes of the site made at once the one that revokes stays, whatever their digests", () => {
  const id = "ab".repeat(16)
  const revoking = changed(base, { site: (site) => ({ ...site, revoked: [...site.revoked, id] }) })
  for (let group = 0; group < 8; group++) {
    const grouping = changed(base, {
      site: (site) => ({
        ...site,
        groups: [...site.groups, { ...site.groups[0], name: `group-${group}` } as (typeof site.groups)[number]],
      }),
    })
    assert.deepEqual(open(merge(revoking, grouping)).site.revoked, [id])
    assert.deepEqual(open(merge(grouping, revoking)).site.revoked, [id])
  }
})

test("a publisher's names were narrowed here while it published outside them there: that publication goes, what it may keep stays", () => {
  const wide = changed(newRepository(), { delegations: publishersAre({ publisher: { seeds: [keys.publisher], pattern: "hpc/*" } }) })
  const start = publish(wide, "hpc/tools:1")
  const narrowed = changed(start, { delegations: publishersAre({ publisher: { seeds: [keys.publisher], pattern: "hpc/tools" } }) })
  const outside = publish(publish(start, "hpc/other:1"), "hpc/tools:2")
  for (const merged of [merge(narrowed, outside), merge(outside, narrowed)])
    assert.deepEqual([...openCatalog(merged, { trusted: narrowed }, startMs).images.keys()], ["hpc/tools:1"])
})
