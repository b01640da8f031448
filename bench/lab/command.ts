/** Runs programs of the system to their end. A program that fails is an error with what it said. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { accessSync, constants, existsSync } from "node:fs"
import { delimiter, join } from "node:path"
import { text } from "node:stream/consumers"

/** Where Debian keeps the tools of administrators, which a user's PATH may lack. */
const SYSTEM_PATHS = ["/usr/sbin", "/sbin"]

/** Nothing that is run here takes a tenth of this. */
const LIMIT_MS = 60_000

export type RunOptions = {
  /** What it reads; nothing without. */
  readonly input?: string
  /** Beside this process's own. */
  readonly env?: Readonly<Record<string, string>>
}

/** What it printed. @throws {Error} when it can't be run or ends with another code than 0 */
export async function run(program: string, words: readonly string[], options: RunOptions = {}): Promise<string> {
  const child = spawn(programPath(program) ?? program, words, {
    stdio: ["pipe", "pipe", "pipe"],
    timeout: LIMIT_MS,
    killSignal: "SIGKILL",
    env: { ...process.env, ...options.env },
  })
  const exited = once(child, "exit")
  // A program that ends without reading its input is told by its code.
  child.stdin.on("error", () => undefined)
  child.stdin.end(options.input)
  const [output, complaint] = await Promise.all([text(child.stdout), text(child.stderr), exited])
  if (child.exitCode !== 0)
    throw new Error(
      `${program} ${words.join(" ").slice(0, 200)} ended with ${child.exitCode ?? child.signalCode}: ${complaint.trim().slice(0, 1_000)}`,
    )
  return output
}

/** Where a program is installed, or null. A path is looked at as it is. */
export function programPath(program: string): string | null {
  if (program.startsWith("/")) return existsSync(program) ? program : null
  for (const directory of [...(process.env["PATH"] ?? "").split(delimiter), ...SYSTEM_PATHS]) {
    const path = join(directory, program)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      continue
    }
  }
  return null
}

/** Gives `ip` or `tc` many lines at once, in a network namespace or, with null, in this process's own. What they printed. */
export async function batch(program: "ip" | "tc", namespace: string | null, lines: readonly string[]): Promise<string> {
  const where = namespace === null ? [] : ["-n", namespace]
  return await run(program, [...where, "-batch", "-"], { input: lines.map((line) => `${line}\n`).join("") })
}
