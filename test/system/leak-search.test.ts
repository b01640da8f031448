/** The danger: the search for secrets finds nothing because it does not look. Here it is given something to find. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { fileURLToPath } from "node:url"
import { loopback, TestGrid } from "./grid.ts"
import { leaksIn, leaksInHome, leaksInTitle, secretsOf, type Secret } from "./secrets.ts"

const secret: Secret = { what: "a secret", bytes: randomBytes(32) }
const hex = secret.bytes.toString("hex")

test("a secret is found in every form, wherever it stands, and nothing else is", () => {
  for (const before of ["", "x", "xy", "xyz"])
    for (const after of ["", "1", "12"]) {
      const around = Buffer.concat([Buffer.from(before), secret.bytes, Buffer.from(after)])
      for (const text of [around.toString("base64"), around.toString("base64url"), around.toString("hex"), JSON.stringify([...around])])
        assert.equal(leaksIn(Buffer.from(`a log line: ${text}`), [secret], "here").length, 1, text)
      assert.equal(leaksIn(around, [secret], "here").length, 1)
    }
  assert.equal(leaksIn(Buffer.from(hex.toUpperCase()), [secret], "here").length, 1)
  for (const other of [hex.slice(0, 63), randomBytes(32).toString("hex"), randomBytes(3_000).toString("base64"), ""])
    assert.deepEqual(leaksIn(Buffer.from(other), [secret], "here"), [])
})

test("what is said of a leak holds nothing of the secret", () => {
  const [leak] = leaksIn(Buffer.from(hex), [secret], "a place")
  assert.deepEqual(leak, { what: "a secret", form: "hex", where: "a place" })
})

test("the secrets of a home are all of its keys, and its files outside keys/ are searched", async (t) => {
  const home = mkdtempSync(join(tmpdir(), "imagegrid-leak-"))
  t.after(() => rmSync(home, { recursive: true }))
  mkdirSync(join(home, "keys"))
  writeFileSync(join(home, "keys/member.key"), `${hex}\n`)
  writeFileSync(join(home, "keys/locked.key"), "age-encryption.org/v1\n-> scrypt\n")
  const [network, group] = [randomBytes(32), randomBytes(32)].map((bytes) => bytes.toString("hex"))
  writeFileSync(join(home, "keys/secrets.json"), JSON.stringify({ networkKeys: [network], groups: [{ name: "a", secretKey: group }] }))
  const secrets = secretsOf(home)
  assert.deepEqual(secrets.map(({ bytes }) => bytes.toString("hex")).sort(), [hex, String(network), String(group)].sort())
  writeFileSync(join(home, "state.sqlite"), Buffer.concat([randomBytes(5_000), Buffer.from(String(group), "hex"), randomBytes(50)]))
  mkdirSync(join(home, "deep"))
  writeFileSync(join(home, "deep/dht.json"), JSON.stringify({ key: Buffer.from(String(network), "hex").toString("base64") }))
  const places = leaksInHome(home, secrets).map(({ where }) => where.slice(where.indexOf("/") + 1))
  assert.deepEqual(places.sort(), ["deep/dht.json", "state.sqlite"])
})

test("a secret in a process's title is found", () => {
  assert.equal(leaksInTitle(process.pid, [{ what: "a word of the title", bytes: Buffer.from(process.execPath) }]).length, 1)
  assert.deepEqual(leaksInTitle(process.pid, [secret]), [])
})

test("a grid with a planted secret fails when it ends, and one without does not", async () => {
  const create = async (grid: TestGrid) =>
    grid.run(["site", "create", "demo", "--home", grid.home("server-1"), "--api", "127.0.0.1:0", ...loopback])
  const clean = new TestGrid()
  await create(clean)
  await clean[Symbol.asyncDispose]()
  const grid = new TestGrid()
  await create(grid)
  const [planted] = secretsOf(grid.home("server-1"))
  assert.ok(planted !== undefined)
  appendFileSync(grid.home("server-1/servers.json"), planted.bytes.toString("base64url"))
  await assert.rejects(
    grid[Symbol.asyncDispose](),
    /leaked secrets \(1\): server-1\/keys\/.* stands in server-1\/servers.json \(base64(url)? at 0\)/,
  )
})

test("npm test fails when a test prints a registered secret, though the test itself passes", () => {
  const run = (print: string) => {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env
    const script = fileURLToPath(new URL("../../scripts/test.ts", import.meta.url))
    const fixture = fileURLToPath(new URL("./leaky-fixture.ts", import.meta.url))
    return spawnSync(process.execPath, [script, fixture], { encoding: "utf8", env: { ...env, LEAKY_FIXTURE_PRINTS: print } })
  }
  const leaky = run("a secret")
  assert.equal(leaky.status, 1, leaky.stdout)
  assert.match(leaky.stdout, /FAILED: leaked secrets \(1\): a planted secret stands in what the tests printed/)
  const silent = run("nothing")
  assert.equal(silent.status, 0, silent.stdout)
  assert.match(silent.stdout, /None of 1 secrets/)
})
