import assert from "node:assert/strict"
import { test } from "node:test"
import { issueAuthority } from "#crypto/certificate.ts"
import { siteName } from "#core/identifiers.ts"
import { attentionOf } from "#trust/attention.ts"
import { openCatalog, rootDigest } from "#trust/catalog.ts"
import { createRepository } from "#trust/create-repository.ts"
import { DAY_MS, keys, repositoryKeys, seedOf, siteDocument, startMs } from "./repositories.ts"

const authority = await issueAuthority({
  site: siteName("lab"),
  seed: seedOf("authority"),
  notBeforeMs: startMs,
  notAfterMs: startMs + 3_650 * DAY_MS,
  serial: seedOf("serial").subarray(0, 16),
})
const document = { ...siteDocument(), authorities: [authority.toString("base64")] }
const files = createRepository({ document, keys: repositoryKeys(keys), nowMs: startMs })
const catalog = openCatalog(files, { rootDigest: rootDigest(files) }, startMs)
const codesAt = (days: number) => attentionOf(catalog, startMs + days * DAY_MS).map(({ about, code }) => `${about} ${code}`)
const ofPeople = (days: number) => codesAt(days).filter((code) => /^(root|targets|publisher) expire/.test(code))

test("a new site has nothing to attend to but that one key signs for each role of people", () => {
  assert.deepEqual(codesAt(0), ["root one-key", "targets one-key", "publisher one-key"])
})

test("what people sign is called for 60 days before it ends, urgently 14 days before, and when it has ended", () => {
  assert.deepEqual(ofPeople(365 - 61), [])
  assert.deepEqual(ofPeople(365 - 60), ["root expires-soon", "targets expires-soon", "publisher expires-soon"])
  assert.deepEqual(ofPeople(365 - 14), ["root expires-urgently", "targets expires-urgently", "publisher expires-urgently"])
  assert.deepEqual(ofPeople(365), ["root expired", "targets expired", "publisher expired"])
})

test("an expired root says how it is brought back, and the most urgent comes first", () => {
  const [first] = attentionOf(catalog, startMs + 365 * DAY_MS)
  assert.equal(first?.code, "expired")
  const root = attentionOf(catalog, startMs + 365 * DAY_MS).find(({ about }) => about === "root")
  assert.match(root?.detail ?? "", /trust propose root\.change --role root --renew.*trust sign.*trust apply/)
})

test("a timestamp that no server signs anew is noticed before it ends", () => {
  assert.ok(!codesAt(2).includes("timestamp not-refreshed"))
  assert.ok(codesAt(2.5).includes("timestamp not-refreshed"))
  assert.ok(codesAt(3).includes("timestamp expired"))
})

test("the authority in force is called for half a year before it ends", () => {
  assert.ok(!codesAt(3_650 - 181).includes("authority expires-soon"))
  assert.ok(codesAt(3_650 - 180).includes("authority expires-soon"))
})
