/** The vectors of test/vectors/, as any other client would read them, against this one. */
import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { test } from "node:test"
import { GridError } from "#core/errors.ts"
import { sha256 } from "#core/identifiers.ts"
import type { CatalogFiles } from "#trust/catalog-file.ts"
import { openCatalog, type Anchor } from "#trust/catalog.ts"
import { vectorFiles, type Vector } from "../../scripts/vectors/vectors.ts"

const directory = new URL("../vectors/", import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, directory), "utf8")
const vectors = JSON.parse(read("vectors.json")) as readonly Vector[]

function setOf(name: string): CatalogFiles {
  const { files } = JSON.parse(read(`sets/${name}.json`)) as { readonly files: Readonly<Record<string, string>> }
  return new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text, "base64")]))
}

for (const { name, what, set, anchor, nowMs, verdict, images } of vectors)
  test(`${name} is ${verdict === "ok" ? "taken" : `refused with ${verdict}`}: ${what}`, () => {
    const from: Anchor = "trusted" in anchor ? { trusted: setOf(anchor.trusted) } : { rootDigest: sha256(anchor.rootDigest) }
    let found: string = "ok"
    try {
      const catalog = openCatalog(setOf(set), from, nowMs)
      assert.deepEqual([...catalog.images.keys()].sort(), images)
    } catch (error) {
      if (!(error instanceof GridError)) throw error
      found = error.code
    }
    assert.equal(found, verdict)
  })

test("every trusted set is itself taken by who trusts nothing else, at the time of its vectors", () => {
  for (const { anchor, nowMs } of vectors)
    if ("trusted" in anchor) assert.ok(openCatalog(setOf(anchor.trusted), { trusted: setOf(anchor.trusted) }, nowMs).rootVersion > 0)
})

test("there are over fifty vectors, good ones and attacks, each of its own name", () => {
  assert.equal(new Set(vectors.map(({ name }) => name)).size, vectors.length)
  assert.ok(vectors.length > 50 && vectors.filter(({ verdict }) => verdict === "ok").length > 12)
})

test("the generator makes these files to the byte (scripts/node scripts/make-vectors.ts)", () => {
  const made = vectorFiles()
  const there = ["vectors.json", ...readdirSync(new URL("sets/", directory)).map((name) => `sets/${name}`)]
  assert.deepEqual(there.sort(), [...made.keys()].sort())
  for (const [path, text] of made) assert.ok(read(path) === text, path)
})
