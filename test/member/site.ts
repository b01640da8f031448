/** A site whose first server runs in this process, for tests that want to own its clock or speak to it directly. */
import { randomBytes } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import pino from "pino"
import { decodeInvite } from "../../crypto/invite.ts"
import type { MemberRole } from "../../crypto/certificate.ts"
import { systemClock, type Clock } from "../../core/clock.ts"
import { siteName } from "../../core/identifiers.ts"
import type { Home } from "../../member/home.ts"
import { joinSite } from "../../member/join.ts"
import { silentLog, type Log } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { createSite, DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { KeyRing } from "../../nodes/key-ring.ts"
import { makeChange } from "../../nodes/make-change.ts"
import { makeInvite } from "../../nodes/make-invite.ts"
import { ImageServer } from "../../nodes/server.ts"

const DAY_MS = 24 * 3_600_000
const free = { host: "127.0.0.1", port: 0 }

export const clockOff = (byMs: number): Clock => ({ nowMs: () => systemClock.nowMs() + byMs })

export class TestSite implements AsyncDisposable {
  readonly directory: string
  readonly home: Home
  readonly #members: Member[] = []
  #server: ImageServer

  private constructor(directory: string, home: Home, server: ImageServer) {
    this.directory = directory
    this.home = home
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
    return new TestSite(directory, home, await ImageServer.start({ home, clock, logger: pino({ level: "silent" }) }))
  }

  get server(): ImageServer {
    return this.#server
  }

  async restart(clock: Clock): Promise<void> {
    await this.#server[Symbol.asyncDispose]()
    this.#server = await ImageServer.start({ home: this.home, clock, logger: pino({ level: "silent" }) })
  }

  /** Ends the first server; what others have of the site stays. */
  async stop(): Promise<void> {
    await this.#server[Symbol.asyncDispose]()
  }

  async invite(role: MemberRole = "client"): Promise<string> {
    const options = { role, group: DEFAULT_GROUP, uses: 1, lifeMs: DAY_MS } as const
    return (await makeInvite({ home: this.home, clock: systemClock, random: randomBytes }, options)).text
  }

  async join(name: string, clock: Clock = systemClock, invite?: string): Promise<Home> {
    const options = { directory: join(this.directory, name), listen: { api: null, swarm: free, dht: free } }
    return joinSite(decodeInvite(invite ?? (await this.invite())), { clock, random: randomBytes }, options)
  }

  /** Runs a member of this site until the site is disposed of, whose directory it writes to. */
  async run(home: Home, log: Log = silentLog): Promise<Member> {
    const member = await Member.start({ home, clock: systemClock, log })
    this.#members.push(member)
    return member
  }

  /** A home for another server or mirror, which does not run yet. */
  async joinServer(name: string, role: "server" | "mirror"): Promise<Home> {
    const options = { directory: join(this.directory, name), listen: { api: free, swarm: free, dht: free } }
    return joinSite(decodeInvite(await this.invite(role)), { clock: systemClock, random: randomBytes }, options)
  }

  /** An administrator refuses these members from now on. */
  async revoke(...memberIds: readonly string[]): Promise<void> {
    const noPassphrase = () => Promise.reject(new Error("the keys of a test have none"))
    const keys = await KeyRing.open({ homeKeys: this.home.path("keys"), files: [] }, noPassphrase)
    const { applied } = await makeChange({ home: this.home, clock: systemClock, log: silentLog, keys }, () => ({
      site: (document) => ({ ...document, revoked: [...document.revoked, ...memberIds] }),
    }))
    if (!applied) throw new Error("the revocation was not applied")
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#members.map((member) => member.close()))
    await this.server[Symbol.asyncDispose]()
    rmSync(this.directory, { recursive: true, force: true })
  }
}
