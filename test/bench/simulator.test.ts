import assert from "node:assert/strict"
import { test } from "node:test"
import { idealSeconds, type Scenario } from "../../bench/scenario.ts"
import { blockBytesFor, playScenario, type PlayOptions } from "../../bench/simulator/play.ts"
import { hostsOf, simulationFigures, type SimulationResult } from "../../bench/simulator/result.ts"
import { scenarioWith, type Option } from "./lab-results.ts"

const KIB = 1_024
const options: PlayOptions = { blockBytes: null, found: 0, trace: false, until: null, limitSeconds: null }

function scenario(values: Partial<Record<Option, string>>, window = false): Scenario {
  return { ...scenarioWith({ size: "8MiB", rate: "20mbit", ...values }), window }
}

function play(of: Scenario, more: Partial<PlayOptions> = {}): SimulationResult {
  return playScenario(of, { ...options, ...more }, () => undefined)
}

function ratio(result: SimulationResult): number {
  const figures = simulationFigures(result)
  assert.equal(result.outcome, "finished")
  assert.equal(figures.finished, figures.expected)
  assert.ok(figures.ratio !== null)
  return figures.ratio
}

test("the same seed gives the same trace, another seed another", () => {
  const digest = (seed: string) => play(scenario({ hosts: "8", size: "2MiB", seed }), { trace: true }).digest
  const first = digest("3")
  assert.match(first ?? "", /^[0-9a-f]{64}$/)
  assert.equal(digest("3"), first)
  assert.notEqual(digest("4"), first)
})

test("twenty hosts that know the origin alone finish, in no less time than headers and acknowledgements leave", () => {
  const result = play(scenario({ hosts: "20" }))
  const took = ratio(result)
  assert.ok(took > 1.068 && took < 2, `${took} times size / rate`)
  assert.ok(result.linksPerHost > 5, `${result.linksPerHost} links`)
})

test("when a quarter of the hosts is killed midway, the rest finish", () => {
  const result = play(scenario({ hosts: "16", kill: "25%" }))
  ratio(result)
  const killed = hostsOf(result, "killed")
  assert.equal(killed.length, 4)
  for (const host of killed) assert.equal(host.seconds, null)
})

test("hosts on slow links, hosts that come late and origins that leave have times of their own", () => {
  const of = scenario({ hosts: "12", size: "4MiB", slow: "1", late: "2", origins: "2", leave: "1" })
  const result = play(of)
  ratio(result)
  const [slow] = hostsOf(result, "slow")
  assert.ok((slow?.seconds ?? 0) > 9 * idealSeconds(of), `the slow host took ${slow?.seconds} s`)
  for (const late of hostsOf(result, "late")) {
    assert.ok(Math.abs(late.startedAtSeconds - idealSeconds(of) / 2) < 0.01)
    assert.ok((late.seconds ?? 0) > idealSeconds(of))
  }
})

test("delay makes a swarm slower, and loss on a path with delay slower still", () => {
  const near = ratio(play(scenario({ hosts: "8", size: "4MiB" })))
  const far = ratio(play(scenario({ hosts: "8", size: "4MiB", delay: "40ms" })))
  const lossy = ratio(play(scenario({ hosts: "8", size: "4MiB", delay: "40ms", loss: "2%" })))
  assert.ok(near < far && far < lossy, `${near}, ${far} with delay, ${lossy} with loss too`)
})

test("an uplink with half the rate takes about twice the time", () => {
  const equal = ratio(play(scenario({ hosts: "8", size: "4MiB" })))
  const asymmetric = ratio(play(scenario({ hosts: "8", size: "4MiB", up: "10mbit", "origin-rate": "10mbit" })))
  assert.ok(asymmetric > 1.6 * equal && asymmetric < 2.6 * equal, `${asymmetric}, ${equal} with equal links`)
})

test("hosts that read in order while the file comes finish too", () => {
  ratio(play(scenario({ hosts: "6", size: "4MiB" }, true)))
})

test("blocks of a quarter of a piece predict what blocks of 16 KiB do, within a few per cent", () => {
  const means = [16 * KIB, 64 * KIB].map((blockBytes) => {
    const ratios = ["1", "2", "3"].map((seed) =>
      ratio(play(scenario({ hosts: "16", size: "48MiB", piece: "256KiB", rate: "100mbit", seed }), { blockBytes })),
    )
    return ratios.reduce((sum, each) => sum + each, 0) / ratios.length
  })
  const [fine = 0, coarse = 0] = means
  assert.ok(Math.abs(coarse / fine - 1) < 0.06, `${fine} with fine blocks, ${coarse} with coarse ones`)
})

test("blocks are coarse only in runs of very many bytes", () => {
  assert.equal(blockBytesFor({ hosts: 150, contentBytes: 64e6 }, 256 * KIB), 16 * KIB)
  assert.equal(blockBytesFor({ hosts: 1_000, contentBytes: 2_100e6 }, 2_048 * KIB), 512 * KIB)
  assert.equal(blockBytesFor({ hosts: 10_000, contentBytes: 2_100e6 }, 2_048 * KIB), 2_048 * KIB)
})

test("a run that is not done in its time says so", () => {
  const result = play(scenario({ hosts: "2" }), { limitSeconds: 1 })
  assert.equal(result.outcome, "time-limit")
  assert.equal(simulationFigures(result).ratio, null)
})
