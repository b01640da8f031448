import assert from "node:assert/strict"
import { test } from "node:test"
import { formatAppliesTo, hostNames, isFor, overridesInOrder, parseAppliesTo } from "#core/overrides.ts"

test("what an override is for comes out of its words as it went in", () => {
  for (const words of ["group:web", "group:other/web", "host:node07", "host:node*", "host:*", "host:a.b-c_d*"])
    assert.equal(formatAppliesTo(parseAppliesTo(words)), words)
  for (const words of [
    "",
    "web",
    "group:",
    "host:",
    "hosts:a",
    "group:Web",
    "group:a/b/c",
    "host:a/b",
    "host:A",
    "host:-a",
    `host:${"a".repeat(200)}`,
  ])
    assert.throws(() => parseAppliesTo(words), { name: "GridError" }, words)
})

test("groups go before patterns of hosts, those before single hosts, and others stay as they came", () => {
  const words = ["host:b", "host:n*", "group:z", "host:a", "group:y", "host:*"].map(parseAppliesTo)
  assert.deepEqual(overridesInOrder(words, (one) => one).map(formatAppliesTo), [
    "group:z",
    "group:y",
    "host:n*",
    "host:*",
    "host:b",
    "host:a",
  ])
})

test("a host is known by its name and the first part of it, whatever their case, and by its groups", () => {
  const host = { names: hostNames("Node07.Example.ORG"), groups: ["web", "other/db"] }
  assert.deepEqual(host.names, ["node07.example.org", "node07"])
  for (const words of [
    "host:node07",
    "host:node*",
    "host:*.example.org",
    "host:node07.example.org",
    "host:*",
    "group:web",
    "group:other/db",
  ])
    assert.ok(isFor(parseAppliesTo(words), host), words)
  for (const words of ["host:node0", "host:ode*", "host:example.org", "group:db", "group:other/web", "host:node07.example"])
    assert.ok(!isFor(parseAppliesTo(words), host), words)
  for (const name of ["", ".", "-a", "a/b", "a b", "a".repeat(300), "../x"])
    assert.throws(() => hostNames(name), { code: "NAME_INVALID" }, name)
})
