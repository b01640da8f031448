/** Questions to the person at the terminal. They go to standard error: standard output is for results. */
import { createInterface } from "node:readline/promises"
import { Writable } from "node:stream"

/** The answer, or null where standard input is no terminal. */
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
  const lines = createInterface({ input: process.stdin, output, terminal: true })
  try {
    return await lines.question(question)
  } finally {
    lines.close()
  }
}
