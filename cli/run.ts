/** One run of the program: streams, signals and the environment are wired to the commands, and what they throw to exit codes. */
import { CommanderError } from "commander"
import { exitCodes, GridError, systemErrorCode } from "#core/errors.ts"
import manifest from "../package.json" with { type: "json" }
import type { CommandSpec } from "./command.ts"
import { failureOf } from "./failure.ts"
import { Output } from "./output.ts"
import { homeIfGiven, homeOf, runProgram, type Invocation } from "./program.ts"
import { watchSignals } from "./signals.ts"

/** A command that has returned has closed what it opened; if not, scripts must not hang for it. */
const LINGER_MS = 5_000

/** Runs what the command line asks for and sets the exit code. Takes the process over: its signals, streams and uncaught errors. */
export async function run(program: NodeJS.Process, specs: readonly CommandSpec[]): Promise<void> {
  const words = program.argv.slice(2)
  const ending = watchSignals(program)
  // Known before the command line is parsed, so that a wrong one is answered in the form that was asked for.
  const json = wordsBeforeDashes(words).includes("--json")
  const output = new Output({ stdout: program.stdout, stderr: program.stderr, nowMs: () => performance.now() }, { json })
  let readerLeft = false

  const fail = (error: unknown): number => {
    const reason: unknown = ending.signal.reason
    const failure = failureOf(error, reason instanceof GridError ? reason : null)
    if (readerLeft && failure.code === "INTERRUPTED") return 0
    output.error(failure)
    return failure.exitCode
  }
  const invoke = async ({ spec, args, options }: Invocation) => {
    const command = await spec.load()
    const home = () => homeOf(options, program.env)
    const context = { output, signal: ending.signal, env: program.env, home, homeIfGiven: () => homeIfGiven(options, program.env) }
    await command.default(context, args, options as never)
  }
  const main = async (): Promise<number> => {
    try {
      const print = (text: string) => program.stdout.write(text)
      const printAside = (text: string) => program.stderr.write(text)
      await runProgram({ version: manifest.version, specs, print, printAside, run: invoke }, words)
    } catch (error) {
      if (error instanceof CommanderError && error.exitCode === 0) return 0
      return fail(error)
    }
    return ending.cameBy() === null ? 0 : exitCodes.interrupted
  }

  for (const stream of [program.stdout, program.stderr])
    stream.on("error", (error) => {
      // `imagegrid images | head -1` and the like: the rest is for nobody.
      if (systemErrorCode(error) === "EPIPE") readerLeft = true
      ending.end("nobody reads the output any more")
    })
  program.on("uncaughtException", (error) => program.exit(fail(error)))

  program.exitCode = await main()
  ending.stopWatching()
  setTimeout(() => {
    output.warn("something was left open after the command's end; please report this")
    program.exit()
  }, LINGER_MS).unref()
}

/** What follows `--` is for the command alone. */
function wordsBeforeDashes(words: readonly string[]): readonly string[] {
  const dashes = words.indexOf("--")
  return dashes < 0 ? words : words.slice(0, dashes)
}
