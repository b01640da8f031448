/** The danger: metadata that is rightly signed, and says something that a library reads more generously than it should. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { METADATA_PATH, ROOT_PATH } from "#trust/catalog-file.ts"
import { readMetadata } from "#trust/metadata.ts"
import { bodyOf, forge, newRepository, open, refusedWith, withImages } from "./repositories.ts"

const files = withImages(newRepository(), "debian:1")
const refused = refusedWith("CATALOG_INVALID")
/** Named by the check of the form, so not by chance for a digest or signature that no longer fits. */
const refusedForItsForm = refusedWith("CATALOG_INVALID", / metadata: | at no date| a top-level role/)
type Tree = { [key: string]: Tree }

/** A copy of a role's body with one value put at a place in it. */
function changed(role: "root" | "timestamp" | "snapshot" | "targets" | "publisher", place: readonly string[], value: unknown): unknown {
  const body = bodyOf(files, role) as unknown as Tree
  let at = body
  for (const step of place.slice(0, -1)) at = at[step] ?? assert.fail(`no ${step}`)
  at[place.at(-1) ?? ""] = value as Tree
  return body
}

const listed = { version: 1, length: 10, hashes: { sha256: "ab".repeat(32) } }
for (const [what, role, place, value] of [
  ["a file listed with no hash", "snapshot", ["meta", "targets.json", "hashes"], {}],
  ["a file listed without hashes", "snapshot", ["meta", "targets.json"], { version: 1, length: 10 }],
  ["a file listed without length", "timestamp", ["meta", "snapshot.json"], { version: 1, hashes: listed.hashes }],
  ["a weaker hash", "snapshot", ["meta", "targets.json", "hashes"], { md5: "ab".repeat(16) }],
  ["a second, unknown hash", "timestamp", ["meta", "snapshot.json", "hashes"], { ...listed.hashes, sha1: "ab".repeat(20) }],
  ["a target with no hash", "publisher", ["targets", "images/debian/1.json", "hashes"], {}],
  ["a float where a whole number belongs", "publisher", ["targets", "images/debian/1.json", "length"], 10.5],
  ["custom fields of a target", "publisher", ["targets", "images/debian/1.json", "custom"], { weight: 1.5 }],
  ["a float as version", "timestamp", ["version"], 1.5],
  ["a negative version", "timestamp", ["version"], -1],
  ["a version as text", "snapshot", ["version"], "9"],
  ["a version beyond what is safe to count", "timestamp", ["version"], 2 ** 53],
  ["a date that is none", "timestamp", ["expires"], "2026-99-99T00:00:00Z"],
  ["a date in another form", "timestamp", ["expires"], "Sat, 01 Jan 2101 00:00:00 GMT"],
  ["a date with a zone", "timestamp", ["expires"], "2101-01-01T00:00:00+02:00"],
  ["another specification", "root", ["spec_version"], "2.0.0"],
  ["consistent snapshots, whose files are named otherwise", "root", ["consistent_snapshot"], true],
  ["a threshold of none", "root", ["roles", "timestamp", "threshold"], 0],
  ["a role without keys", "root", ["roles", "timestamp", "keyids"], []],
  ["a fifth top-level role", "root", ["roles", "mirrors"], { keyids: ["ab".repeat(32)], threshold: 1 }],
  ["a field that nobody knows", "targets", ["comment"], "hello"],
  ["hash-prefix delegation", "targets", ["delegations", "roles", "0", "path_hash_prefixes"], ["0"]],
  ["succinct delegation", "targets", ["delegations", "succinct_roles"], { keyids: [], threshold: 1, bit_length: 1, name_prefix: "x" }],
  ["a publisher named like a top-level role", "targets", ["delegations", "roles", "0", "name"], "timestamp"],
  ["a publisher named like a path", "targets", ["delegations", "roles", "0", "name"], "../root"],
  ["a target that climbs out", "publisher", ["targets", "../../etc/passwd"], { length: 1, hashes: listed.hashes }],
  ["a target named like a JavaScript internal", "publisher", ["targets", "__proto__x"], { length: 1, hashes: listed.hashes }],
  ["the wrong type", "snapshot", ["_type"], "timestamp"],
] as const)
  test(`${what} is refused, rightly signed or not`, () => {
    assert.throws(() => open(forge(files, { bodies: { [role]: changed(role, place, value) } })), refusedForItsForm)
  })

test("a delegation to one name twice is refused", () => {
  const targets = bodyOf(files, "targets")
  targets.delegations.roles.push(structuredClone(targets.delegations.roles[0] ?? assert.fail()))
  assert.throws(() => open(forge(files, { bodies: { targets } })), refusedWith("CATALOG_INVALID", /twice/))
})

test("another key than Ed25519 is refused", () => {
  const root = bodyOf(files, "root") as unknown as Tree
  for (const key of Object.values(root["keys"] ?? {})) Object.assign(key, { scheme: "rsassa-pss-sha256", keytype: "rsa" })
  assert.throws(() => open(forge(files, { bodies: { root } })), refused)
})

test("bytes that are no metadata at all are refused for every file", () => {
  for (const path of [ROOT_PATH(1), ...["timestamp", "snapshot", "targets", "publisher"].map(METADATA_PATH)])
    for (const junk of ["", "null", "[]", "{}", '{"signed":{}}', '{"signed":null,"signatures":[]}', "\u0000", "[".repeat(100_000)])
      assert.throws(() => open(new Map([...files, [path, Buffer.from(junk)]])), refused, `${path} ${junk.slice(0, 30)}`)
})

test("metadata over the limit is refused before it is parsed", () => {
  assert.throws(() => readMetadata("publisher", Buffer.alloc(16 * 1024 * 1024 + 1, 0x20)), refusedWith("CATALOG_INVALID", /at most/))
})

test("a second signed part in the same file, under a doubled JSON key, does not get past the signature", () => {
  const text = (files.get(METADATA_PATH("timestamp")) ?? assert.fail()).toString("utf8")
  const forged = text.replace(/\}\n$/, `,"signed":${JSON.stringify({ ...bodyOf(files, "timestamp"), version: 99 })}}`)
  assert.equal((JSON.parse(forged) as { signed: { version: number } }).signed.version, 99)
  assert.throws(() => open(new Map([...files, [METADATA_PATH("timestamp"), Buffer.from(forged)]])), refused)
})
