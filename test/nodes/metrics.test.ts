import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { after, before, test } from "node:test"
import { address } from "../../core/address.ts"
import { systemClock } from "../../core/clock.ts"
import { routes } from "../../core/wire.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { formatMetrics, metricsOf, type Measured } from "../../nodes/metrics.ts"
import { TestSite } from "../member/site.ts"
import { newRepository, open, startMs } from "../trust/repositories.ts"

const DAY_SECONDS = 24 * 3_600

let site: TestSite
before(async () => {
  site = await TestSite.start()
})
after(() => site[Symbol.asyncDispose]())

type Family = { readonly help: string; readonly type: string; readonly samples: ReadonlyMap<string, number> }

/** Reads the text format strictly (prometheus.io/docs/instrumenting/exposition_formats): each family once, HELP, TYPE, then its samples. */
function read(text: string): Map<string, Family> {
  assert.ok(text.endsWith("\n") && !text.includes("\n\n") && !text.includes("\r"))
  const families = new Map<string, Family & { readonly samples: Map<string, number> }>()
  let current = ""
  for (const line of text.slice(0, -1).split("\n")) {
    const help = /^# HELP ([a-z_]+) ((?:[^\\]|\\\\|\\n)+)$/.exec(line)
    const type = /^# TYPE ([a-z_]+) (gauge|counter)$/.exec(line)
    if (help !== null) {
      current = help[1] ?? ""
      assert.ok(!families.has(current), `${current} comes twice`)
      families.set(current, { help: help[2] ?? "", type: "", samples: new Map() })
      continue
    }
    const family = families.get(current)
    assert.ok(family !== undefined, line)
    if (type !== null) {
      assert.deepEqual([type[1], family.type, family.samples.size], [current, "", 0])
      families.set(current, { ...family, type: type[2] ?? "" })
      assert.equal(type[2] === "counter", current.endsWith("_total"), current)
      continue
    }
    const sample = /^([a-z_]+)(\{[a-z]+="(?:[^"\\]|\\\\|\\"|\\n)*"\})? (-?[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?)$/.exec(line)
    assert.ok(sample !== null && sample[1] === current && family.type !== "", line)
    const labels = sample[2] ?? ""
    assert.ok(!family.samples.has(labels), line)
    family.samples.set(labels, Number(sample[3]))
  }
  for (const [name, { samples }] of families) assert.ok(samples.size > 0, `${name} has no sample`)
  return families
}

const measured = (change: Partial<Measured> = {}): Measured => ({
  catalog: open(newRepository()),
  certificateExpiresAtMs: startMs + 90_500,
  layersHeld: 3,
  heldBytes: 3_000,
  traffic: { sentBytes: 10, fromServersBytes: 20, fromClientsBytes: 30, fromOtherSitesBytes: 5 },
  peerCount: 4,
  dhtNodeCount: 6,
  grid: null,
  diskFreeBytes: 7_000,
  memoryBytes: 8_000,
  cpuSeconds: 1.5,
  audit: { entries: 17, fault: null },
  nowMs: startMs,
  ...change,
})
const gauges = (change?: Partial<Measured>) => read(formatMetrics(metricsOf(measured(change))))
const one = (families: ReadonlyMap<string, Family>, name: string, labels = "") => families.get(name)?.samples.get(labels)

test("every role, the certificate and the catalog say in seconds how long they have, below zero when their time is over", () => {
  const now = gauges()
  assert.deepEqual(
    [...(now.get("imagegrid_role_expiry_seconds")?.samples ?? [])],
    [
      ['{role="root"}', 365 * DAY_SECONDS],
      ['{role="timestamp"}', 3 * DAY_SECONDS],
      ['{role="snapshot"}', 30 * DAY_SECONDS],
      ['{role="targets"}', 365 * DAY_SECONDS],
      ['{role="publisher"}', 365 * DAY_SECONDS],
    ],
  )
  assert.equal(one(now, "imagegrid_certificate_expiry_seconds"), 90.5)
  assert.equal(one(now, "imagegrid_catalog_age_seconds"), 0)
  const later = gauges({ nowMs: startMs + 4 * DAY_SECONDS * 1_000 })
  assert.equal(one(later, "imagegrid_role_expiry_seconds", '{role="timestamp"}'), -DAY_SECONDS)
  assert.equal(one(later, "imagegrid_role_expiry_seconds", '{role="root"}'), 361 * DAY_SECONDS)
  assert.equal(one(later, "imagegrid_certificate_expiry_seconds"), 90.5 - 4 * DAY_SECONDS)
  assert.equal(one(later, "imagegrid_catalog_age_seconds"), 4 * DAY_SECONDS)
})

test("the other figures are those that were measured", () => {
  const catalog = open(newRepository())
  const revoked = { ...catalog, site: { ...catalog.site, revoked: ["aa".repeat(16), "bb".repeat(16)] } }
  const now = gauges({ catalog: revoked, audit: { entries: 17, fault: "line 3" } })
  assert.equal(one(now, "imagegrid_catalog_seq"), catalog.seq)
  assert.equal(one(now, "imagegrid_layers_held"), 3)
  assert.equal(one(now, "imagegrid_members_revoked"), 2)
  assert.equal(one(now, "imagegrid_audit_entries"), 17)
  assert.equal(one(now, "imagegrid_audit_holds"), 0)
  assert.equal(one(gauges(), "imagegrid_audit_holds"), 1)
  assert.equal(one(now, "imagegrid_layers_held_bytes"), 3_000)
  assert.equal(one(now, "imagegrid_swarm_sent_bytes_total"), 10)
  assert.equal(one(now, "imagegrid_swarm_received_bytes_total", '{from="clients"}'), 30)
  assert.equal(one(now, "imagegrid_swarm_received_other_sites_bytes_total"), 5)
  assert.equal(one(now, "process_cpu_seconds_total"), 1.5)
  assert.equal(one(now, "imagegrid_grid_images_under_goal"), undefined, "it takes no part in the grid yet")
  const server = {
    memberId: "aa".repeat(16),
    site: "main",
    weight: 1,
    phase: "serving",
    isFull: false,
    heldBytes: 1,
    freeBytes: 1,
  } as const
  const servers = [
    { ...server, standing: "live" as const },
    { ...server, standing: "out" as const },
  ]
  const atRisk = [{ image: "main/os:1", liveCopies: 1, sources: 1 }]
  const grid = gauges({ grid: { servers, underGoal: 2, atRisk, fetching: ["main/os:1"], wanted: 3, doubted: [] } })
  assert.equal(one(grid, "imagegrid_grid_servers", '{standing="live"}'), 1)
  assert.equal(one(grid, "imagegrid_grid_servers", '{standing="suspect"}'), 0)
  assert.equal(one(grid, "imagegrid_grid_images_under_goal"), 2)
  assert.equal(one(grid, "imagegrid_grid_images_at_risk"), 1)
  assert.equal(one(grid, "imagegrid_grid_repairs"), 4)
})

test("quotes, backslashes and line ends in labels and helps are escaped", () => {
  const text = formatMetrics([{ name: "odd", help: 'a\\b\n"c"', type: "gauge", samples: [{ labels: { role: 'a\\b\n"c"' }, value: 1 }] }])
  assert.equal(text, '# HELP odd a\\\\b\\n"c"\n# TYPE odd gauge\nodd{role="a\\\\b\\n\\"c\\""} 1\n')
  assert.equal(one(read(text), "odd", '{role="a\\\\b\\n\\"c\\""}'), 1)
})

test("a member scrapes a running server, and docs/operating.md names every figure", async () => {
  const member = await Member.start({ home: await site.join("scraper"), clock: systemClock, log: silentLog }, { network: "api-only" })
  const now = read((await member.api.bytes(address(site.server.apiAddress), { path: routes.metrics })).toString())
  await member.close()
  assert.ok((one(now, "imagegrid_role_expiry_seconds", '{role="root"}') ?? 0) > 364 * DAY_SECONDS)
  assert.ok((one(now, "imagegrid_certificate_expiry_seconds") ?? 0) > 6 * DAY_SECONDS)
  assert.equal(one(now, "imagegrid_catalog_seq"), site.server.member.catalogs.catalog.seq)
  assert.equal(one(now, "imagegrid_audit_entries"), 3, "site-created, invited, joined")
  const documented = readFileSync(new URL("../../docs/operating.md", import.meta.url), "utf8")
  for (const name of now.keys()) assert.ok(documented.includes(`\`${name}`), `docs/operating.md lacks ${name}`)
})

test("the dashboard for Grafana and the alarms for Prometheus name no figure that a server lacks", () => {
  const server = {
    memberId: "aa".repeat(16),
    site: "main",
    weight: 1,
    phase: "serving",
    isFull: false,
    heldBytes: 1,
    freeBytes: 1,
  } as const
  const grid = { servers: [{ ...server, standing: "live" as const }], underGoal: 0, atRisk: [], fetching: [], wanted: 0, doubted: [] }
  const known = new Set(metricsOf(measured({ grid })).map(({ name }) => name))
  for (const file of ["grafana/imagegrid.json", "prometheus/alerts.yml"]) {
    const text = readFileSync(new URL(`../../docs/${file}`, import.meta.url), "utf8")
    const named = text.match(/\b(?:imagegrid|process)_[a-z_]+/g) ?? []
    assert.ok(named.length >= 5, file)
    for (const name of named) assert.ok(known.has(name), `${file}: ${name}`)
  }
})
