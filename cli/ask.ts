/** Questions to the person at the terminal. They go to standard error: standard output is for results. */
import { createInterface } from "node:readline/promises"
import { Writable } from "node:stream"
import { GridError } from "#core/errors.ts"

/** Whether somebody is there to answer. */
export function canAsk(): boolean {
  return process.stdin.isTTY
}

/** The answer, or null where standard input is no terminal. @throws {GridError} INTERRUPTED at Ctrl-C and Ctrl-D */
export async function ask(question: string): Promise<string | null> {
  return answer(question, process.stderr)
}

/** As `ask`, and what is typed is not shown. */
export async function askSecret(question: string): Promise<string | null> {
  process.stderr.write(process.stdin.isTTY ? question : "")
  const given = await answer("", new Writable({ write: (_chunk, _encoding, done) => done() }))
  if (process.stdin.isTTY) process.stderr.write("\n")
  return given
}

async function answer(question: string, output: NodeJS.WritableStream): Promise<string | null> {
  if (!process.stdin.isTTY) return null
  const lines = createInterface({ input: process.stdin, output, terminal: true, historySize: 0 })
  try {
    return await lines.question(question)
  } catch (cause) {
    if (!(cause instanceof Error) || cause.name !== "AbortError") throw cause
    throw new GridError("INTERRUPTED", "the question was not answered; nothing was done", { cause })
  } finally {
    lines.close()
  }
}
