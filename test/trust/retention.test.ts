import assert from "node:assert/strict"
import { test } from "node:test"
import type { Catalog } from "#trust/catalog.ts"
import { newestVersion, resolveImage } from "#trust/catalog.ts"
import { imagesInUse, keepLastOf, outlived } from "#trust/retention.ts"
import { imageVersion, imageName } from "#core/identifiers.ts"
import { grantsOf, manifestOf, siteDocument, startMs } from "./repositories.ts"

type State = { readonly retiredAtMs?: number | null; readonly pinned?: boolean }

/** Versions in the order of their publication. */
function catalogOf(
  versions: Readonly<Record<string, State>>,
  keepLast: number | null = null,
): Pick<Catalog, "images" | "grants" | "tags" | "site"> {
  const images = Object.entries(versions)
  return {
    images: new Map(images.map(([image], at) => [image, manifestOf(image, { publishedAtMs: startMs + at })])),
    grants: new Map(images.map(([image, state]) => [image, grantsOf(image, state)])),
    tags: new Map(),
    site: { ...siteDocument(), retention: keepLast === null ? [] : [{ names: ["deb*"], keepLast }] },
  }
}
const versions = (grants: readonly { readonly version: string }[]) => grants.map(({ version }) => version)

test("without a rule nothing is retired, and a rule is for the names of its patterns", () => {
  assert.deepEqual(outlived(catalogOf({ "debian:1": {}, "debian:2": {} }), "debian"), [])
  assert.deepEqual(outlived(catalogOf({ "web:1": {}, "web:2": {} }, 1), "web"), [])
  const document = {
    retention: [
      { names: ["deb*"], keepLast: 2 },
      { names: ["*"], keepLast: 9 },
    ],
  }
  assert.deepEqual([keepLastOf(document, "debian"), keepLastOf(document, "web")], [2, 9])
})

test("with the new version the last N stay; pinned and retired ones count for nothing", () => {
  assert.deepEqual(versions(outlived(catalogOf({ "debian:1": {}, "debian:2": {}, "debian:3": {} }, 3), "debian")), ["1"])
  assert.deepEqual(versions(outlived(catalogOf({ "debian:1": {}, "debian:2": {} }, 3), "debian")), [])
  assert.deepEqual(versions(outlived(catalogOf({ "debian:1": {}, "debian:2": {} }, 1), "debian")).sort(), ["1", "2"])
  const mixed = { "debian:1": { pinned: true }, "debian:2": {}, "debian:3": { retiredAtMs: startMs }, "debian:4": {}, "other:1": {} }
  assert.deepEqual(versions(outlived(catalogOf(mixed, 2), "debian")), ["2"])
})

test("a retired version is not the newest, is refused by name, and is shown to who asks for those", () => {
  const catalog = catalogOf({ "debian:1": {}, "debian:2": { retiredAtMs: startMs } })
  assert.deepEqual(versions(imagesInUse(catalog)), ["1"])
  assert.equal(newestVersion(catalog, "debian")?.version, "1")
  const two = { name: imageName("debian"), version: imageVersion("2") }
  assert.throws(() => resolveImage(catalog, two), { code: "IMAGE_RETIRED" })
  assert.equal(resolveImage(catalog, two, { retired: "show" }).version, "2")
})
