import assert from "node:assert/strict"
import { test } from "node:test"
import { defaultLimits } from "#swarm/core/limits.ts"
import { WanBudget } from "#swarm/core/wan-budget.ts"

const BLOCK = 16_384
const BUDGET = 1_000_000

/** Members of one site that send as fast as they may, and tell one another. `delayMs`: until what one tells is heard. */
function play(
  budgets: readonly WanBudget[],
  fromMs: number,
  forMs: number,
  options: { delayMs: number; sending?: (index: number, nowMs: number) => boolean },
) {
  const sentBytes = budgets.map(() => 0)
  const mail: { readonly atMs: number; readonly from: number; readonly rate: number; readonly saidAtMs: number }[] = []
  for (let nowMs = fromMs; nowMs < fromMs + forMs; nowMs += 10) {
    for (const [index, budget] of budgets.entries()) {
      if (nowMs % 100 === 0) budget.tick(nowMs)
      if (options.sending?.(index, nowMs) ?? true)
        while (budget.mayWrite(nowMs)) {
          budget.wrote(BLOCK, nowMs)
          sentBytes[index] = (sentBytes[index] ?? 0) + BLOCK
        }
      if (nowMs % 1_000 === 0)
        mail.push({ atMs: nowMs + options.delayMs, from: index, rate: budget.sentBytesPerSecond(nowMs), saidAtMs: nowMs })
    }
    for (const { from, rate, saidAtMs } of mail.filter(({ atMs }) => atMs === nowMs))
      for (const [index, budget] of budgets.entries()) if (index !== from) budget.hear(`member ${from}`, rate, saidAtMs)
  }
  return sentBytes.map((bytes) => (bytes * defaultLimits.wireShare * 1_000) / forMs)
}

const sum = (rates: readonly number[]) => rates.reduce((total, rate) => total + rate, 0)
const limited = (count: number) => Array.from({ length: count }, () => new WanBudget(BUDGET, defaultLimits, 0))

test("without a budget everything may go out at once", () => {
  const budget = new WanBudget(null, defaultLimits, 0)
  for (let count = 0; count < 1_000; count += 1) {
    assert.ok(budget.mayWrite(0))
    budget.wrote(BLOCK, 0)
  }
  assert.equal(budget.sentBytesPerSecond(0), 0)
})

for (const count of [1, 2, 9, 30])
  test(`${count} members that send keep to the budget together, and have equal parts of it`, () => {
    const budgets = limited(count)
    play(budgets, 0, 5_000, { delayMs: 200 })
    const rates = play(budgets, 5_000, 60_000, { delayMs: 200 })
    assert.ok(sum(rates) > 0.9 * BUDGET && sum(rates) < 1.05 * BUDGET, `${sum(rates)} of ${BUDGET}`)
    for (const rate of rates) assert.ok(Math.abs(rate / (sum(rates) / count) - 1) < 0.25, rates.map(Math.round).join(", "))
  })

test("all that begin at once take little until they have heard of one another", () => {
  const rates = play(limited(9), 0, 1_000, { delayMs: 200 })
  assert.ok(sum(rates) < 1.6 * BUDGET, `${sum(rates)} in the first second`)
})

test("what one leaves the others take", () => {
  const budgets = limited(3)
  play(budgets, 0, 10_000, { delayMs: 200 })
  const rates = play(budgets, 10_000, 60_000, { delayMs: 200, sending: (index, nowMs) => index > 0 || nowMs < 11_000 })
  assert.ok((rates[0] ?? 0) < 0.05 * BUDGET && sum(rates) > 0.9 * BUDGET, rates.map(Math.round).join(", "))
})

test("a member obeys the least of what it was told itself and what servers say, until they say it no more", () => {
  const budget = new WanBudget(null, defaultLimits, 0)
  budget.rule("server 1", 2_000, 0)
  budget.rule("server 2", 1_000, 0)
  assert.equal(budget.bytesPerSecond, 1_000)
  assert.equal(budget.own, null)
  budget.rule("server 1", 2_000, 1_000)
  budget.tick(defaultLimits.ruleLapsesMs)
  assert.equal(budget.bytesPerSecond, 2_000)
  budget.tick(defaultLimits.ruleLapsesMs + 1_000)
  assert.equal(budget.bytesPerSecond, null)
})

test("a budget of nothing, or less, is refused", () => {
  for (const bytesPerSecond of [0, -1, Number.NaN]) assert.throws(() => new WanBudget(bytesPerSecond, defaultLimits, 0), RangeError)
})

test("what is remembered of others is bounded, and of those alone who send", () => {
  const budget = new WanBudget(BUDGET, { ...defaultLimits, sendersKept: 4, budgetRules: 2 }, 0)
  for (let index = 0; index < 1_000; index += 1) {
    budget.hear(`idle ${index}`, 0, 0)
    budget.hear(`member ${index}`, BUDGET, 0)
    budget.rule(`server ${index}`, BUDGET - index, 0)
  }
  assert.equal(budget.bytesPerSecond, BUDGET - 1)
  // Whatever they say, one of five parts is left to it.
  const seconds = 60
  let sentBytes = 0
  for (let nowMs = 0; nowMs < seconds * 1_000; nowMs += 10) {
    if (nowMs % 100 === 0) budget.tick(nowMs)
    if (nowMs % 1_000 === 0) for (let index = 0; index < 1_000; index += 1) budget.hear(`member ${index}`, BUDGET, nowMs)
    while (budget.mayWrite(nowMs)) {
      budget.wrote(BLOCK, nowMs)
      sentBytes += BLOCK
    }
  }
  assert.ok(sentBytes / seconds > BUDGET / 6, `${sentBytes / seconds} of ${BUDGET}`)
})
