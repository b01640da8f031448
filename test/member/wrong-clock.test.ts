import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, test } from "node:test"
import pino from "pino"
import { decodeInvite } from "../../crypto/invite.ts"
import { systemClock, type Clock } from "../../core/clock.ts"
import { siteName } from "../../core/identifiers.ts"
import type { Home } from "../../member/home.ts"
import { joinSite } from "../../member/join.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { createSite, DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { makeInvite } from "../../nodes/make-invite.ts"
import { ImageServer } from "../../nodes/server.ts"

const YEAR_MS = 365 * 24 * 3_600_000
const free = { host: "127.0.0.1", port: 0 }
const clockOff = (byMs: number): Clock => ({ nowMs: () => systemClock.nowMs() + byMs })

let directory: string
let server: ImageServer
let home: Home

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "imagegrid-clock-"))
  const listen = { api: free, swarm: free, dht: free }
  home = await createSite(
    { clock: systemClock, random: randomBytes },
    { directory: join(directory, "server"), site: siteName("demo"), groups: [], listen },
  )
  server = await ImageServer.start({ home, clock: systemClock, logger: pino({ level: "silent" }) })
})
after(async () => {
  await server[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true, force: true })
})

async function joinWith(name: string, clock: Clock, lifeMs = YEAR_MS / 365): Promise<Home> {
  const { text } = await makeInvite(
    { home, clock: systemClock, random: randomBytes },
    { role: "client", group: DEFAULT_GROUP, uses: 1, lifeMs },
  )
  return joinSite(
    decodeInvite(text),
    { clock, random: randomBytes },
    { directory: join(directory, name), listen: { api: null, swarm: free, dht: free } },
  )
}

test("a machine whose clock is a year behind is told both times and does not join", async () => {
  await assert.rejects(joinWith("behind", clockOff(-YEAR_MS)), { code: "CLOCK_WRONG", message: /the clock here says .*set the clock/ })
  assert.equal(existsSync(join(directory, "behind")), false)
})

test("a machine whose clock is a year ahead takes a new invite for expired, and is told to look at its clock", async () => {
  await assert.rejects(joinWith("ahead", clockOff(YEAR_MS)), {
    code: "INVITE_EXPIRED",
    message: /the clock here says .*set the clock if it is wrong/,
  })
  assert.equal(existsSync(join(directory, "ahead")), false)
})

test("a machine whose clock is an hour off is refused by the server with both times, and its invite stays good", async () => {
  const { text } = await makeInvite(
    { home, clock: systemClock, random: randomBytes },
    { role: "client", group: DEFAULT_GROUP, uses: 1, lifeMs: YEAR_MS / 365 },
  )
  const options = { directory: join(directory, "hour"), listen: { api: null, swarm: free, dht: free } }
  const attempt = (clock: Clock) => joinSite(decodeInvite(text), { clock, random: randomBytes }, options)
  await assert.rejects(attempt(clockOff(3_600_000)), { code: "CLOCK_WRONG" })
  assert.equal((await attempt(systemClock)).role, "client")
})

test("a joined machine whose clock is a year off is told its certificate's dates and its own", async () => {
  const joined = await joinWith("joined", systemClock)
  const start = (byMs: number) => Member.start({ home: joined, clock: clockOff(byMs), log: silentLog })
  await assert.rejects(start(YEAR_MS), { code: "CERTIFICATE_EXPIRED", message: /it ended at .*the clock here says/ })
  await assert.rejects(start(-YEAR_MS), { code: "CERTIFICATE_NOT_YET_VALID", message: /it begins at .*set the clock/ })
})

test("a catalog that has expired is refused with both times when no newer one is to be had", async () => {
  const joined = await joinWith("stale", systemClock)
  const member = await Member.start({ home: joined, clock: systemClock, log: silentLog }, { network: "api-only" })
  try {
    assert.equal(member.catalogs.requireFresh().images.size, 0)
  } finally {
    await member.close()
  }
  const late = await Member.start({ home: joined, clock: clockOff(4 * 24 * 3_600_000), log: silentLog }, { network: "api-only" })
  try {
    assert.throws(() => late.catalogs.requireFresh(), { code: "CATALOG_EXPIRED" })
  } finally {
    await late.close()
  }
})
