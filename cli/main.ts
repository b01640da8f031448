/** The program `imagegrid`: here real streams, signals and the environment are wired to the commands, and what they throw to exit codes. */
import { CommanderError } from "commander"
import { exitCodes, GridError, systemErrorCode } from "#core/errors.ts"
import manifest from "../package.json" with { type: "json" }
import { commands } from "./commands.ts"
import { failureOf } from "./failure.ts"
import { Output } from "./output.ts"
import { homeOf, runProgram } from "./program.ts"
import { watchSignals } from "./signals.ts"

/** A command that has returned has closed what it opened; if not, scripts must not hang for it. */
const LINGER_MS = 5_000

const words = process.argv.slice(2)
const ending = watchSignals(process)
// Known before the command line is parsed, so that a wrong one is answered in the form that was asked for.
const json = words.includes("--json")
const output = new Output({ stdout: process.stdout, stderr: process.stderr, nowMs: () => performance.now() }, { json })
let readerLeft = false

for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error) => {
    // `imagegrid images | head -1` and the like.
    if (systemErrorCode(error) === "EPIPE") readerLeft = true
    ending.end("nobody reads the output any more")
  })
process.on("uncaughtException", (error) => process.exit(fail(error)))

process.exitCode = await main()
ending.stopWatching()
setTimeout(() => {
  output.warn("something was left open after the command's end; please report this")
  process.exit()
}, LINGER_MS).unref()

async function main(): Promise<number> {
  const parts = {
    version: manifest.version,
    specs: commands,
    print: (text: string) => process.stdout.write(text),
    printAside: (text: string) => process.stderr.write(text),
    run: async ({ spec, args, options }: Parameters<Parameters<typeof runProgram>[0]["run"]>[0]) => {
      const { default: run } = await spec.load()
      const home = () => homeOf(options, process.env)
      await run({ output, signal: ending.signal, env: process.env, home }, args, options as never)
    },
  }
  try {
    await runProgram(parts, words)
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0
    return fail(error)
  }
  return ending.cameBy() === null ? 0 : exitCodes.interrupted
}

function fail(error: unknown): number {
  const reason: unknown = ending.signal.reason
  const failure = failureOf(error, reason instanceof GridError ? reason : null)
  if (readerLeft && failure.code === "INTERRUPTED") return 0
  output.error(failure)
  return failure.exitCode
}
