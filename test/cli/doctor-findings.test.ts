import assert from "node:assert/strict"
import { test } from "node:test"
import type { Facts, HomeFacts } from "../../cli/doctor/facts.ts"
import { findingsOf } from "../../cli/doctor/findings.ts"

const HOUR_MS = 3_600_000
const nowMs = 1_700_000_000_000
const home: HomeFacts = {
  directory: "/var/lib/imagegrid",
  role: "server",
  isRunning: true,
  looseFiles: [],
  freeBytes: 500e9,
  totalBytes: 1e12,
  freeInodeShare: 0.9,
  remoteFileSystem: null,
  certificateFromMs: nowMs - HOUR_MS,
  certificateUntilMs: nowMs + 100 * HOUR_MS,
  catalogUntilMs: nowMs + 70 * HOUR_MS,
  attention: [],
}
const server = { address: "192.0.2.7:7400", answers: true, clockAheadMs: 12, auditFault: null } as const
const well = {
  nowMs,
  machine: { nodeVersion: "v24.21.0", tarFault: null, xattrFault: null, openFilesMax: 65_536, stagingFreeBytes: 20e9 },
  home,
  servers: [server],
  ports: [{ service: "api", address: "192.0.2.7:7400", state: "answers", detail: "" }],
  dht: { asked: 2, reached: 2 },
} as const satisfies Facts
const machine = (change: Partial<Facts["machine"]>): Facts => ({ ...well, machine: { ...well.machine, ...change } })
const ofHome = (change: Partial<HomeFacts>): Facts => ({ ...well, home: { ...home, ...change } })
const port = (state: Facts["ports"][number]["state"]): Facts => ({ ...well, ports: [{ ...well.ports[0], state, detail: "EACCES" }] })

test("where all is well every finding is ok, and asks for nothing", () => {
  const findings = findingsOf(well)
  assert.ok(findings.length > 8)
  assert.deepEqual(new Set(findings.map(({ severity, advice }) => `${severity} ${advice}`)), new Set(["ok null"]))
})

const expired = { about: "root", code: "expired", detail: "root ended", atMs: nowMs - 1 } as const
const soon = { about: "targets", code: "expires-soon", detail: "targets ends; its holders sign it anew", atMs: nowMs + 1 } as const
const unreached = { address: "192.0.2.8:7400", answers: false, code: "SERVERS_UNREACHABLE", detail: "ECONNREFUSED" } as const
for (const [what, facts, about, severity, words] of [
  ["an old Node", machine({ nodeVersion: "v20.1.0" }), "node", "problem", /24 is needed/],
  ["a tar that is not GNU's", machine({ tarFault: "found bsdtar" }), "tar", "problem", /bsdtar/],
  ["a tar without extended attributes", machine({ xattrFault: "XATTR support is not available" }), "tar", "problem", /XATTR/],
  ["few open files", machine({ openFilesMax: 1_024 }), "open-files", "warning", /16384/],
  ["secret files that are open to others", ofHome({ looseFiles: ["keys/root.key"] }), "key-files", "problem", /keys\/root\.key/],
  ["a full disk", ofHome({ freeBytes: 100e6 }), "disk", "problem", /100\.0 MB/],
  ["a disk that fills up", ofHome({ freeBytes: 40e9 }), "disk", "warning", /40\.0 GB/],
  ["no inodes left", ofHome({ freeInodeShare: 0.01 }), "inodes", "warning", /1\.0 %/],
  ["a home on another machine's disk", ofHome({ remoteFileSystem: "NFS" }), "file-system", "warning", /NFS/],
  ["a certificate that has ended", ofHome({ certificateUntilMs: nowMs - HOUR_MS }), "certificate", "problem", /ended/],
  ["one that is not valid yet", ofHome({ certificateFromMs: nowMs + HOUR_MS }), "certificate", "problem", /yet/],
  ["one that was not renewed", ofHome({ certificateUntilMs: nowMs + HOUR_MS }), "certificate", "warning", /good for/],
  ["a catalog that lapsed", ofHome({ catalogUntilMs: nowMs - 1 }), "catalog", "problem", /lapsed/],
  ["one that lapses soon", ofHome({ catalogUntilMs: nowMs + HOUR_MS }), "catalog", "warning", /good for/],
  ["a role that has ended", ofHome({ attention: [expired] }), "root", "problem", /root ended/],
  ["one that ends soon", ofHome({ attention: [soon] }), "targets", "warning", /targets ends/],
  ["a clock that is a little off", { ...well, servers: [{ ...server, clockAheadMs: -8_000 }] }, "clock", "warning", /behind/],
  ["a clock that is wrong", { ...well, servers: [{ ...server, clockAheadMs: 400_000 }] }, "clock", "problem", /ahead/],
  ["an audit log that does not hold", { ...well, servers: [{ ...server, auditFault: "line 3" }] }, "audit-log", "problem", /line 3/],
  ["one server that is down", { ...well, servers: [server, unreached] }, "servers", "warning", /192\.0\.2\.8/],
  ["no server that a client reaches", { ...ofHome({ role: "client" }), servers: [unreached] }, "servers", "problem", /192\.0\.2\.8/],
  ["a port that another has", port("taken"), "ports", "problem", /taken/],
  ["a port that can't be had", port("refused"), "ports", "problem", /EACCES/],
  ["a port that nobody reaches", port("silent"), "ports", "problem", /not reached/],
  ["UDP that does not get through", { ...well, dht: { asked: 3, reached: 0 } }, "dht", "problem", /none of 3/],
  ["a home that can't be opened", { ...well, home: { code: "KEY_INVALID", detail: "mode 0644" } }, "home", "problem", /0644/],
] as const satisfies readonly (readonly [string, Facts, string, string, RegExp])[])
  test(`${what}: found, with what to do`, () => {
    const bad = findingsOf(facts).filter((finding) => finding.severity !== "ok")
    assert.deepEqual(
      bad.map((finding) => [finding.about, finding.severity]),
      [[about, severity]],
    )
    assert.match(bad[0]?.found ?? "", words)
    assert.ok(bad[0]?.advice !== null || about === "targets", "of what ends soon the finding itself says what to do")
  })

test("a client needs no more files than it uses, and says where it can't stage much", () => {
  const facts = { ...ofHome({ role: "client" }), machine: { ...well.machine, openFilesMax: 1_024, stagingFreeBytes: 1e9 } }
  const bad = findingsOf(facts).filter(({ severity }) => severity !== "ok")
  assert.deepEqual(
    bad.map(({ about, severity }) => `${about} ${severity}`),
    ["staging warning"],
  )
})
