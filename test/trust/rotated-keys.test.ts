import assert from "node:assert/strict"
import { test } from "node:test"
import type { CatalogFiles } from "#trust/catalog-file.ts"
import { METADATA_PATH } from "#trust/catalog-file.ts"
import { openCatalog } from "#trust/catalog.ts"
import { applyChange, draftChange, isComplete, requirementsOf, signChange, type Edits } from "#trust/change.ts"
import { mergeCatalogs } from "#trust/merge.ts"
import { addSignatures, keyIdOfSeed, tufKeyOf } from "#trust/metadata.ts"
import { refreshTimestamp, seedsInForce, type OnlineSeeds } from "#trust/online-roles.ts"
import { keys, newRepository, online, open, publicationOf, refusedWith, seedOf, startMs, withImages } from "./repositories.ts"

const base = withImages(newRepository(), "debian:1")
const fresh: OnlineSeeds = { snapshotSeed: seedOf("new snapshot"), timestampSeed: seedOf("new timestamp") }

const newOnlineKeys: Edits = {
  root: (root) => {
    const next = structuredClone(root)
    for (const [role, seed] of [["snapshot", fresh.snapshotSeed] as const, ["timestamp", fresh.timestampSeed] as const]) {
      next.keys[keyIdOfSeed(seed)] = tufKeyOf(seed)
      next.roles[role] = { keyids: [keyIdOfSeed(seed)], threshold: 1 }
    }
    return next
  },
}
function withNewOnlineKeys(files: CatalogFiles): CatalogFiles {
  const change = signChange(files, draftChange(files, newOnlineKeys, startMs), [keys.root])
  return applyChange({ files, change, online: () => fresh, nowMs: startMs })
}

/** A server as it holds these keys: those that a root names, or none. */
const holding = (...held: readonly OnlineSeeds[]) => {
  const ring = { snapshot: held.map(({ snapshotSeed }) => snapshotSeed), timestamp: held.map(({ timestampSeed }) => timestampSeed) }
  return (root: Parameters<typeof seedsInForce>[0]) => seedsInForce(root, ring)
}

test("a server that lacks the new online keys takes a newer root as it is, where it has nothing of its own to add", () => {
  const rotated = withNewOnlineKeys(base)
  const mine = refreshTimestamp({ files: base, online, nowMs: startMs + 5_000 })
  assert.equal(mergeCatalogs({ mine, theirs: rotated, online: holding(online), nowMs: startMs }), rotated)
})

test("where it has, it says that it lacks the keys; the other one brings both together, and with that it goes on", () => {
  const rotated = withNewOnlineKeys(base)
  const published = withImages(base, "debian:2")
  assert.throws(
    () => mergeCatalogs({ mine: published, theirs: rotated, online: holding(online), nowMs: startMs }),
    refusedWith("KEY_MISSING", /does not have the new ones yet/),
  )
  const merged = mergeCatalogs({ mine: rotated, theirs: published, online: holding(fresh, online), nowMs: startMs })
  const catalog = openCatalog(merged, { trusted: rotated }, startMs)
  assert.deepEqual([catalog.rootVersion, catalog.images.size], [2, 2])
  assert.equal(openCatalog(merged, { trusted: published }, startMs).images.size, 2, "for who trusted the old keys too")
  assert.equal(mergeCatalogs({ mine: published, theirs: merged, online: holding(online), nowMs: startMs }), merged)
  const own = mergeCatalogs({ mine: published, theirs: rotated, online: holding(online, fresh), nowMs: startMs })
  assert.deepEqual(own, merged, "a server that has fetched the keys comes to the same bytes by itself")
})

test("what the old online keys sign after the change is not taken, however high its version", () => {
  const rotated = withNewOnlineKeys(base)
  let thiefs = base
  for (let times = 0; times < 9; times++) thiefs = refreshTimestamp({ files: thiefs, online, nowMs: startMs + times })
  assert.equal(mergeCatalogs({ mine: rotated, theirs: thiefs, online: holding(fresh), nowMs: startMs }), rotated)
  assert.throws(() => openCatalog(thiefs, { trusted: rotated }, startMs), refusedWith("CATALOG_ROLLBACK", /root 1, and 2 is trusted/))
  const mixed = new Map([...rotated, [METADATA_PATH("timestamp"), thiefs.get(METADATA_PATH("timestamp")) ?? Buffer.alloc(0)] as const])
  assert.throws(() => openCatalog(mixed, { trusted: base }, startMs), refusedWith("CATALOG_INVALID"))
})

test("a publisher's replaced key signs nothing more, even where its holder adds the signature by hand", () => {
  const successor = seedOf("new publisher")
  const edits: Edits = {
    delegations: ({ roles }) => ({
      keys: { [keyIdOfSeed(successor)]: tufKeyOf(successor) },
      roles: roles.map((role) => ({ ...role, keyids: [keyIdOfSeed(successor)] })),
    }),
  }
  const change = signChange(base, draftChange(base, edits, startMs), [keys.targets, successor])
  const files = applyChange({ files: base, change, online: () => online, nowMs: startMs })
  assert.deepEqual([...open(files).images.keys()], ["debian:1"], "what the old key signed stays")
  const late = publicationOf(base, "debian:2")
  assert.throws(() => applyChange({ files, change: late, online: () => online, nowMs: startMs }), refusedWith("CATALOG_ROLLBACK"))
  const path = METADATA_PATH("publisher")
  const draft = draftChange(files, { publishers: new Map([["publisher", {}]]) }, startMs)
  const forged = new Map([
    ...draft,
    [path, addSignatures("publisher", draft.get(path) ?? Buffer.alloc(0), [keys.publisher], "publisher")] as const,
  ])
  assert.equal(isComplete(requirementsOf(files, forged)), false)
  assert.throws(() => applyChange({ files, change: forged, online: () => online, nowMs: startMs }), refusedWith("SIGNATURES_MISSING"))
})
