/**
 * `npm test`: every test file under test/, or those named on the command line, with node's own runner. What they print is passed on as it comes; in
 * the end all of it is searched for the secrets of every home that a test made (test/system/secrets.ts).
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { globSync, mkdtempSync, rmSync } from "node:fs"
import { availableParallelism, tmpdir } from "node:os"
import { join } from "node:path"
import { describeLeaks, leaksIn, registeredSecrets, SECRETS_VARIABLE } from "../test/system/secrets.ts"

const named = process.argv.slice(2)
const root = new URL("..", import.meta.url)
const files = named.length > 0 ? named : globSync("test/**/*.test.ts", { cwd: root }).sort()
const secretsDirectory = mkdtempSync(join(tmpdir(), "imagegrid-secrets-"))
try {
  const colors = process.stdout.isTTY ? { FORCE_COLOR: "1" } : {}
  // Tests wait for programs and timers more than they compute: the runner's own choice leaves a core without work.
  const concurrency = `--test-concurrency=${Math.max(2, availableParallelism())}`
  const runner = spawn(process.execPath, ["--test", concurrency, "--test-timeout=300000", ...files], {
    cwd: root,
    stdio: ["inherit", "pipe", "pipe"],
    env: { ...process.env, ...colors, [SECRETS_VARIABLE]: secretsDirectory },
  })
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => runner.kill(signal))
  const printed: Buffer[] = []
  for (const [from, to] of [
    [runner.stdout, process.stdout],
    [runner.stderr, process.stderr],
  ] as const) {
    from.on("data", (bytes: Buffer) => printed.push(bytes))
    from.pipe(to, { end: false })
  }
  const [status] = (await once(runner, "close")) as [number | null]
  const secrets = registeredSecrets(secretsDirectory)
  const leaks = leaksIn(Buffer.concat(printed), secrets, "what the tests printed")
  process.exitCode = leaks.length > 0 ? 1 : (status ?? 1)
  if (leaks.length > 0) console.log(`FAILED: ${describeLeaks(leaks)}`)
  else if (secrets.length > 0) console.log(`None of ${secrets.length} secrets that the tests made stands in what they printed.`)
} finally {
  rmSync(secretsDirectory, { recursive: true, force: true })
}
