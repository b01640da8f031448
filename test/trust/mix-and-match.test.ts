/** The danger: files that were each rightly signed, but never together. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { METADATA_PATH, TARGET_PREFIX } from "#trust/catalog-file.ts"
import { refreshTimestamp } from "#trust/online-roles.ts"
import { DAY_MS, newRepository, online, open, refusedWith, startMs, withImages } from "./repositories.ts"

const one = withImages(newRepository(), "debian:1")
const two = refreshTimestamp({ files: withImages(one, "debian:2"), online, nowMs: startMs + 25 * DAY_MS })
const refused = refusedWith("CATALOG_INVALID")

for (const role of ["timestamp", "snapshot", "publisher"])
  test(`the ${role} of one day among the files of another is refused, in both directions`, () => {
    const path = METADATA_PATH(role)
    assert.throws(() => open(new Map([...two, [path, one.get(path) ?? assert.fail()]]), startMs + 1), refused)
    assert.throws(() => open(new Map([...one, [path, two.get(path) ?? assert.fail()]]), startMs + 1), refused)
  })

test("each file that is taken away is missed", () => {
  for (const path of one.keys()) assert.throws(() => open(new Map([...one].filter(([other]) => other !== path))), refused, path)
})

test("a file that no role lists does not travel along", () => {
  for (const path of ["metadata/extra.json", "metadata/3.root.json", `${TARGET_PREFIX}images/debian/9.json`, "notes.txt"])
    assert.throws(() => open(new Map([...one, [path, Buffer.from("{}")]])), refusedWith("CATALOG_INVALID", /signed by nobody/), path)
})
