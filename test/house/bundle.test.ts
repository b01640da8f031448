import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { fileURLToPath } from "node:url"
import { bundleProgram } from "../../scripts/packaging/bundle.ts"

const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "")
const directory = mkdtempSync(join(tmpdir(), "imagegrid-bundle-"))
after(() => rmSync(directory, { recursive: true, force: true }))

test("the program runs from a bundle, with no package beside it, and the same input gives the same bytes", async () => {
  const [one, two] = [join(directory, "one"), join(directory, "two")]
  const first = await bundleProgram(root, one)
  assert.deepEqual(await bundleProgram(root, two), first)
  for (const file of ["main.mjs", "LICENCES"]) assert.ok(readFileSync(join(one, file)).equals(readFileSync(join(two, file))), file)

  const run = (...words: readonly string[]) =>
    execFileSync(process.execPath, [join(one, "main.mjs"), ...words], { encoding: "utf8", cwd: directory })
  assert.match(run("--version"), /^imagegrid \d/)
  assert.match(run("deploy", "--help"), /--target/)
  const home = join(directory, "home")
  const ports = ["--api", "127.0.0.1:0", "--swarm", "127.0.0.1:0", "--dht", "127.0.0.1:0"]
  assert.match(run("site", "create", "lab", "--home", home, "--json", ...ports), /"site-created"|"created"/)
  assert.match(run("trust", "show", "--home", home), /root/)

  const licences = readFileSync(join(one, "LICENCES"), "utf8")
  for (const name of ["fastify", "tweetnacl", "libp2p"]) assert.match(licences, new RegExp(`^${name} \\d`, "m"))
})
