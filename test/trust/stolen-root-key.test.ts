/** The danger: somebody else has one root key of a site that asks for two; or the targets key, which speaks for the site's document. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { ROOT_PATH, type CatalogFiles } from "#trust/catalog-file.ts"
import { openCatalog } from "#trust/catalog.ts"
import { createRepository } from "#trust/create-repository.ts"
import { signMetadata } from "#trust/metadata.ts"
import { newestRoot } from "#trust/files.ts"
import { changed, published, publishersAre, rekeyed } from "./administrators.ts"
import { keys, newRepository, open, refusedWith, seedOf, siteDocument, startMs, withImages } from "./repositories.ts"

const [first, second, third] = [seedOf("root 1"), seedOf("root 2"), seedOf("root 3")]
const thief = seedOf("thief")
const files = withImages(
  createRepository({ document: siteDocument(), keys: { ...keys, root: [first, second] }, rootThreshold: 2, nowMs: startMs }),
  "debian:1",
)

/** A next root in which the thief's key is the root's, signed by these seeds. */
function takenOver(signers: readonly Uint8Array[]): CatalogFiles {
  const root = rekeyed({ root: { seeds: [thief] } })(structuredClone(newestRoot(files)))
  return new Map([...files, [ROOT_PATH(2), signMetadata<"root">({ ...root, version: 2 }, signers)]])
}

test("one root key of two can't: sign a root, however often, or with a key of the thief's own", () => {
  assert.equal(open(takenOver([first, second, thief])).rootVersion, 2, "the control: both can")
  for (const signers of [[first], [first, thief], [first, first, thief], [thief]])
    assert.throws(() => open(takenOver(signers)), refusedWith("CATALOG_INVALID", /root 2/), `${signers.length} signatures`)
})

test("one root key of two can't: get a change past a server, nor sign for any other role", () => {
  const root = rekeyed({ root: { seeds: [thief] } })
  assert.throws(
    () => changed(files, { root }, { seeds: [first, thief] }),
    refusedWith("SIGNATURES_MISSING", /former root|keys of the root before/),
  )
  assert.throws(() => changed(files, { delegations: publishersAre({}) }, { seeds: [first] }), refusedWith("SIGNATURES_MISSING", /targets/))
  assert.throws(() => published(files, "debian:2", { seeds: [first] }), refusedWith("KEY_MISSING"))
})

test("recovery: the others replace it, and then it counts for nothing, even with a second stolen later", () => {
  const recovered = changed(files, { root: rekeyed({ root: { seeds: [second, third], threshold: 2 } }) }, { seeds: [first, second, third] })
  assert.equal(openCatalog(recovered, { trusted: files }, startMs).rootVersion, 2)
  assert.throws(
    () => changed(recovered, { root: rekeyed({ root: { seeds: [thief] } }) }, { seeds: [first, second, thief] }),
    refusedWith("SIGNATURES_MISSING"),
  )
  assert.throws(
    () => openCatalog(takenOver([first, second, thief]), { trusted: recovered }, startMs),
    refusedWith("CATALOG_INVALID", /root 2/),
  )
})

test("the targets key can: name publishers and change the site's document; it can't: change the root, by which it is replaced", () => {
  const site = newRepository()
  const evil = { publisher: { seeds: [keys.publisher], pattern: "debian" }, evil: { seeds: [thief], pattern: "*" } }
  const taken = changed(site, { delegations: publishersAre(evil) }, { seeds: [keys.targets, keys.publisher, thief] })
  assert.equal(open(published(taken, "evil:1", { seeds: [thief] })).images.size, 1)
  assert.throws(
    () => changed(site, { root: rekeyed({ targets: { seeds: [thief] } }) }, { seeds: [keys.targets, thief] }),
    refusedWith("SIGNATURES_MISSING"),
  )
  const next = seedOf("next targets")
  const recovered = changed(
    taken,
    {
      root: rekeyed({ targets: { seeds: [next] } }),
      delegations: publishersAre({ publisher: { seeds: [keys.publisher], pattern: "*" } }),
    },
    { seeds: [keys.root, next, keys.publisher] },
  )
  assert.deepEqual(
    openCatalog(recovered, { trusted: taken }, startMs)
      .roles.map(({ name }) => name)
      .slice(4),
    ["publisher"],
  )
  assert.throws(
    () => changed(recovered, { delegations: publishersAre(evil) }, { seeds: [keys.targets] }),
    refusedWith("SIGNATURES_MISSING", /targets/),
  )
})
