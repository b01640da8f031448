/** The danger: what is handed to a server as a publication removes, changes or smuggles in more than one publisher may. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { METADATA_PATH, TARGET_PREFIX } from "#trust/catalog-file.ts"
import { signMetadata, type SignedBody } from "#trust/metadata.ts"
import { applyChange } from "#trust/change.ts"
import {
  bodyOf,
  grantsOf,
  keys,
  listTarget,
  manifestOf,
  newRepository,
  online,
  open,
  publicationOf,
  refusedWith,
  seedOf,
  startMs,
  withImages,
} from "./repositories.ts"

const files = withImages(newRepository(), "debian:1", "debian:2")
const apply = (publication: ReadonlyMap<string, Buffer>) =>
  applyChange({ files, change: publication, online: () => online, nowMs: startMs })
const refused = refusedWith("CATALOG_INVALID")

/** A publication of the publisher's own making, rightly signed. */
function signed(
  change: (body: SignedBody<"publisher">) => void,
  documents: Readonly<Record<string, unknown>> = {},
  seed: Uint8Array = keys.publisher,
): Map<string, Buffer> {
  const body = bodyOf(files, "publisher")
  body.version++
  for (const [path, document] of Object.entries(documents)) body.targets[path] = listTarget(document)
  change(body)
  const publication = new Map([[METADATA_PATH("publisher"), signMetadata<"publisher">(body, [seed])]])
  for (const [path, document] of Object.entries(documents)) publication.set(TARGET_PREFIX + path, Buffer.from(JSON.stringify(document)))
  return publication
}
const pair = (image: string) => {
  const path = `${image.replace(":", "/")}.json`
  return { [`images/${path}`]: manifestOf(image), [`grants/${path}`]: grantsOf(image) }
}

test("a publisher may publish two versions at once: the control", () => {
  assert.equal(open(apply(signed(() => {}, { ...pair("a:1"), ...pair("b:1") }))).images.size, 4)
})

test("a publication signed by another key is refused", () => {
  assert.throws(() => apply(signed(() => {}, pair("a:1"), seedOf("thief"))), refusedWith("SIGNATURES_MISSING", /publisher has 0 of 1/))
})

test("a published version is neither changed nor taken away", () => {
  assert.throws(
    () => apply(signed(() => {}, { "images/debian/1.json": manifestOf("debian:1", { entryCount: 4 }) })),
    refusedWith("IMAGE_EXISTS"),
  )
  assert.throws(() => apply(signed((body) => delete body.targets["grants/debian/1.json"])), refusedWith("CATALOG_INVALID", /is gone/))
})

test("a publication that another one overtook is refused, and says to make it again", () => {
  const [first, second] = [publicationOf(files, "a:1"), publicationOf(files, "b:1")]
  const next = apply(first)
  const late = () => applyChange({ files: next, change: second, online: () => online, nowMs: startMs })
  assert.throws(late, refusedWith("CATALOG_ROLLBACK", /make this one again/))
})

test("a publication that skips a version is refused", () => {
  assert.throws(() => apply(signed((body) => void (body.version += 1), pair("a:1"))), refused)
})

test("a manifest without grants, or grants without a manifest, is refused", () => {
  const { "images/a/1.json": manifest, "grants/a/1.json": grants } = pair("a:1")
  assert.throws(() => apply(signed(() => {}, { "images/a/1.json": manifest })), refusedWith("CATALOG_INVALID", /stands without/))
  assert.throws(() => apply(signed(() => {}, { "grants/a/1.json": grants })), refusedWith("CATALOG_INVALID", /stands without/))
})

test("files beside the publication's own are refused, even rightly signed ones of the site", () => {
  for (const path of ["metadata/timestamp.json", "metadata/2.root.json", "targets/site.json", "targets/images/x/1.json", "../x"])
    assert.throws(() => apply(signed(() => {}, pair("a:1")).set(path, files.get(path) ?? Buffer.from("{}"))), refused, path)
})

test("a file of the site's own that the change does not follow is refused", () => {
  const withTargets = signed(() => {}, pair("a:1")).set(METADATA_PATH("targets"), files.get(METADATA_PATH("targets")) ?? assert.fail())
  assert.throws(() => apply(withTargets), refusedWith("CATALOG_ROLLBACK", /targets version 1/))
})

test("a listed document that is missing, changed or out of form is refused", () => {
  const missing = signed(() => {}, pair("a:1"))
  missing.delete(`${TARGET_PREFIX}images/a/1.json`)
  assert.throws(() => apply(missing), refused)
  assert.throws(() => apply(signed(() => {}, pair("a:1")).set(`${TARGET_PREFIX}images/a/1.json`, Buffer.from("{}"))), refused)
  assert.throws(() => apply(signed(() => {}, { ...pair("a:1"), "images/a/1.json": manifestOf("b:1") })), refused)
  assert.throws(() => apply(signed(() => {}, { ...pair("a:1"), "images/a/1.json": manifestOf("a:1", { site: "other" }) })), refused)
})

test("a publication that has expired already is refused", () => {
  assert.throws(() => apply(signed((body) => void (body.expires = "2020-01-01T00:00:00Z"), pair("a:1"))), refusedWith("CATALOG_EXPIRED"))
})

test("a publication without a publisher's file is refused", () => {
  assert.throws(() => apply(new Map([["targets/images/a/1.json", Buffer.from("{}")]])), refused)
  assert.throws(() => apply(new Map([["metadata/root.json", Buffer.from("{}")]])), refused)
})
