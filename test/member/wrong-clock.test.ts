import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { systemClock, type Clock } from "../../core/clock.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { clockOff, TestSite } from "./site.ts"

const YEAR_MS = 365 * 24 * 3_600_000

let site: TestSite
before(async () => {
  site = await TestSite.start()
})
after(() => site[Symbol.asyncDispose]())

test("a machine whose clock is a year behind is told both times and does not join", async () => {
  await assert.rejects(site.join("behind", clockOff(-YEAR_MS)), { code: "CLOCK_WRONG", message: /the clock here says .*set the clock/ })
  assert.equal(existsSync(join(site.directory, "behind")), false)
})

test("a machine whose clock is a year ahead takes a new invite for expired, and is told to look at its clock", async () => {
  await assert.rejects(site.join("ahead", clockOff(YEAR_MS)), {
    code: "INVITE_EXPIRED",
    message: /the clock here says .*set the clock if it is wrong/,
  })
  assert.equal(existsSync(join(site.directory, "ahead")), false)
})

test("a machine whose clock is an hour off is refused by the server with both times, and its invite stays good", async () => {
  const invite = await site.invite()
  const attempt = (clock: Clock) => site.join("hour", clock, invite)
  await assert.rejects(attempt(clockOff(3_600_000)), { code: "CLOCK_WRONG" })
  assert.equal((await attempt(systemClock)).role, "client")
})

test("a joined machine whose clock is a year off is told its certificate's dates and its own", async () => {
  const joined = await site.join("joined", systemClock)
  const start = (byMs: number) => Member.start({ home: joined, clock: clockOff(byMs), log: silentLog })
  await assert.rejects(start(YEAR_MS), { code: "CERTIFICATE_EXPIRED", message: /it ended at .*the clock here says/ })
  await assert.rejects(start(-YEAR_MS), { code: "CERTIFICATE_NOT_YET_VALID", message: /it begins at .*set the clock/ })
})

test("a catalog that has expired is refused with both times when no newer one is to be had", async () => {
  const joined = await site.join("stale", systemClock)
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
