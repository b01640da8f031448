import assert from "node:assert/strict"
import { existsSync, globSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { test } from "node:test"
import { rootFile } from "./source-files.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const text = rootFile("docs/security.md")
const named = new Set([...text.matchAll(/test\/[a-z]+\/[a-z0-9-]+\.test\.ts/g)].map(([path]) => path))

test("every test that docs/security.md names exists", () => {
  assert.ok(named.size > 40, `${named.size} tests are named`)
  assert.deepEqual(
    [...named].filter((path) => !existsSync(`${root}/${path}`)),
    [],
  )
})

test("every row of its tables of attacks and of keys names a test, but for what nothing can be done about", () => {
  const section = (heading: string) => (text.split(`## ${heading}`)[1] ?? assert.fail(heading)).split("\n## ")[0] ?? ""
  const untested = ["Attacks, and the test of each", "What a stolen key is good for"]
    .flatMap((heading) => section(heading).split("\n"))
    .filter((line) => line.startsWith("| ") && !line.startsWith("| ---") && !/^\| (attack|key) \|/.test(line))
    .filter((line) => !/test\/[a-z]+\/[a-z0-9-]+\.test\.ts/.test(line))
  assert.deepEqual(
    untested.map((line) => line.split("|")[1]?.trim()),
    ["as many root keys as the threshold"],
  )
})

test("every test of a stolen key is named there", () => {
  const stolen = globSync("test/*/stolen-*.test.ts", { cwd: root })
  assert.ok(stolen.length >= 6)
  assert.deepEqual(
    stolen.filter((path) => !named.has(path)),
    [],
  )
})
