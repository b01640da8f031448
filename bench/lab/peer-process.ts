/**
 * One peer of a run: a process in its host's namespace that is spoken to in the lines of peer-protocol.ts. It is in a process group of its own, so that whatever
 * it started ends with it.
 */
import { spawn, type ChildProcess } from "node:child_process"
import { createInterface } from "node:readline"
import type { LabHost } from "./hosts.ts"
import { readPeerLine, START, STOP, type PeerReport } from "./peer-protocol.ts"
import type { PeerCommand } from "./transports/transport.ts"

const COMPLAINT_BYTES_MAX = 4_000

export class PeerProcess {
  readonly host: LabHost
  readonly #child: ChildProcess
  readonly #ready = Promise.withResolvers<void>()
  readonly #done = Promise.withResolvers<number>()
  readonly #left = Promise.withResolvers<number>()
  readonly #report = Promise.withResolvers<PeerReport>()
  readonly #exited = Promise.withResolvers<void>()
  #complaint = ""
  /** Whether its end is no surprise. */
  #dismissed = false
  #running = true

  constructor(host: LabHost, enter: readonly string[], command: PeerCommand) {
    this.host = host
    this.#child = spawn("nsenter", [...enter, command.program, ...command.words], {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
      env: { ...process.env, ...command.env },
    })
    const { stdin, stdout, stderr } = this.#child
    for (const { promise } of [this.#ready, this.#done, this.#left, this.#report]) promise.catch(() => undefined)
    this.#child.on("error", (error) => {
      this.#end()
      this.#fail(error)
    })
    this.#child.on("exit", () => this.#end())
    // Not before its last line was read.
    this.#child.on("close", (code, signal) => this.#fail(new Error(`ended with ${code ?? signal}`)))
    // Its end tells more than the pipe to it.
    stdin?.on("error", () => undefined)
    stderr?.setEncoding("utf8").on("data", (text: string) => (this.#complaint = (this.#complaint + text).slice(-COMPLAINT_BYTES_MAX)))
    if (stdout !== null) createInterface({ input: stdout }).on("line", (line) => this.#take(line))
  }

  /** Whether it was told to end. */
  get dismissed(): boolean {
    return this.#dismissed
  }

  /** Resolves when it waits for the start. @throws {Error} when it ended before */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  /** When it had the whole file, on the machine's clock. @throws {Error} when it ended before */
  get done(): Promise<number> {
    return this.#done.promise
  }

  /** When it left by itself. @throws {Error} when it ended before */
  get left(): Promise<number> {
    return this.#left.promise
  }

  start(): void {
    this.#child.stdin?.write(`${START}\n`)
  }

  /** What it did. @throws {Error} when it ended without saying it */
  async stop(): Promise<PeerReport> {
    this.#dismissed = true
    this.#child.stdin?.write(`${STOP}\n`)
    const report = await this.#report.promise
    this.#child.stdin?.end()
    return report
  }

  /** Ends it and all that it started, without a word; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#dismissed = true
    if (this.#running && this.#child.pid !== undefined) killGroup(this.#child.pid)
    await this.#exited.promise
  }

  #take(line: string): void {
    try {
      const message = readPeerLine(line)
      if (message.kind === "ready") this.#ready.resolve()
      else if (message.kind === "done") this.#done.resolve(message.atMs)
      else if (message.kind === "left") this.#left.resolve(message.atMs)
      else this.#report.resolve(message.report)
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #end(): void {
    this.#running = false
    this.#exited.resolve()
  }

  #fail(cause: Error): void {
    const what = this.#dismissed ? "was stopped" : `failed: ${cause.message}`
    const error = new Error(`${this.host.role} ${this.host.number} ${what}${this.#complaint === "" ? "" : `\n${this.#complaint.trim()}`}`, {
      cause,
    })
    for (const { reject } of [this.#ready, this.#done, this.#left, this.#report]) reject(error)
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL")
  } catch {
    // It ended by itself.
  }
}
