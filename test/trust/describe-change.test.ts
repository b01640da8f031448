import assert from "node:assert/strict"
import { test } from "node:test"
import type { SiteDocument } from "#core/documents.ts"
import { TARGET_PREFIX, type CatalogFiles } from "#trust/catalog-file.ts"
import { decodeChange, encodeChange } from "#trust/change-file.ts"
import { draftChange, type Edits } from "#trust/change.ts"
import { describeChange, shortDigest } from "#trust/describe-change.ts"
import { documentBytes, siteDocumentOf } from "#trust/files.ts"
import { digestOf, keyIdOfSeed, type SignedBody } from "#trust/metadata.ts"
import { changed, published, publishersAre, rekeyed } from "./administrators.ts"
import { grantsOf, keys, manifestOf, newRepository, seedOf, startMs } from "./repositories.ts"

const [A, B] = ["aa".repeat(16), "bb".repeat(16)]
const [second, third] = [seedOf("second"), seedOf("third")]
const id = (seed: Uint8Array): string => shortDigest(keyIdOfSeed(seed))
const grant = (group: string, generation = 1, sealed = group) => ({ group, generation, sealed: Buffer.from(sealed).toString("base64") })

const start = changed(published(newRepository(), "os:1"), {
  site: (document) => ({ ...document, revoked: [A], groups: document.groups.map((group) => ({ ...group, added: [A], removed: [B] })) }),
})
const withGrant = changed(start, {
  publishers: new Map([["publisher", { documents: new Map([["grants/os/1.json", grantsOf("os:1", { grants: [grant("lab")] })]]) }]]),
})

/** What a signer reads, on another machine. */
function told(edits: Edits, files: CatalogFiles = start): string[] {
  return describeChange(decodeChange(encodeChange({ files, change: draftChange(files, edits, startMs) })))
}
const siteTold = (change: (document: SiteDocument) => Partial<SiteDocument>, files = start): string[] => {
  const [head = "", ...lines] = told({ site: (document) => ({ ...document, ...change(document) }) }, files)
  assert.match(head, /^targets, version 3 \(after 2\): good until 2027-11-22T12:00:00Z/)
  return lines.map((line) => line.trim())
}

test("a change of the root shows all four roles as they will be, with marks at what comes and goes", () => {
  const root = rekeyed({
    root: { seeds: [second, third], threshold: 2 },
    targets: { seeds: [keys.targets, second] },
    timestamp: { seeds: [third] },
  })
  assert.deepEqual(told({ root }), [
    "root, version 2 (after 1): good until 2027-11-22T12:00:00Z (was 2027-11-22T12:00:00Z)",
    "  root: 2 of 2 keys must sign (was 1 of 1)",
    `      + ${id(second)}`,
    `      + ${id(third)}`,
    `      - ${id(keys.root)}`,
    "  targets: 1 of 2 keys must sign (was 1 of 1)",
    `        ${id(keys.targets)}`,
    `      + ${id(second)}`,
    "  snapshot: 1 of 1 key must sign",
    `        ${id(keys.snapshot)}`,
    "  timestamp: 1 of 1 key must sign",
    `      + ${id(third)}`,
    `      - ${id(keys.timestamp)}`,
    "targets, version 3 (after 2): good until 2027-11-22T12:00:00Z (was 2027-11-22T12:00:00Z)",
    "  nothing else is different: it is signed anew for its expiry",
  ])
})

test("a threshold alone shows, and so does a renewal", () => {
  const both = changed(start, { root: rekeyed({ root: { seeds: [keys.root, second], threshold: 1 } }) })
  assert.ok(
    told({ root: (root) => ({ ...root, roles: { ...root.roles, root: { ...root.roles.root, threshold: 2 } } }) }, both).includes(
      "  root: 2 of 2 keys must sign (was 1 of 2)",
    ),
  )
  for (const edits of [
    { root: (root: SignedBody<"root">) => root },
    { site: (document: SiteDocument) => document },
    { publishers: new Map([["publisher", {}]]) },
  ])
    assert.equal(told(edits)[1], "  nothing else is different: it is signed anew for its expiry")
})

test("each field of the site document shows what comes, what goes, and which is in force", () => {
  const authority = (der: string): string => shortDigest(digestOf(Buffer.from(der, "base64")))
  const network = "12".repeat(32)
  const [group] = siteDocumentOf(start).groups
  assert.ok(group !== undefined)
  assert.deepEqual(
    siteTold(() => ({ authorities: ["BBBB", "AAAA"] })),
    [`+ authority ${authority("BBBB")}: members with its certificates are admitted`, `authority that issues: ${authority("BBBB")}`],
  )
  assert.deepEqual(siteTold(() => ({ authorities: ["BBBB"] })).length, 3)
  assert.deepEqual(
    siteTold(() => ({ pointerKey: "34".repeat(32) })),
    ["pointer key: 3434343434343434 (was abababababababab)"],
  )
  assert.deepEqual(
    siteTold(({ networkKeys }) => ({ networkKeys: [...networkKeys, network] })),
    ["+ network key 1212121212121212"],
  )
  assert.deepEqual(
    siteTold(() => ({ networkKeys: [network] })),
    ["+ network key 1212121212121212", "- network key efefefefefefefef", "network key in force: 1212121212121212"],
  )
  assert.deepEqual(
    siteTold(() => ({ revoked: [B] })),
    [`+ revoked: ${B}`, `- revoked: ${A}, which is admitted again`],
  )
  assert.deepEqual(
    siteTold(() => ({ groups: [] })),
    ["- group default"],
  )
  assert.deepEqual(
    siteTold(({ groups }) => ({ groups: [...groups, { ...group, name: "lab", generation: 3 }] })),
    [
      "+ group lab: generation 3, public key cdcdcdcdcdcdcdcd",
      `group lab: + member ${A} is in it`,
      `group lab: - member ${B} is not in it`,
    ],
  )
  assert.deepEqual(
    siteTold(() => ({ groups: [{ ...group, generation: 2, publicKey: "56".repeat(32) }] })),
    ["group default: generation 2, public key 5656565656565656 (was generation 1, public key cdcdcdcdcdcdcdcd)"],
  )
  assert.deepEqual(
    siteTold(() => ({ groups: [{ ...group, publicKey: "56".repeat(32) }] })).length,
    1,
    "a key that changed under its generation",
  )
  assert.deepEqual(
    siteTold(() => ({ groups: [{ ...group, added: [B], removed: [] }] })),
    [`group default: + member ${B} is in it`, `group default: for member ${A} its certificate alone counts`],
  )
  assert.deepEqual(
    siteTold(() => ({ groups: [{ ...group, added: [], removed: [A, B] }] })),
    [`group default: - member ${A} is not in it`],
  )
})

test("several fields at once show as each of them does, and nothing hides in repetition or order", () => {
  const [group] = siteDocumentOf(start).groups
  assert.ok(group !== undefined)
  assert.deepEqual(
    siteTold(() => ({ revoked: [A, B], pointerKey: "34".repeat(32) })),
    ["pointer key: 3434343434343434 (was abababababababab)", `+ revoked: ${B}`],
  )
  assert.deepEqual(
    siteTold(() => ({ revoked: [A, A] })),
    ["site document: revoked lists the same in another order, or some of it twice"],
  )
  assert.ok(
    siteTold(() => ({ groups: [{ ...group, publicKey: "56".repeat(32) }, group] })).includes(
      "site document: lists group default twice; the first counts",
    ),
  )
})

test("a field of the site document that nobody thought of shows with both its values", () => {
  // As a newer version of the program would read it; this one's form has no such field.
  const change = draftChange(start, { site: (document) => ({ ...document, revoked: [] }) }, startMs)
  const path = `${TARGET_PREFIX}site.json`
  const document = { ...siteDocumentOf(start), site: "other" }
  assert.ok(
    describeChange({ files: start, change: new Map([...change, [path, documentBytes(document)]]) }).includes(
      '  site document: site is "other" (was "lab")',
    ),
  )
})

test("publishers show with all names that they may sign and all their keys", () => {
  const publisher = { seeds: [keys.publisher], pattern: "*" }
  const added = told({ delegations: publishersAre({ publisher, hpc: { seeds: [second, third], threshold: 2, pattern: "hpc/*" } }) })
  assert.deepEqual(added.slice(1), [
    "    publisher publisher stays as it is",
    "  + publisher hpc",
    "      + may sign hpc/*",
    "      2 of 2 keys must sign",
    `          + ${id(second)}`,
    `          + ${id(third)}`,
    "publisher hpc, version 1 (new): good until 2027-11-22T12:00:00Z",
    "  signs no image yet",
  ])
  const narrowed = told({ delegations: publishersAre({ publisher: { seeds: [second], pattern: "web" } }) })
  assert.deepEqual(narrowed.slice(1), [
    "    publisher publisher",
    "      + may sign web",
    "      - may sign *",
    "      1 of 1 key must sign",
    `          + ${id(second)}`,
    `          - ${id(keys.publisher)}`,
    "publisher publisher, version 3 (after 2): good until 2027-11-22T12:00:00Z (was 2027-11-22T12:00:00Z)",
    "  - os:1",
    "  - grants of os:1",
  ])
  const removed = told({ delegations: publishersAre({ hpc: { seeds: [second], pattern: "hpc/*" } }) })
  assert.ok(removed.includes("  - publisher publisher") && removed.includes("      - os:1, unless another publisher signs it"))
})

test("that a publisher's word is not the last one, or that publishers are asked in another order, shows", () => {
  const parts = { publisher: { seeds: [keys.publisher], pattern: "*" }, hpc: { seeds: [second], pattern: "hpc/*" } }
  const two = changed(start, { delegations: publishersAre(parts) }, { seeds: [keys.targets, keys.publisher, second] })
  const turned = told({ delegations: ({ keys: all, roles }) => ({ keys: all, roles: roles.toReversed() }) }, two)
  assert.ok(turned.includes("  publishers in another order: hpc, publisher"), turned.join("\n"))
  const open = told(
    { delegations: ({ keys: all, roles }) => ({ keys: all, roles: roles.map((role) => ({ ...role, terminating: false })) }) },
    two,
  )
  assert.ok(open.includes("      other publishers may sign the same names after it"), open.join("\n"))
})

test("a publication shows the image with its size and its layers' digests, and who may open it", () => {
  const documents = new Map<string, ReturnType<typeof manifestOf> | ReturnType<typeof grantsOf>>([
    ["images/os/2.json", manifestOf("os:2")],
    ["grants/os/2.json", grantsOf("os:2", { grants: [grant("lab"), grant("staff", 4)] })],
  ])
  const digest = shortDigest(seedOf("os:2 sealed").toString("hex"))
  assert.deepEqual(told({ publishers: new Map([["publisher", { documents }]]) }).slice(1), [
    `  + os:2: 3 entries, 9 bytes, layers ${digest}, ${digest}, made at 2026-11-22T12:00:00.000Z`,
    "  + grant of os:2 to group lab, generation 1",
    "  + grant of os:2 to group staff, generation 4",
  ])
})

test("changed grants show: given, taken away, sealed anew, and under another group's name", () => {
  const regranted = (...grants: readonly ReturnType<typeof grant>[]): string[] => {
    const documents = new Map([["grants/os/1.json", grantsOf("os:1", { grants: [...grants] })]])
    return told({ publishers: new Map([["publisher", { documents }]]) }, withGrant).slice(1)
  }
  const [toLab, toStaff] = ["grant of os:1 to group lab, generation 1", "grant of os:1 to group staff, generation 1"]
  assert.deepEqual(regranted(grant("lab"), grant("staff")), [`  + ${toStaff}`])
  assert.deepEqual(regranted(grant("staff")), [`  + ${toStaff}`, `  - ${toLab}`])
  assert.deepEqual(regranted(grant("lab", 1, "another key's")), [`  + ${toLab}`, `  - ${toLab}`])
  assert.deepEqual(regranted(grant("staff", 1, "lab")), [`  + ${toStaff}`, `  - ${toLab}`])
  assert.deepEqual(regranted(grant("lab"), grant("lab")), ["  grants of os:1, as they will stand:", `      ${toLab}`, `      ${toLab}`])
})

test("an image that would be replaced shows, though no server takes it", () => {
  const documents = new Map([["images/os/1.json", manifestOf("os:1", { entryCount: 4 })]])
  const [, line = ""] = told({ publishers: new Map([["publisher", { documents }]]) })
  assert.match(line, /^ {2}-\+ os:1: 4 entries.*in place of what it was$/)
})
