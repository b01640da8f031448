/** Questions to the person at the terminal. They go to standard error: standard output is for results. */
import { createInterface } from "node:readline/promises"
import { Writable } from "node:stream"
import { GridError } from "#core/errors.ts"

/** Whether somebody is there to answer. */
export function canAsk(): boolean {
  return process.stdin.isTTY
}

/** The answer, or null where standard input is no terminal. @throws {GridError} INTERRUPTED at Ctrl-C and Ctrl-D, and by a signal */
export async function ask(question: string): Promise<string | null> {
  return answer(question, process.stderr)
}

/** As `ask`, and what is typed is not shown. */
export async function askSecret(question: string): Promise<string | null> {
  const given = await answer(question, new Writable({ write: (_chunk, _encoding, done) => done() }))
  if (canAsk()) process.stderr.write("\n")
  return given
}

async function answer(question: string, typed: NodeJS.WritableStream): Promise<string | null> {
  if (!canAsk()) return null
  const lines = createInterface({ input: process.stdin, output: typed, terminal: true, historySize: 0 })
  const left = new AbortController()
  const leave = () => left.abort()
  process.once("SIGINT", leave).once("SIGTERM", leave)
  try {
    // Only now: before, the terminal itself would have shown whatever a quick person types.
    if (typed !== process.stderr) process.stderr.write(question)
    return await lines.question(typed === process.stderr ? question : "", { signal: left.signal })
  } catch (cause) {
    if (!(cause instanceof Error) || cause.name !== "AbortError") throw cause
    throw new GridError("INTERRUPTED", "the question was not answered; nothing was done", { cause })
  } finally {
    process.off("SIGINT", leave).off("SIGTERM", leave)
    lines.close()
  }
}
