/** `npm test`: every test file under test/, or those named on the command line, with node's own runner. */
import { spawnSync } from "node:child_process"
import { globSync } from "node:fs"

const named = process.argv.slice(2)
const files = named.length > 0 ? named : globSync("test/**/*.test.ts", { cwd: new URL("..", import.meta.url) }).sort()
const run = spawnSync(process.execPath, ["--test", "--test-timeout=300000", ...files], {
  cwd: new URL("..", import.meta.url),
  stdio: "inherit",
})
process.exit(run.status ?? 1)
