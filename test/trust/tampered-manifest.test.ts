/** The danger: a manifest or grants document is changed on the way, or stands where another belongs. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { TARGET_PREFIX } from "#trust/catalog-file.ts"
import {
  bodyOf,
  forge,
  grantsOf,
  listTarget,
  manifestOf,
  newRepository,
  open,
  refusedWith,
  siteDocument,
  withImages,
} from "./repositories.ts"

const files = withImages(newRepository(), "debian:1", "debian:2")
const refused = refusedWith("CATALOG_INVALID")

/** A catalog in which everything is rightly signed over this document at this path. */
function signedAt(path: string, document: unknown) {
  const publisher = bodyOf(files, "publisher")
  publisher.targets[path] = listTarget(document)
  return forge(files, { bodies: { publisher }, documents: { [path]: document } })
}

test("a changed byte in any document is noticed", () => {
  for (const path of ["site.json", "images/debian/1.json", "grants/debian/1.json"]) {
    const original = files.get(TARGET_PREFIX + path) ?? assert.fail()
    for (let at = 0; at < original.length; at += 5) {
      const changed = Buffer.from(original)
      changed[at] = (changed[at] ?? 0) ^ 1
      assert.throws(() => open(new Map([...files, [TARGET_PREFIX + path, changed]])), refused, `${path} byte ${at}`)
    }
  }
})

test("a byte more or less is noticed", () => {
  const path = `${TARGET_PREFIX}images/debian/1.json`
  const original = files.get(path) ?? assert.fail()
  assert.throws(() => open(new Map([...files, [path, Buffer.concat([original, Buffer.from(" ")])]])), refused)
  assert.throws(() => open(new Map([...files, [path, original.subarray(0, -1)]])), refused)
})

test("two manifests that changed places are refused", () => {
  const [one, two] = ["images/debian/1.json", "images/debian/2.json"].map((path) => TARGET_PREFIX + path)
  assert.ok(one !== undefined && two !== undefined)
  const swapped = new Map([...files, [one, files.get(two) ?? assert.fail()], [two, files.get(one) ?? assert.fail()]])
  assert.throws(() => open(swapped), refused)
})

test("a rightly signed document under another's name, of another site or of another kind is refused", () => {
  assert.equal(open(signedAt("images/debian/3.json", manifestOf("debian:3"))).images.size, 3, "the control")
  for (const [path, document] of [
    ["images/debian/3.json", manifestOf("debian:2")],
    ["images/ubuntu/3.json", manifestOf("debian:3")],
    ["images/debian/3.json", manifestOf("debian:3", { site: "elsewhere" })],
    ["images/debian/3.json", grantsOf("debian:3")],
    ["grants/debian/3.json", manifestOf("debian:3")],
    ["grants/debian/3.json", grantsOf("debian:3", { site: "elsewhere" })],
    ["images/debian/3.json", siteDocument()],
    ["images/debian/3.json", { ...manifestOf("debian:3"), extra: 1 }],
    ["images/debian/3.json", { ...manifestOf("debian:3"), entryCount: 1.5 }],
    ["images/debian/3.json", Buffer.from("not JSON")],
    ["images/debian/3.json", Buffer.from("null")],
    ["images/debian/../3.json", manifestOf("debian:3")],
    ["images/debian/.json", manifestOf("debian:3")],
  ] as const)
    assert.throws(() => open(signedAt(path, document)), refused, `${path} ${JSON.stringify(document).slice(0, 60)}`)
})
