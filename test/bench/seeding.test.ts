import assert from "node:assert/strict"
import { test } from "node:test"
import { planHosts } from "../../bench/lab/hosts.ts"
import { seedingFigures, seedingTable } from "../../bench/seeding-figures.ts"
import { readSeedingPolicy, seedingPolicyName } from "../../bench/seeding.ts"
import { readSimulatorOptions } from "../../bench/simulator/options.ts"
import { playScenario } from "../../bench/simulator/play.ts"
import type { SimulationResult } from "../../bench/simulator/result.ts"
import { scenarioWith } from "./lab-results.ts"

function played(...args: readonly string[]): SimulationResult[] {
  const options = readSimulatorOptions(["--size", "2MiB", "--rate", "2mbit", ...args])
  assert.ok(options)
  return options.scenarios.flatMap((scenario) =>
    options.policies.map((until) => playScenario(scenario, { ...options, until }, () => undefined)),
  )
}

/** Of clients: when each had the file, and when it left. */
function times({ hosts }: SimulationResult) {
  return hosts.flatMap(({ role, startedAtSeconds, seconds, leftAtSeconds }) =>
    role === "host" ? [{ done: startedAtSeconds + (seconds ?? Number.NaN), left: leftAtSeconds ?? Number.POSITIVE_INFINITY }] : [],
  )
}

test("policies are read from what they are called by, and others refused", () => {
  for (const text of ["useful", "threshold", "need", "ratio:1.5", "time:60s"])
    assert.equal(seedingPolicyName(readSeedingPolicy(text)), text)
  for (const text of ["", "never", "ratio:", "ratio:1s", "time:60", "time:1h", "ratio:-1"])
    assert.throws(() => readSeedingPolicy(text), /--until takes useful/, text)
})

test("hosts come in waves, or one by one within the time given and the first at once", () => {
  const starts = (arrive: string) =>
    planHosts(scenarioWith({ hosts: "9", arrive }))
      .filter(({ role }) => role === "host")
      .map(({ startMs }) => startMs)
      .sort((a, b) => a - b)
  assert.deepEqual(starts("waves:3:10s"), [0, 0, 0, 10_000, 10_000, 10_000, 20_000, 20_000, 20_000])
  const one = starts("over:60s")
  assert.equal(one[0], 0)
  assert.ok(one.every((ms) => ms < 60_000) && new Set(one).size > 5, one.join(" "))
  assert.throws(() => scenarioWith({ arrive: "waves:0:10s" }), /--arrive is together/)
  assert.throws(() => scenarioWith({ arrive: "over:60s", late: "2" }), /neither --late nor --kill/)
})

test("each host leaves when its policy says so, and not before it has the file", () => {
  const [time, ratio, threshold] = played("--hosts", "3", "--until", "time:20s,ratio:9,threshold")
  assert.ok(time && ratio && threshold)
  for (const { done, left } of times(time)) assert.ok(left - done >= 19.5 && left - done <= 20.5, `${done} to ${left}`)
  assert.equal(seedingFigures(ratio).stayed, 3)
  assert.ok(Math.abs(ratio.watchedSeconds - ratio.seconds - 600) < 1, `${ratio.seconds} to ${ratio.watchedSeconds}`)
  for (const { done, left } of times(threshold)) assert.ok(left - done >= 10 && left - done <= 11, `${done} to ${left}`)
  assert.match(
    seedingTable([time, ratio, threshold].map((result) => ({ result, originCopies: 1 }))),
    /time:20s .*\n.*ratio:9 .*\n.*threshold /,
  )
})

test("whoever came, all leave in the end, the last of them after the last downloader, and nobody is slower than with hosts that stay", () => {
  for (const arrive of ["together", "waves:2:30s", "over:60s"])
    for (const seed of ["1", "2"]) {
      const words = ["--hosts", "8", "--origin-rate", "1mbit", "--arrive", arrive, "--seed", seed]
      const [useful, stay] = played(...words, "--until", "useful,time:600s")
      assert.ok(useful && stay)
      const label = `${arrive}, seed ${seed}`
      assert.equal(seedingFigures(useful).stayed, 0, label)
      const all = times(useful)
      assert.ok(Math.max(...all.map(({ left }) => left)) > Math.max(...all.map(({ done }) => done)), label)
      const late = (result: SimulationResult) => seedingFigures(result).later?.median ?? Number.NaN
      assert.ok(late(useful) <= 1.1 * late(stay), `${label}: ${late(useful)} s, and ${late(stay)} s where all stay`)
      assert.ok(seedingFigures(useful).seedingSeconds < seedingFigures(stay).seedingSeconds / 4, label)
    }
})

test("for a slow host one stays of those who know it, and the others leave", () => {
  const [result] = played("--hosts", "8", "--slow", "1", "--until", "useful")
  assert.ok(result)
  const slowDone = Math.max(...times(result).map(({ done }) => done))
  assert.equal(times(result).filter(({ done, left }) => done < slowDone && left > slowDone).length, 1)
})
