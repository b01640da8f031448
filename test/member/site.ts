/** A site whose servers run in this process, for tests that want to own their clocks or speak to them directly. */
import { randomBytes } from "node:crypto"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import pino from "pino"
import { decodeInvite, type Invite } from "../../crypto/invite.ts"
import { systemClock, type Clock } from "../../core/clock.ts"
import { imageRef, siteName } from "../../core/identifiers.ts"
import { keysDirectory, type Home } from "../../member/home.ts"
import { joinSite } from "../../member/join.ts"
import { silentLog, type Log } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { outdatedOf } from "../../member/renewal.ts"
import { createSite, DEFAULT_GROUP, type CreateSiteOptions } from "../../nodes/create-site.ts"
import type { GroupParts } from "../../nodes/groups.ts"
import { KeyRing } from "../../nodes/key-ring.ts"
import { makeChange } from "../../nodes/make-change.ts"
import { makeInvite, type InviteOptions } from "../../nodes/make-invite.ts"
import { publishImage } from "../../nodes/publish.ts"
import { ImageServer, type ServerParts } from "../../nodes/server.ts"
import { homesIn, leaksIn, leaksInHome, registerSecrets, requireNoLeak, secretsOf } from "../system/secrets.ts"

const DAY_MS = 24 * 3_600_000
const free = { host: "127.0.0.1", port: 0 }

export const clockOff = (byMs: number): Clock => ({ nowMs: () => systemClock.nowMs() + byMs })

/** @param said takes every line that it logs, at every level */
export const runServer = (
  home: Home,
  clock: Clock = systemClock,
  said: string[] = [],
  more: Partial<ServerParts> = {},
): Promise<ImageServer> =>
  ImageServer.start({ home, clock, logger: pino({ level: "trace" }, { write: (line: string) => said.push(line) }), ...more })

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
  readonly #others = new AsyncDisposableStack()
  /** Every line that the servers logged. */
  readonly #said: string[]

  private constructor(directory: string, home: Home, said: string[], server: ImageServer) {
    this.directory = directory
    this.home = home
    this.#said = said
    this.#server = server
  }

  /** @param parent where its directories are made */
  static async start(
    clock: Clock = systemClock,
    more: Partial<CreateSiteOptions> = {},
    parent: string = tmpdir(),
    parts: Partial<ServerParts> = {},
  ): Promise<TestSite> {
    const directory = mkdtempSync(join(parent, "imagegrid-site-"))
    const making = { clock: systemClock, random: randomBytes }
    const options = {
      directory: join(directory, "server"),
      site: siteName("demo"),
      groups: [],
      listen: { api: free, swarm: free, dht: free },
      ...more,
    }
    const home = await createSite(making, options)
    const said: string[] = []
    return new TestSite(directory, home, said, await runServer(home, clock, said, parts))
  }

  get server(): ImageServer {
    return this.#server
  }

  async restart(clock: Clock): Promise<void> {
    await this.#server[Symbol.asyncDispose]()
    this.#server = await runServer(this.home, clock, this.#said)
  }

  /** Ends the first server; what others have of the site stays. */
  async stop(): Promise<void> {
    await this.#server[Symbol.asyncDispose]()
  }

  async invite(options: Partial<InviteOptions> = {}): Promise<string> {
    return (await this.inviteFrom(this.home, options)).text
  }

  inviteFrom(home: Home, options: Partial<InviteOptions> = {}): ReturnType<typeof makeInvite> {
    const defaults = { role: "client", group: options.role === "mirror" ? null : DEFAULT_GROUP, uses: 1, lifeMs: DAY_MS } as const
    return makeInvite({ home, clock: systemClock, random: randomBytes }, { ...defaults, ...options })
  }

  async join(name: string, clock: Clock = systemClock, invite?: string): Promise<Home> {
    return this.joinWith(name, decodeInvite(invite ?? (await this.invite())), clock)
  }

  /** A home that joined as another server, or as a mirror; it does not run yet. */
  async joinServer(name: string, role: "server" | "mirror" = "server"): Promise<Home> {
    const invite = await this.invite({ role })
    const options = { directory: join(this.directory, name), listen: { api: free, swarm: free, dht: free } }
    return joinSite(decodeInvite(invite), { clock: systemClock, random: randomBytes }, options)
  }

  /** Runs another server until the site ends, or until it is disposed of. */
  async run(home: Home, parts: Partial<ServerParts> = {}): Promise<ImageServer> {
    return this.#others.use(await runServer(home, systemClock, this.#said, parts))
  }

  /** A member that asks and shows, until the site ends. */
  async member(home: Home): Promise<Member> {
    const parts = { home, clock: systemClock, log: silentLog }
    return this.#others.adopt(await Member.start(parts, { network: "api-only" }), (member) => member.close())
  }

  /** Runs a whole member of this site, until the site ends. */
  async runMember(home: Home, log: Log = silentLog): Promise<Member> {
    return this.#others.adopt(await Member.start({ home, clock: systemClock, log }), (member) => member.close())
  }

  /** An administrator refuses these members from now on. */
  async revoke(...memberIds: readonly string[]): Promise<void> {
    const { applied } = await makeChange(await this.parts(), () => ({
      site: (document) => ({ ...document, revoked: [...document.revoked, ...memberIds] }),
    }))
    if (!applied) throw new Error("the revocation was not applied")
  }

  /** What an administrator at the first server has: all keys of the site, or none of them. */
  async parts(keys: "all keys" | "no keys" = "all keys"): Promise<GroupParts> {
    const homeKeys = keys === "all keys" ? keysDirectory(this.home.directory) : null
    const ring = await KeyRing.open({ homeKeys, files: [] }, () => Promise.reject(new TypeError("no key here has a passphrase")))
    return { home: this.home, clock: systemClock, log: silentLog, random: randomBytes, keys: ring }
  }

  /** Publishes a small tree at the first server. */
  async publish(image: string, groups: readonly string[] = [DEFAULT_GROUP]): Promise<void> {
    const directory = join(this.directory, "tree")
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, "hostname"), `${image}\n`)
    const signal = new AbortController().signal
    const options = { directory, ref: imageRef(image), groups }
    await publishImage({ ...(await this.parts()), signal }, options)
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
      await this.#others.disposeAsync()
      await this.server[Symbol.asyncDispose]()
      const inLog = leaksIn(Buffer.from(this.#said.join("")), secrets, "a server's log")
      requireNoLeak([...inLog, ...homes.flatMap((home) => leaksInHome(home, secrets))])
    } finally {
      rmSync(this.directory, { recursive: true, force: true })
    }
  }
}

/** Resolves once `holds`; looks again and again, because what it waits for tells nobody. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, patienceMs = 20_000): Promise<void> {
  const deadlineMs = performance.now() + patienceMs
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new Error(`in ${patienceMs} ms it did not come to this: ${what}`)
    await new Promise((wake) => setTimeout(wake, 20))
  }
}
