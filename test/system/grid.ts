/** A grid of real programs on loopback for tests: each disposes of its processes and files. */
import { spawnSync } from "node:child_process"
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ChildProgram, type ChildEvent } from "../../cli/child-program.ts"
import { homesIn, leaksIn, leaksInHome, leaksInTitle, registerSecrets, requireNoLeak, secretsOf } from "./secrets.ts"

export type Outcome = { readonly code: number | null; readonly events: readonly ChildEvent[]; readonly stderr: string }

export const loopback = ["--swarm", "127.0.0.1:0", "--dht", "127.0.0.1:0"] as const
const main = new URL("../../cli/main.ts", import.meta.url).pathname

export class TestGrid implements AsyncDisposable {
  readonly directory: string
  readonly #programs: ChildProgram[] = []
  /** All that the programs said, but for invites that `invite` printed. */
  readonly #said: string[] = []

  constructor(parent: string = tmpdir()) {
    this.directory = mkdtempSync(join(parent, "imagegrid-test-"))
  }

  home(name: string): string {
    return join(this.directory, name)
  }

  /** Runs a command to its end and gives its events; a command that hangs is ended and has code null. */
  outcome(words: readonly string[], options: { readonly env?: NodeJS.ProcessEnv } = {}): Outcome {
    const run = spawnSync(process.execPath, [main, ...words, "--json"], { encoding: "utf8", timeout: 120_000, ...options })
    const events = run.stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as ChildEvent)
    for (const event of events) this.#hear(event)
    this.#said.push(run.stderr)
    return { code: run.status, events, stderr: run.stderr }
  }

  /** Runs a command that must succeed. */
  async run(words: readonly string[]): Promise<ChildProgram> {
    const program = this.start(words)
    await program.finished()
    return program
  }

  start(words: readonly string[]): ChildProgram {
    const program = new ChildProgram(words.slice(0, 2).join(" "), words, new AbortController().signal)
    program.onEvent((event) => this.#hear(event))
    program.onLog((line) => this.#said.push(line))
    this.#programs.push(program)
    return program
  }

  /** A site with its first server running. */
  async site(options: readonly string[] = [], home = "server-1"): Promise<ChildProgram> {
    await this.run(["site", "create", "demo", "--home", this.home(home), "--api", "127.0.0.1:0", ...loopback, ...options])
    return this.server(home)
  }

  async server(home: string, options: readonly string[] = []): Promise<ChildProgram> {
    const server = this.start(["server", "run", "--home", this.home(home), ...options])
    await server.event("server-running")
    return server
  }

  async invite(options: readonly string[] = [], from = "server-1"): Promise<string> {
    const program = await this.run(["invite", "--home", this.home(from), ...options])
    return String((await program.event("invite"))["invite"])
  }

  async joinServer(home: string): Promise<ChildProgram> {
    const invite = await this.invite(["--role", "server"])
    await this.run(["join", invite, "--home", this.home(home), "--api", "127.0.0.1:0", ...loopback])
    return this.server(home)
  }

  async joinClient(home: string, inviteOptions: readonly string[] = []): Promise<void> {
    await this.run(["join", await this.invite(inviteOptions), "--home", this.home(home), ...loopback])
  }

  /** @throws {Error} when a secret of one of the homes stands where it must not */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#endAndSearch()
    } finally {
      for (const stage of this.#stagesInMemory()) rmSync(stage, { recursive: true, force: true })
      rmSync(this.directory, { recursive: true, force: true })
    }
  }

  async #endAndSearch(): Promise<void> {
    const homes = homesIn(this.directory)
    const secrets = homes.flatMap(secretsOf)
    registerSecrets(secrets)
    const inTitles = this.#programs.flatMap(({ pid }) => (pid === null ? [] : leaksInTitle(pid, secrets)))
    await Promise.all(this.#programs.map((program) => program[Symbol.asyncDispose]()))
    const inWords = leaksIn(Buffer.from(this.#said.join("\n")), secrets, "what a program said")
    requireNoLeak([...inTitles, ...inWords, ...homes.flatMap((home) => leaksInHome(home, secrets))])
  }

  #hear(event: ChildEvent): void {
    const { invite: _, ...others } = event
    this.#said.push(JSON.stringify(event["event"] === "invite" ? others : event))
  }

  /** Clients keep their stage for `seed` when they leave early, and its name tells whose it is. */
  #stagesInMemory(): string[] {
    return globSync(join(this.directory, "*", "member.json")).map((file) => {
      const { memberId } = JSON.parse(readFileSync(file, "utf8")) as { readonly memberId: string }
      return join("/dev/shm", `imagegrid-${memberId.slice(0, 12)}`)
    })
  }
}
