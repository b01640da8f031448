/** A site whose first server runs in this process, for tests that want to own its clock or speak to it directly. */
import { randomBytes } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import pino from "pino"
import type { MemberRole } from "../../crypto/certificate.ts"
import { decodeInvite, type Invite } from "../../crypto/invite.ts"
import { systemClock, type Clock } from "../../core/clock.ts"
import { siteName } from "../../core/identifiers.ts"
import type { Home } from "../../member/home.ts"
import { joinSite } from "../../member/join.ts"
import { createSite, DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { makeInvite } from "../../nodes/make-invite.ts"
import { ImageServer } from "../../nodes/server.ts"
import { homesIn, leaksIn, leaksInHome, registerSecrets, requireNoLeak, secretsOf } from "../system/secrets.ts"

const DAY_MS = 24 * 3_600_000
const free = { host: "127.0.0.1", port: 0 }

export const clockOff = (byMs: number): Clock => ({ nowMs: () => systemClock.nowMs() + byMs })

export class TestSite implements AsyncDisposable {
  readonly directory: string
  readonly home: Home
  #server: ImageServer
  /** Every line that the server logged. */
  readonly #said: string[]

  private constructor(directory: string, home: Home, said: string[], server: ImageServer) {
    this.directory = directory
    this.home = home
    this.#said = said
    this.#server = server
  }

  static async start(clock: Clock = systemClock): Promise<TestSite> {
    const directory = mkdtempSync(join(tmpdir(), "imagegrid-site-"))
    const parts = { clock: systemClock, random: randomBytes }
    const options = {
      directory: join(directory, "server"),
      site: siteName("demo"),
      groups: [],
      listen: { api: free, swarm: free, dht: free },
    }
    const home = await createSite(parts, options)
    const said: string[] = []
    return new TestSite(directory, home, said, await ImageServer.start({ home, clock, logger: loggerInto(said) }))
  }

  get server(): ImageServer {
    return this.#server
  }

  async restart(clock: Clock): Promise<void> {
    await this.#server[Symbol.asyncDispose]()
    this.#server = await ImageServer.start({ home: this.home, clock, logger: loggerInto(this.#said) })
  }

  async invite(role: MemberRole = "client"): Promise<string> {
    const options = { role, group: DEFAULT_GROUP, uses: 1, lifeMs: DAY_MS } as const
    return (await makeInvite({ home: this.home, clock: systemClock, random: randomBytes }, options)).text
  }

  async join(name: string, clock: Clock = systemClock, invite?: string): Promise<Home> {
    return this.joinWith(name, decodeInvite(invite ?? (await this.invite())), clock)
  }

  joinWith(name: string, invite: Invite, clock: Clock = systemClock): Promise<Home> {
    const options = { directory: join(this.directory, name), listen: { api: free, swarm: free, dht: free } }
    return joinSite(invite, { clock, random: randomBytes }, options)
  }

  /** @throws {Error} when a secret of one of the homes stands where it must not */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      const homes = homesIn(this.directory)
      const secrets = homes.flatMap(secretsOf)
      registerSecrets(secrets)
      await this.server[Symbol.asyncDispose]()
      const inLog = leaksIn(Buffer.from(this.#said.join("")), secrets, "the server's log")
      requireNoLeak([...inLog, ...homes.flatMap((home) => leaksInHome(home, secrets))])
    } finally {
      rmSync(this.directory, { recursive: true, force: true })
    }
  }
}

/** Takes down everything that is logged, at every level. */
function loggerInto(said: string[]): pino.Logger {
  return pino({ level: "trace" }, { write: (line: string) => said.push(line) })
}
