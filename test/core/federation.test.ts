import assert from "node:assert/strict"
import { test } from "node:test"
import type { Agreement } from "#core/documents.ts"
import { isInForce, mayHave, type Side } from "#core/federation.ts"
import { isOfPattern, namePattern } from "#core/name-patterns.ts"

const digests: Readonly<Record<string, string>> = { lab: "a".repeat(64), cineca: "b".repeat(64) }
const agreement = (site: string, changed: Partial<Agreement> = {}): Agreement => ({
  site,
  rootDigest: (digests[site] ?? "c".repeat(64)) as Agreement["rootDigest"],
  authorities: ["AAAA"],
  servers: [{ api: "192.0.2.1:1", swarm: "192.0.2.1:2", dht: "192.0.2.1:3" }],
  shares: [],
  mirrors: [],
  endedAtMs: null,
  ...changed,
})
const side = (site: string, ...federation: readonly Agreement[]): Side => ({
  document: { site, federation: [...federation] },
  rootDigest: digests[site] ?? "",
})

test("an agreement counts only while both documents name each other, by root, and neither has ended it", () => {
  const both = [side("lab", agreement("cineca")), side("cineca", agreement("lab"))] as const
  assert.ok(isInForce(...both))
  assert.ok(!isInForce(side("lab", agreement("cineca")), side("cineca")))
  assert.ok(!isInForce(side("lab"), side("cineca", agreement("lab"))))
  assert.ok(!isInForce(side("lab", agreement("cineca", { endedAtMs: 1 })), both[1]))
  assert.ok(!isInForce(both[0], side("cineca", agreement("lab", { endedAtMs: 1 }))))
  const otherRoot = agreement("cineca", { rootDigest: "d".repeat(64) as Agreement["rootDigest"] })
  assert.ok(!isInForce(side("lab", otherRoot), both[1]))
})

test("the own members may have every image, another site's what is shared, a stranger's nothing", () => {
  const { document } = side("lab", agreement("cineca", { shares: ["rhel/*", "web"] }), agreement("over", { shares: ["*"], endedAtMs: 1 }))
  const may = (site: string) => ["rhel/base", "web", "rhel", "secret"].map((name) => mayHave(document, site, name))
  assert.deepEqual(may("lab"), [true, true, true, true])
  assert.deepEqual(may("cineca"), [true, true, false, false])
  for (const site of ["over", "elsewhere"]) assert.deepEqual(may(site), [false, false, false, false])
})

test("a pattern is of names as people read it", () => {
  const cases: [pattern: string, of: string[], notOf: string[]][] = [
    ["*", ["web", "hpc/tools", "a/b/c/d"], []],
    ["hpc/*", ["hpc/tools", "hpc/a/b/c"], ["hpc", "hpcx/a", "x/hpc/a"]],
    ["web", ["web"], ["web2", "web/a", "we"]],
    ["deb*", ["debian", "deb"], ["debian/12", "xdeb"]],
    ["*/base", ["rhel/base"], ["base", "a/b/base", "rhel/base2"]],
    ["a*b*c", ["abc", "axbyc", "abbcc"], ["ab", "acb", "abcd"]],
    ["*a*", ["a", "banana"], ["b", "a/b"]],
  ]
  for (const [pattern, of, notOf] of cases) {
    for (const name of of) assert.ok(isOfPattern(name, pattern), `${name} is of ${pattern}`)
    for (const name of notOf) assert.ok(!isOfPattern(name, pattern), `${name} is not of ${pattern}`)
  }
})

test("a pattern out of form is refused, and a hostile one costs no time", () => {
  for (const pattern of ["", "/", "a//b", "A", "a/b/c/d/e", "../a", "a b", "x".repeat(129)])
    assert.throws(() => namePattern(pattern), { code: "NAME_INVALID" })
  const startedMs = performance.now()
  assert.ok(!isOfPattern("a".repeat(128), `${"*a".repeat(60)}*b`))
  assert.ok(performance.now() - startedMs < 100)
})
