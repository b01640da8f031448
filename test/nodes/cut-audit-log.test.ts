/** The danger: the end of a server's audit log is cut off, or all of it is rewritten so that it holds by itself. Only others can tell. */
import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import pino from "pino"
import { ChildProgram } from "../../cli/child-program.ts"
import { address } from "../../core/address.ts"
import { systemClock } from "../../core/clock.ts"
import { readAuditHead, readServerStatus, routes, type AuditHead, type ServerRecord } from "../../core/wire.ts"
import { decodeInvite } from "../../crypto/invite.ts"
import type { Home } from "../../member/home.ts"
import { joinSite } from "../../member/join.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { makeServerRecord } from "../../member/server-directory.ts"
import { lookAtFellows, signAuditHead } from "../../nodes/audit-heads.ts"
import { NO_LINE, type AuditEntry } from "../../nodes/audit-entry.ts"
import { AuditLog } from "../../nodes/audit-log.ts"
import { DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { exchangeRecords } from "../../nodes/fellows.ts"
import { makeInvite } from "../../nodes/make-invite.ts"
import { ImageServer } from "../../nodes/server.ts"
import { ServerState } from "../../nodes/state.ts"
import { TestSite } from "../member/site.ts"
import { entriesOf } from "./audit-home.ts"

const free = { host: "127.0.0.1", port: 0 }

/** The home of a second server, which does not run. */
async function secondServer(site: TestSite, name = "second"): Promise<Home> {
  const options = { role: "server", group: DEFAULT_GROUP, uses: 1, lifeMs: 60_000 } as const
  const invite = decodeInvite((await makeInvite({ home: site.home, clock: systemClock, random: randomBytes }, options)).text)
  const directory = join(site.directory, name)
  return joinSite(invite, { clock: systemClock, random: randomBytes }, { directory, listen: { api: free, swarm: free, dht: free } })
}

/** What a second server does each 15 seconds, at a moment that a test chooses. */
class Watcher implements AsyncDisposable {
  readonly home: Home
  readonly audit: AuditLog
  readonly #member: Member
  readonly #state: ServerState
  readonly #warned: string[]

  private constructor(home: Home, member: Member, warned: string[]) {
    this.home = home
    this.audit = new AuditLog({ home, clock: systemClock })
    this.#member = member
    this.#state = new ServerState(home.path("state.sqlite"))
    this.#warned = warned
  }

  static async open(home: Home): Promise<Watcher> {
    const warned: string[] = []
    const log = { info: () => {}, warn: (_fields: object, message: string) => warned.push(message) }
    return new Watcher(home, await Member.start({ home, clock: systemClock, log }, { network: "api-only" }), warned)
  }

  async look(): Promise<void> {
    await lookAtFellows({ member: this.#member, state: this.#state, audit: this.audit })
  }

  async learn(record: ServerRecord): Promise<void> {
    assert.ok(await this.#member.directory.consider([record]))
  }

  seen(memberId: string): AuditHead[] {
    return this.#state.auditHeads(memberId)
  }

  get warned(): readonly string[] {
    return this.#warned
  }

  async wentBack(): Promise<AuditEntry[]> {
    return (await entriesOf(this.audit)).filter(({ event }) => event === "fellow-audit-went-back")
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#member.close()
    this.#state.close()
  }
}

/** Runs `imagegrid audit --verify` beside servers of this process and gives its last event. */
async function verified(home: Home): Promise<Readonly<Record<string, unknown>>> {
  let last: Readonly<Record<string, unknown>> = {}
  await using program = new ChildProgram("audit", ["audit", "--verify", "--home", home.directory], new AbortController().signal)
  program.onEvent((event) => (last = event))
  await program.ended()
  return last
}

test("a fellow keeps what it sees, notices a log that went back, and says so once; verify then names the cut", async () => {
  await using site = await TestSite.start()
  const path = site.home.path("audit.jsonl")
  const home = await secondServer(site)
  {
    await using watcher = await Watcher.open(home)
    await watcher.look()
    await site.join("client")
    await watcher.look()
    await watcher.look()
    const { seq, hash } = await new AuditLog({ home: site.home, clock: systemClock }).head()
    assert.deepEqual(
      watcher.seen(site.home.memberId).map((head) => head.seq),
      [seq - 2, seq],
    )
    assert.equal(watcher.seen(site.home.memberId).at(-1)?.hash, hash)
    assert.deepEqual(await watcher.wentBack(), [])

    writeFileSync(path, readFileSync(path, "utf8").split("\n").slice(0, -2).join("\n") + "\n")
    await watcher.look()
    await watcher.look()
    const [event, ...more] = await watcher.wentBack()
    assert.deepEqual(more, [])
    assert.deepEqual(
      [event?.what["fellow"], event?.what["seq"], event?.what["sawSeq"], event?.what["sawHash"]],
      [site.home.memberId, seq - 1, seq, hash],
    )
    assert.match(watcher.warned.join(), /WENT BACK/)

    const member = await Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })
    const status = await member.api.json(address(site.server.apiAddress), { path: routes.status }, readServerStatus)
    assert.match(status.audit.fault ?? "", /cut or replaced/, "the server itself noticed while it ran")
    await member.close()
  }
  const logger = pino({ level: "silent" })
  await using second = await ImageServer.start({ home, clock: systemClock, logger })
  await exchangeRecords(second.member)
  const broken = await verified(site.home)
  assert.deepEqual([broken["event"], broken["code"], broken["exitCode"]], ["error", "AUDIT_BROKEN", 65])
  assert.match(String(broken["message"]), new RegExp(`server ${home.memberId} saw entry .* its end was cut off`))
  // The second server's own log is whole, and nobody saw anything else of it.
  const whole = await verified(home)
  assert.deepEqual([whole["event"], whole["witnesses"]], ["verified", [site.home.memberId]])
})

test("a history that was rewritten and has grown beyond what was seen is found by verify", async () => {
  await using site = await TestSite.start()
  const home = await secondServer(site)
  {
    await using watcher = await Watcher.open(home)
    await watcher.look()
  }
  const path = site.home.path("audit.jsonl")
  const entries = await entriesOf(new AuditLog({ home: site.home, clock: systemClock }))
  writeFileSync(path, "")
  const forger = new AuditLog({ home: site.home, clock: systemClock })
  for (const { event, actor, what } of entries) await forger.append([{ event, actor, what, from: "203.0.113.9" }])
  await site.join("client")
  assert.equal((await forger.check()).fault, null)
  await using second = await ImageServer.start({ home, clock: systemClock, logger: pino({ level: "silent" }) })
  await exchangeRecords(second.member)
  const broken = await verified(site.home)
  assert.equal(broken["code"], "AUDIT_BROKEN")
  assert.match(
    String(broken["message"]),
    new RegExp(`saw entry ${entries.length} at .* with another hash: entry ${entries.length} or one before`),
  )
})

test("a head says how long the log is, signed by the server's key, and clients may not ask for it", async () => {
  await using site = await TestSite.start()
  const server = address(site.server.apiAddress)
  const home = await site.join("client")
  const client = await Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })
  for (const path of [routes.auditHead, routes.auditSeen])
    await assert.rejects(client.api.bytes(server, { path }), { code: "CERTIFICATE_INVALID" })
  await client.close()
  const fellow = await secondServer(site)
  const member = await Member.start({ home: fellow, clock: systemClock, log: silentLog }, { network: "api-only" })
  const head = await member.api.json(server, { path: routes.auditHead }, readAuditHead)
  const { memberId, seq, hash, atMs } = head
  assert.deepEqual([memberId, { seq, hash }], [site.home.memberId, await new AuditLog({ home: site.home, clock: systemClock }).head()])
  assert.deepEqual(head, signAuditHead({ memberId, seq, hash, atMs }, site.home.identity.signing))
  await member.close()
})

test("what another server answers in a fellow's place is not kept as the fellow's head", async () => {
  await using site = await TestSite.start()
  await using watcher = await Watcher.open(await secondServer(site, "second"))
  const absent = await secondServer(site, "absent")
  const { apiAddress: api } = site.server
  const certificate = (await absent.certificate()).der.toString("base64")
  const fields = { memberId: absent.memberId, seq: 1, api, swarm: "127.0.0.1:1", dht: "127.0.0.1:2", grid: null, certificate }
  await watcher.learn(makeServerRecord(fields, absent.identity.signing))
  await watcher.look()
  assert.deepEqual(watcher.seen(absent.memberId), [])
  assert.equal(watcher.seen(site.home.memberId).length, 1)
  assert.match(watcher.warned.join(), /was not kept/)
})

test("heads that a server never signed are no evidence against it", async () => {
  await using site = await TestSite.start()
  const home = await secondServer(site)
  const forged = { memberId: site.home.memberId, seq: 999, hash: "ab".repeat(32), atMs: 1 }
  const state = new ServerState(home.path("state.sqlite"))
  state.recordAuditHead(signAuditHead(forged, home.identity.signing))
  state.close()
  await using second = await ImageServer.start({ home, clock: systemClock, logger: pino({ level: "silent" }) })
  await exchangeRecords(second.member)
  const words: string[] = []
  await using program = new ChildProgram("audit", ["audit", "--verify", "--home", site.home.directory], new AbortController().signal)
  program.onLog((line) => words.push(line))
  await program.finished()
  assert.match(words.join("\n"), new RegExp(`server ${home.memberId} shows heads of this log that this server never signed`))
})

test("of a fellow's heads the newest are kept, and of those before them the last of each hour", () => {
  const state = new ServerState(":memory:")
  const perHour = 100
  for (let number = 0; number < 15 * perHour; number++)
    state.recordAuditHead({ memberId: "aa", seq: number, hash: NO_LINE, atMs: number * (3_600_000 / perHour), signature: "" })
  const kept = state.auditHeads("aa").map(({ seq }) => seq)
  assert.deepEqual(kept.slice(0, 5), [99, 199, 299, 399, 499])
  assert.deepEqual([kept.length, kept.at(-1), state.lastAuditHead("aa")?.seq], [1_005, 1_499, 1_499])
  assert.deepEqual([state.auditHeads("bb"), state.lastAuditHead("bb")], [[], null])
  state.close()
})
