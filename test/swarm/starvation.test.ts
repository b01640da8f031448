import assert from "node:assert/strict"
import { test } from "node:test"
import { defaultLimits } from "#swarm/core/limits.ts"
import { Starvation, type Waiting } from "#swarm/core/starvation.ts"

const { starvedMs, starvedMaxMs, starvedBlockMs } = defaultLimits

/** A member, and for how long of the time that passes it believes nobody. */
class Member {
  readonly starvation = new Starvation(defaultLimits, 0)
  nowMs = 0

  pass(ms: number, waiting: Waiting | ((nowMs: number) => Waiting), each: (nowMs: number) => void = () => undefined): number {
    let starved = 0
    for (const endMs = this.nowMs + ms; this.nowMs < endMs;) {
      this.nowMs += 100
      this.starvation.tick(typeof waiting === "string" ? waiting : waiting(this.nowMs), this.nowMs)
      each(this.nowMs)
      if (this.starvation.starved) starved += 100
    }
    return starved
  }
}

test("who waits in vain for what its own site says it has asks others after a while, and later for what is said of others", () => {
  assert.equal(new Member().pass(starvedMs - 100, "for-pieces"), 0)
  assert.equal(new Member().pass(starvedMs, "for-pieces"), 100)
  assert.equal(new Member().pass(2 * starvedMs - 100, "for-others"), 0)
  assert.equal(new Member().pass(2 * starvedMs, "for-others"), 100)
  assert.equal(new Member().pass(100 * starvedMs, "not"), 0)
})

test("it lasts for twice as long each time, also when the own site gives something meanwhile", () => {
  const member = new Member()
  member.pass(starvedMs - 100, "for-pieces")
  for (let lastsMs = starvedMs; lastsMs < starvedMaxMs; lastsMs *= 2) {
    assert.equal(
      member.pass(lastsMs, "for-pieces", () => member.starvation.fed()),
      lastsMs,
    )
    assert.ok(!member.starvation.alone)
    assert.equal(member.pass(starvedMs, "for-pieces"), 0)
  }
})

test("when nobody gives anything meanwhile either, it relies on nobody who is said to fetch, until somebody gives something", () => {
  const member = new Member()
  member.pass(2 * starvedMs, "for-pieces")
  assert.deepEqual([member.starvation.starved, member.starvation.alone], [true, true])
  member.pass(2 * starvedMs, "for-pieces", () => member.starvation.fed())
  assert.ok(!member.starvation.alone)
})

test("who has what it waits for in time is never starved", () => {
  const member = new Member()
  const fed = (nowMs: number) => (nowMs % starvedBlockMs === 0 ? member.starvation.fed() : undefined)
  assert.equal(member.pass(600_000, "for-pieces", fed), 0)
})

test("who gives a block now and then, or comes and goes, delays and doesn't stop", () => {
  const member = new Member()
  const aBlockNowAndThen = member.pass(3_600_000, "for-pieces", (nowMs) => {
    if (nowMs % (2 * starvedBlockMs) === 0) member.starvation.fed()
  })
  const comingAndGoing = new Member().pass(3_600_000, (nowMs) => (nowMs % 25_000 >= 200 ? "for-pieces" : "not"))
  assert.ok(aBlockNowAndThen > 0.8 * 3_600_000 && comingAndGoing > 0.8 * 3_600_000, `${aBlockNowAndThen}, ${comingAndGoing}`)
})
