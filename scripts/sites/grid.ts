/** Several sites, each with servers and clients that are real programs on hosts of their own, and agreements between all of them. */
import { readFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ChildProgram, type ChildEvent } from "../../cli/child-program.ts"
import { SiteNetwork, type SiteHost, type SiteNetworkOptions } from "../../bench/lab/site-network.ts"

export type SitesOptions = Omit<SiteNetworkOptions, "sites" | "hostsPerSite"> & {
  /** Their names; one letter each is enough. */
  readonly sites: readonly string[]
  readonly servers: number
  readonly clients: number
  /** What each server sends, bytes a second; null: as fast as it goes. */
  readonly uploadLimit: number | null
  /** Called with each line that a server logs. */
  readonly onLog?: (server: string, line: string) => void
}

/** Of Linux, a second (sysconf _SC_CLK_TCK). */
const CLOCK_TICKS = 100
const PORTS = { api: 7400, swarm: 7401, dht: 7402 } as const

/** `a1` is the first server of site a, `a-client1` its first client. */
export class SitesGrid implements AsyncDisposable {
  readonly network: SiteNetwork
  readonly #options: SitesOptions
  readonly #directory: string
  readonly #stack: AsyncDisposableStack
  readonly #servers = new Map<string, ChildProgram>()

  private constructor(options: SitesOptions, directory: string, network: SiteNetwork, stack: AsyncDisposableStack) {
    this.#options = options
    this.#directory = directory
    this.network = network
    this.#stack = stack
  }

  static async start(options: SitesOptions): Promise<SitesGrid> {
    await using stack = new AsyncDisposableStack()
    const { sites, servers, clients } = options
    const network = stack.use(await SiteNetwork.create({ ...options, sites: sites.length, hostsPerSite: servers + clients }))
    const directory = await mkdtemp(join(tmpdir(), "imagegrid-sites-"))
    stack.defer(() => rm(directory, { recursive: true, force: true }))
    return new SitesGrid(options, directory, network, stack.move())
  }

  home(name: string): string {
    return join(this.#directory, name)
  }

  /** All sites with their servers running, each with an agreement with each other: everything shared, everything mirrored. */
  async populate(): Promise<void> {
    const { sites, servers, clients } = this.#options
    for (const site of sites) {
      const first = `${site}1`
      await this.run(first, ["site", "create", site, ...this.#listen(first)])
      await this.startServer(first)
      for (let number = 2; number <= servers; number++) {
        const name = `${site}${number}`
        await this.run(name, ["join", await this.#invite(first, ["--role", "server"]), ...this.#listen(name)])
        await this.startServer(name)
      }
    }
    for (const site of sites) await this.run(`${site}1`, ["federate", "invite", this.home(`${site}.offer`)])
    for (const site of sites)
      for (const other of sites)
        if (other !== site)
          await this.run(`${site}1`, ["federate", "accept", this.home(`${other}.offer`), "--shares", "*", "--mirrors", "*", "--yes"])
    for (const site of clients === 0 ? [] : sites) {
      const invite = await this.#invite(`${site}1`, ["--uses", String(clients)])
      for (let number = 1; number <= clients; number++) {
        const name = `${site}-client${number}`
        await this.run(name, ["join", invite, "--swarm", `${this.#addressOf(name)}:0`, "--dht", `${this.#addressOf(name)}:0`])
      }
    }
  }

  serverNames(): string[] {
    const { sites, servers } = this.#options
    return sites.flatMap((site) => Array.from({ length: servers }, (_, before) => `${site}${before + 1}`))
  }

  clientNames(): string[] {
    const { sites, clients } = this.#options
    return sites.flatMap((site) => Array.from({ length: clients }, (_, before) => `${site}-client${before + 1}`))
  }

  /** @param through words of a program that is to run it, and becomes it: `env NAME=VALUE` */
  async startServer(name: string, through: readonly string[] = []): Promise<void> {
    const { uploadLimit, onLog } = this.#options
    const server = this.start(name, ["server", "run", ...(uploadLimit === null ? [] : ["--upload-limit", String(uploadLimit)])], through)
    if (onLog !== undefined) server.onLog((line) => onLog(name, line))
    await server.event("server-running")
    this.#servers.set(name, server)
  }

  /** What a running server has taken of the CPU since it started, user and system. */
  cpuSeconds(name: string): number {
    const pid = this.#servers.get(name)?.pid ?? null
    if (pid === null) throw new RangeError(`${name} does not run`)
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]?.split(" ") ?? []
    return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS
  }

  async killServer(name: string): Promise<void> {
    const server = this.#servers.get(name)
    server?.kill("SIGKILL")
    await server?.ended()
    this.#servers.delete(name)
  }

  /** Runs a command with this one's home, on its host, and gives its events. @throws when it fails */
  async run(name: string, words: readonly string[]): Promise<readonly ChildEvent[]> {
    const events: ChildEvent[] = []
    const program = this.start(name, words)
    program.onEvent((event) => events.push(event))
    await program.finished()
    return events
  }

  start(name: string, words: readonly string[], through: readonly string[] = []): ChildProgram {
    const inside = ["nsenter", ...this.network.enter(this.#hostOf(name)), ...through]
    const all = [...words, "--home", this.home(name)]
    return this.#stack.use(new ChildProgram(`${name}: ${words.slice(0, 2).join(" ")}`, all, new AbortController().signal, inside))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }

  async #invite(server: string, words: readonly string[]): Promise<string> {
    const event = (await this.run(server, ["invite", ...words])).find((one) => one["event"] === "invite")
    return String(event?.["invite"])
  }

  #listen(name: string): string[] {
    return Object.entries(PORTS).flatMap(([service, port]) => [`--${service}`, `${this.#addressOf(name)}:${port}`])
  }

  #addressOf(name: string): string {
    return this.network.addressOf(this.#hostOf(name))
  }

  #hostOf(name: string): SiteHost {
    const [, site = "", client, number = "1"] = /^([a-z]+)(-client)?(\d+)$/.exec(name) ?? []
    return { site: this.#options.sites.indexOf(site), host: Number(number) - 1 + (client === undefined ? 0 : this.#options.servers) }
  }
}
