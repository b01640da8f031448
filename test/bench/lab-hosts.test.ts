import assert from "node:assert/strict"
import { test } from "node:test"
import { planHosts, type Fate } from "../../bench/lab/hosts.ts"
import { idealSecondsAt } from "../../bench/scenario.ts"
import { scenarioWith } from "./lab-results.ts"

const countOf = (fate: Fate, scenario: ReturnType<typeof scenarioWith>) => planHosts(scenario).filter((host) => host.fate === fate).length

test("origins come first, and every host has an address of its own", () => {
  const hosts = planHosts(scenarioWith({ hosts: "300", origins: "2" }))
  assert.deepEqual(
    hosts.slice(0, 3).map(({ role }) => role),
    ["origin", "origin", "host"],
  )
  assert.equal(new Set(hosts.map(({ host }) => host)).size, 302)
  assert.equal(hosts[301]?.host, "10.77.1.46")
})

test("the shares that are slow, late, killed and leaving are as asked for, and no host has two fates", () => {
  const scenario = scenarioWith({ hosts: "16", origins: "2", slow: "1", late: "3", kill: "25%", leave: "1" })
  assert.equal(countOf("slow", scenario), 1)
  assert.equal(countOf("late", scenario), 3)
  assert.equal(countOf("killed", scenario), 4)
  assert.equal(countOf("leaving", scenario), 1)
  assert.equal(countOf("usual", scenario), 1 + 8)
})

test("links have the rates of their kind: origins, hosts up and down, slow ones a tenth", () => {
  const hosts = planHosts(scenarioWith({ hosts: "2", slow: "1", rate: "80mbit", up: "40mbit", "origin-rate": "800mbit" }))
  const rates = new Map(hosts.map((host) => [`${host.role} ${host.fate}`, [host.upBytesPerSecond, host.downBytesPerSecond]]))
  assert.deepEqual(rates.get("origin usual"), [100e6, 100e6])
  assert.deepEqual(rates.get("host usual"), [5e6, 10e6])
  assert.deepEqual(rates.get("host slow"), [0.5e6, 1e6])
})

test("the same seed chooses the same hosts, another one others", () => {
  const killed = (seed: string) =>
    planHosts(scenarioWith({ hosts: "50", kill: "20%", seed })).flatMap(({ fate, number }) => (fate === "killed" ? number : []))
  assert.deepEqual(killed("7"), killed("7"))
  assert.notDeepEqual(killed("7"), killed("8"))
})

test("hosts are spread over the sites, the origins are at the first, and replicas are servers of the others", () => {
  const hosts = planHosts(scenarioWith({ hosts: "10", origins: "2", sites: "3", replicas: "1" }))
  assert.deepEqual(
    hosts.map(({ site, member }) => `${site} ${member}`),
    [
      "0 server",
      "0 server",
      "0 client",
      "0 client",
      "0 client",
      "0 client",
      "1 server",
      "1 client",
      "1 client",
      "2 server",
      "2 client",
      "2 client",
    ],
  )
})

test("a host at a site without origins has its ideal by the wide-area link, where that is the slower", () => {
  const scenario = scenarioWith({ hosts: "4", sites: "2", size: "10000000", rate: "80mbit", wan: "8mbit" })
  assert.deepEqual([idealSecondsAt(scenario, 0), idealSecondsAt(scenario, 1)], [1, 10])
  assert.equal(idealSecondsAt(scenarioWith({ hosts: "4", sites: "2", size: "10000000", rate: "80mbit", wan: "1gbit" }), 1), 1)
})
