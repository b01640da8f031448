import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { after, before, test } from "node:test"
import { address, type Address } from "../../core/address.ts"
import { systemClock } from "../../core/clock.ts"
import type { SiteDocument } from "../../core/documents.ts"
import { siteName } from "../../core/identifiers.ts"
import { routes, type DeployReport } from "../../core/wire.ts"
import { keysDirectory } from "../../member/home.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { renewMembership } from "../../member/renewal.ts"
import { ActLimit } from "../../nodes/act-limit.ts"
import type { AuditEntry } from "../../nodes/audit-entry.ts"
import { AuditLog } from "../../nodes/audit-log.ts"
import { createSite } from "../../nodes/create-site.ts"
import { KeyRing } from "../../nodes/key-ring.ts"
import { makeChange } from "../../nodes/make-change.ts"
import { TestSite } from "../member/site.ts"
import { entriesOf } from "./audit-home.ts"

let site: TestSite
let member: Member
let server: Address

before(async () => {
  site = await TestSite.start()
  const home = await site.join("client")
  member = await Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })
  server = address(site.server.apiAddress)
})
after(async () => {
  await member.close()
  await site[Symbol.asyncDispose]()
})

const entries = (): Promise<AuditEntry[]> => entriesOf(new AuditLog({ home: site.home, clock: systemClock }))
const newest = async (): Promise<AuditEntry | undefined> => (await entries()).at(-1)
const report = (change: Partial<DeployReport> = {}): DeployReport => ({ event: "deployed", image: "os/small:1", tookMs: 1_200, ...change })
const send = (body: unknown) => member.api.bytes(server, { method: "POST", path: routes.reports, body })

test("making a site, inviting and joining are recorded with who did it and from where", async () => {
  const [created, invited, joined] = await entries()
  assert.deepEqual([created?.event, created?.actor, created?.from], ["site-created", { kind: "member", ids: [site.home.memberId] }, null])
  assert.deepEqual([invited?.event, invited?.actor, invited?.from], ["invited", { kind: "member", ids: [site.home.memberId] }, null])
  assert.deepEqual([invited?.what["role"], invited?.what["group"], invited?.what["uses"]], ["client", "default", 1])
  assert.deepEqual([joined?.event, joined?.from], ["joined", "127.0.0.1"])
  assert.deepEqual(joined?.actor, { kind: "invite", ids: [String(invited?.what["inviteId"])] })
  assert.deepEqual(joined?.what, { memberId: member.home.memberId, role: "client", groups: "default" })
})

test("a renewal is recorded with the member and its address", async () => {
  await renewMembership(member)
  const entry = await newest()
  assert.deepEqual([entry?.event, entry?.actor.ids, entry?.from], ["renewed", [member.home.memberId], "127.0.0.1"])
})

test("a client's report of a deploy is recorded as its own word, failures with their code", async () => {
  await send(report({ bytes: 100, fromServers: 60, fromClients: 40 }))
  const deployed = await newest()
  assert.deepEqual([deployed?.event, deployed?.actor.ids, deployed?.from], ["deployed", [member.home.memberId], "127.0.0.1"])
  assert.deepEqual(deployed?.what, { image: "os/small:1", tookMs: 1_200, bytes: 100, fromServers: 60, fromClients: 40 })
  await send(report({ event: "failed", code: "GRANT_MISSING" }))
  const failed = await newest()
  assert.deepEqual([failed?.event, failed?.what], ["deploy-failed", { image: "os/small:1", tookMs: 1_200, code: "GRANT_MISSING" }])
})

test("reports out of form are refused and leave no line", async () => {
  const { length } = await entries()
  const forms = [
    report({ image: "a b:1" }),
    report({ code: "\u001b[31m" }),
    report({ tookMs: -1 }),
    { ...report(), actor: "somebody" },
    { event: "published", image: "os/small:1", tookMs: 1 },
  ]
  for (const form of forms) await assert.rejects(send(form), { code: "REQUEST_INVALID" })
  assert.equal((await entries()).length, length)
})

test("a change is recorded with the keys that signed it, through the running server and without one", async () => {
  const keys = await KeyRing.open({ homeKeys: keysDirectory(site.home.directory), files: [] }, () =>
    Promise.reject(new Error("no passphrase")),
  )
  const id = randomBytes(16).toString("hex")
  const parts = { home: site.home, clock: systemClock, log: silentLog, keys }
  const revoke = { site: (document: SiteDocument) => ({ ...document, revoked: [...document.revoked, id] }) }
  assert.equal((await makeChange(parts, () => revoke)).applied, true)
  const targets = site.server.member.catalogs.catalog.roles.find(({ name }) => name === "targets")?.keyIds ?? []
  const entry = await newest()
  assert.deepEqual([entry?.event, entry?.actor, entry?.from, entry?.what], ["revoked", { kind: "keys", ids: targets }, "127.0.0.1", { id }])

  const alone = await createSite(
    { clock: systemClock, random: randomBytes },
    {
      directory: `${site.directory}/alone`,
      site: siteName("alone"),
      groups: [],
      listen: { api: server, swarm: server, dht: server },
    },
  )
  const own = await KeyRing.open({ homeKeys: keysDirectory(alone.directory), files: [] }, () => Promise.reject(new Error("no passphrase")))
  assert.equal((await makeChange({ ...parts, home: alone, keys: own }, () => revoke)).applied, true)
  const [, offline, ...more] = await entriesOf(new AuditLog({ home: alone, clock: systemClock }))
  assert.deepEqual([offline?.event, offline?.from, offline?.what, more.length], ["revoked", null, { id }, 0])
})

test("a member that asks for recorded acts without end is refused until the hour is over; others are not", () => {
  const limit = new ActLimit(600)
  for (let act = 0; act < 600; act++) limit.count("a", 1_000)
  assert.throws(() => limit.count("a", 2_000), { code: "API_REFUSED" })
  limit.count("b", 2_000)
  limit.count("a", 1_000 + 3_600_000)
})
