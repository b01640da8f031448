/** A site whose first server runs in this process, for tests that want to own its clock or speak to it directly. */
import { randomBytes } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import pino from "pino"
import { decodeInvite } from "../../crypto/invite.ts"
import { systemClock, type Clock } from "../../core/clock.ts"
import { siteName } from "../../core/identifiers.ts"
import type { MemberRole } from "../../crypto/certificate.ts"
import { keysDirectory, type Home } from "../../member/home.ts"
import { joinSite } from "../../member/join.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { outdatedOf } from "../../member/renewal.ts"
import { createSite, DEFAULT_GROUP, type CreateSiteOptions } from "../../nodes/create-site.ts"
import { KeyRing } from "../../nodes/key-ring.ts"
import { makeInvite } from "../../nodes/make-invite.ts"
import type { RotateParts } from "../../nodes/rotate.ts"
import { ImageServer } from "../../nodes/server.ts"

const DAY_MS = 24 * 3_600_000
const free = { host: "127.0.0.1", port: 0 }

export const clockOff = (byMs: number): Clock => ({ nowMs: () => systemClock.nowMs() + byMs })

export const runServer = (home: Home, clock: Clock = systemClock): Promise<ImageServer> =>
  ImageServer.start({ home, clock, logger: pino({ level: "silent" }) })

/** A member that was away, when it has done what a command does first: taken the newest catalog and what it lacks. */
export async function comesBack(home: Home): Promise<Member> {
  const member = await Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })
  await member.catalogs.refresh()
  if (outdatedOf(member).length > 0) await member.renew()
  return member
}

export class TestSite implements AsyncDisposable {
  readonly directory: string
  readonly home: Home
  #server: ImageServer

  private constructor(directory: string, home: Home, server: ImageServer) {
    this.directory = directory
    this.home = home
    this.#server = server
  }

  static async start(clock: Clock = systemClock, more: Partial<CreateSiteOptions> = {}): Promise<TestSite> {
    const directory = mkdtempSync(join(tmpdir(), "imagegrid-site-"))
    const parts = { clock: systemClock, random: randomBytes }
    const options = {
      directory: join(directory, "server"),
      site: siteName("demo"),
      groups: [],
      listen: { api: free, swarm: free, dht: free },
      ...more,
    }
    const home = await createSite(parts, options)
    return new TestSite(directory, home, await runServer(home, clock))
  }

  get server(): ImageServer {
    return this.#server
  }

  async restart(clock: Clock): Promise<void> {
    await this.#server[Symbol.asyncDispose]()
    this.#server = await runServer(this.home, clock)
  }

  async invite(role: MemberRole = "client"): Promise<string> {
    const options = { role, group: DEFAULT_GROUP, uses: 1, lifeMs: DAY_MS } as const
    return (await makeInvite({ home: this.home, clock: systemClock, random: randomBytes }, options)).text
  }

  async join(name: string, clock: Clock = systemClock, invite?: string): Promise<Home> {
    const options = { directory: join(this.directory, name), listen: { api: null, swarm: free, dht: free } }
    return joinSite(decodeInvite(invite ?? (await this.invite())), { clock, random: randomBytes }, options)
  }

  /** The home of another server or mirror, which does not run yet. */
  async joinAs(role: "server" | "mirror", name: string): Promise<Home> {
    const options = { directory: join(this.directory, name), listen: { api: free, swarm: free, dht: free } }
    return joinSite(decodeInvite(await this.invite(role)), { clock: systemClock, random: randomBytes }, options)
  }

  /** What a command of an administrator at the first server has. */
  async administrator(): Promise<RotateParts> {
    const keys = await KeyRing.open({ homeKeys: keysDirectory(this.home.directory), files: [] }, () => {
      throw new TypeError("no key of this site has a passphrase")
    })
    return { home: this.home, clock: systemClock, log: silentLog, random: randomBytes, keys }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]()
    rmSync(this.directory, { recursive: true, force: true })
  }
}
