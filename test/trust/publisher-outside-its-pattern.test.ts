/** The danger: a publisher that may sign some names signs others, or the site's own document. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { signPublication } from "#trust/publication.ts"
import type { CatalogFiles } from "#trust/catalog-file.ts"
import {
  bodyOf,
  forge,
  grantsOf,
  keys,
  listTarget,
  manifestOf,
  newRepository,
  open,
  refusedWith,
  siteDocument,
  startMs,
  withImages,
} from "./repositories.ts"

const empty = newRepository()
/** A repository whose publisher may sign these paths alone. */
function limitedTo(...paths: string[]): CatalogFiles {
  const targets = { ...bodyOf(empty, "targets"), version: 2 }
  Object.assign(targets.delegations.roles[0] ?? assert.fail(), { paths })
  return forge(empty, { bodies: { targets } })
}
function publish(files: CatalogFiles, image: string): CatalogFiles {
  const publisher = { ...bodyOf(files, "publisher"), version: 2 }
  const [path, documents] = [image.replace(":", "/"), { manifest: manifestOf(image), grants: grantsOf(image) }]
  publisher.targets = { [`images/${path}.json`]: listTarget(documents.manifest), [`grants/${path}.json`]: listTarget(documents.grants) }
  return forge(files, {
    bodies: { publisher },
    documents: { [`images/${path}.json`]: documents.manifest, [`grants/${path}.json`]: documents.grants },
  })
}

test("a publisher of hpc/* signs hpc/debian and not debian, web/debian or hpc/a/b", () => {
  const files = limitedTo("images/hpc/*/*.json", "grants/hpc/*/*.json")
  assert.equal(open(publish(files, "hpc/debian:1")).images.size, 1)
  for (const image of ["debian:1", "web/debian:1", "hpc/a/b:1"])
    assert.throws(() => open(publish(files, image)), refusedWith("CATALOG_INVALID", /publisher may not sign/), image)
})

test("its own program says so before it asks a server", () => {
  const files = limitedTo("images/hpc/*/*.json", "grants/hpc/*/*.json")
  const sign = (image: string) =>
    signPublication({ files, seeds: [keys.publisher], manifest: manifestOf(image), grants: grantsOf(image), nowMs: startMs })
  assert.equal(sign("hpc/debian:1").size, 3)
  assert.throws(() => sign("web/debian:1"), refusedWith("KEY_MISSING", /may sign images\/hpc/))
})

test("a publisher does not sign the site's document, even where its pattern would let it", () => {
  for (const files of [empty, limitedTo("*.json", "site.json", "images/*/*.json")]) {
    const publisher = { ...bodyOf(files, "publisher"), version: 2, targets: { "site.json": listTarget(siteDocument()) } }
    assert.throws(
      () => open(forge(files, { bodies: { publisher }, documents: { "site.json": siteDocument() } })),
      refusedWith("CATALOG_INVALID"),
    )
  }
})

test("the targets role signs the site's document and no image", () => {
  const targets = bodyOf(empty, "targets")
  targets.targets["images/debian/1.json"] = listTarget(manifestOf("debian:1"))
  const forged = forge(empty, { bodies: { targets }, documents: { "images/debian/1.json": manifestOf("debian:1") } })
  assert.throws(() => open(forged), refusedWith("CATALOG_INVALID", /site.json alone/))
})

test("a pattern that is a program to the library's matcher is refused", () => {
  for (const pattern of [
    "images/{a,b}/*.json",
    "!images/a/*.json",
    "images/[a-z]/*.json",
    "images/a?/*.json",
    "images/+(a)/*.json",
    "",
    "IMAGES/*",
  ])
    assert.throws(() => open(limitedTo(pattern)), refusedWith("CATALOG_INVALID", /paths/), pattern)
})

test("a publisher can't delegate further", () => {
  const delegations = bodyOf(empty, "targets").delegations
  assert.throws(
    () => open(forge(empty, { bodies: { publisher: { ...bodyOf(empty, "publisher"), delegations } } })),
    refusedWith("CATALOG_INVALID"),
  )
})

test("images of all depths of name are within a new site's pattern", () => {
  assert.equal(open(withImages(empty, "a:1", "a/b:1", "a/b/c:1", "a/b/c/d:1", "a.b/c_d-e:1.0_rc-1")).images.size, 5)
})
