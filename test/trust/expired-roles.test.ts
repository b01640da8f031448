/** The danger: root and targets, signed on one day, expire on one day, and neither can be brought back because the other has expired. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { applyChange, draftChange, signChange, type Edits } from "#trust/change.ts"
import { openCatalog } from "#trust/catalog.ts"
import type { CatalogFiles } from "#trust/catalog-file.ts"
import { DAY_MS, keys, newRepository, online, refusedWith, startMs, withImages } from "./repositories.ts"

const files = withImages(newRepository(), "debian:1")
const late = startMs + 400 * DAY_MS

function renewed(before: CatalogFiles, edits: Edits): CatalogFiles {
  const change = signChange(before, draftChange(before, edits, late), [keys.root, keys.targets, keys.publisher])
  return applyChange({ files: before, change, online: () => online, nowMs: late })
}

test("root, targets and a publisher that have all expired come back one after another", () => {
  const withRoot = renewed(files, { root: (root) => root })
  assert.throws(() => openCatalog(withRoot, { trusted: files }, late), refusedWith("CATALOG_EXPIRED", /targets expired/))
  const withTargets = renewed(withRoot, { site: (document) => document })
  assert.equal(openCatalog(withTargets, { trusted: files }, late).images.size, 1)
  const all = renewed(withTargets, { publishers: new Map([["publisher", {}]]) })
  assert.ok(openCatalog(all, { trusted: files }, late).roles.every(({ expiresAtMs }) => expiresAtMs > late))
})

test("a renewal that was signed so long ago that it has itself expired is not taken", () => {
  const stale = signChange(files, draftChange(files, { root: (root) => root }, startMs), [keys.root])
  assert.throws(() => applyChange({ files, change: stale, online: () => online, nowMs: late }), refusedWith("CATALOG_EXPIRED"))
})
