/**
 * `npm run check`: types, lint, format, dead code, the direction of imports and the other house rules. Runs all of them whatever the first
 * ones say, shows the output of those that fail, and fails if any did.
 */
import { spawnSync } from "node:child_process"
import { globSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const local = (name: string) => `${root}node_modules/.bin/${name}`

const checks: readonly { readonly what: string; readonly command: string; readonly words: readonly string[] }[] = [
  { what: "types", command: local("tsc"), words: ["--noEmit"] },
  { what: "lint", command: local("oxlint"), words: ["--type-aware", "--deny-warnings"] },
  { what: "format", command: local("oxfmt"), words: ["--check"] },
  { what: "dead code", command: local("knip"), words: ["--no-progress"] },
  { what: "house rules", command: process.execPath, words: ["--test", ...globSync("test/house/*.test.ts", { cwd: root })] },
]

const failed: string[] = []
for (const { what, command, words } of checks) {
  const startedMs = performance.now()
  const run = spawnSync(command, words, { cwd: root, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 })
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1)
  const passed = run.status === 0
  console.log(`${passed ? "ok     " : "FAILED "}${what} (${seconds} s)`)
  if (passed) continue
  failed.push(what)
  console.log(run.error === undefined ? `${run.stdout}${run.stderr}` : `${command} could not be run: ${run.error.message}`)
}
if (failed.length > 0) {
  console.log(`${failed.length} of ${checks.length} checks failed: ${failed.join(", ")}`)
  process.exitCode = 1
}
