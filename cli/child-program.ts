/** Another run of this program as a child process, watched through its `--json` events. Disposing of it ends it. */
import { spawn, type ChildProcess } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { GridError } from "#core/errors.ts"

export type ChildEvent = Readonly<Record<string, unknown>>

const STDERR_KEPT_CHARACTERS = 4_000
const END_TIMEOUT_MS = 10_000

export class ChildProgram implements AsyncDisposable {
  readonly #name: string
  readonly #child: ChildProcess
  readonly #events: ChildEvent[] = []
  readonly #listeners = new Set<(event: ChildEvent) => void>()
  readonly #logListeners = new Set<(line: string) => void>()
  readonly #exit: Promise<number | null>
  #stderr = ""
  #ended = false

  /** @param through words of a program that is to run it, and becomes it: of `nsenter`, say */
  constructor(name: string, words: readonly string[], signal: AbortSignal, through: readonly string[] = []) {
    this.#name = name
    // In a package all is bundled, and main.mjs lies beside it.
    const program = fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "./main.ts" : "./main.mjs", import.meta.url))
    const [first, ...rest] = [...through, process.execPath, program, ...words, "--json"] as const
    this.#child = spawn(first, rest, { stdio: ["ignore", "pipe", "pipe"] })
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_KEPT_CHARACTERS)
    })
    if (this.#child.stderr !== null)
      createInterface({ input: this.#child.stderr }).on("line", (line) => {
        for (const listener of this.#logListeners) listener(line)
      })
    if (this.#child.stdout !== null)
      createInterface({ input: this.#child.stdout }).on("line", (line) => {
        const event = JSON.parse(line) as ChildEvent
        if (event["event"] !== "progress") this.#events.push(event)
        for (const listener of this.#listeners) listener(event)
      })
    this.#exit = new Promise((resolve, reject) => {
      this.#child.once("error", reject)
      this.#child.once("close", (code) => {
        this.#ended = true
        resolve(code)
      })
    })
    this.#exit.catch(() => {})
    signal.addEventListener("abort", () => this.#child.kill("SIGTERM"), { once: true })
  }

  /** Its process id; null when it could not be started. */
  get pid(): number | null {
    return this.#child.pid ?? null
  }

  onEvent(listener: (event: ChildEvent) => void): void {
    this.#listeners.add(listener)
  }

  /** What it says from now on beside its events: a server's log, a line each. */
  onLog(listener: (line: string) => void): void {
    this.#logListeners.add(listener)
  }

  /** The first event of this name, past or to come. @throws {GridError} INTERRUPTED when the program ends without it */
  async event(name: string): Promise<ChildEvent> {
    const find = () => this.#events.find((event) => event["event"] === name)
    const past = find()
    if (past !== undefined) return past
    const { promise, resolve } = Promise.withResolvers<ChildEvent>()
    this.onEvent((event) => {
      if (event["event"] === name) resolve(event)
    })
    const ended = this.#exit.then(() => {
      const last = find()
      if (last === undefined) throw this.#failure()
      return last
    })
    return Promise.race([promise, ended])
  }

  /** @throws {GridError} INTERRUPTED with what the program said last, when it failed */
  async finished(): Promise<void> {
    if ((await this.#exit) !== 0) throw this.#failure()
  }

  /** Resolves when the program has ended, however it did. */
  async ended(): Promise<void> {
    await this.#exit
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return
    this.#child.kill("SIGTERM")
    const impatience = setTimeout(() => this.#child.kill("SIGKILL"), END_TIMEOUT_MS)
    await this.#exit.catch(() => {})
    clearTimeout(impatience)
  }

  #failure(): GridError {
    return new GridError(
      "INTERRUPTED",
      `'${this.#name}' ended with ${this.#child.exitCode ?? this.#child.signalCode}; it said: ${this.#stderr.trim()}`,
    )
  }
}
