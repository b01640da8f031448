import assert from "node:assert/strict"
import { test } from "node:test"
import type { Grants, Manifest, SiteDocument } from "#core/documents.ts"
import { METADATA_PATH, TARGET_PREFIX, type CatalogFiles } from "#trust/catalog-file.ts"
import { eventsOf } from "#trust/change-events.ts"
import { applyChange, draftChange, signChange, type Edits } from "#trust/change.ts"
import { digestOf, keyIdOfSeed, tufKeyOf, type TufKey } from "#trust/metadata.ts"
import { pathsOfPattern } from "#trust/name-patterns.ts"
import { refreshTimestamp } from "#trust/online-roles.ts"
import { fileOf } from "#trust/files.ts"
import { grantsOf, keys, manifestOf, newRepository, online, seedOf, startMs, withImages } from "./repositories.ts"

const second = seedOf("second key")
const every = [keys.root, keys.targets, keys.publisher, second]
const changed = (files: CatalogFiles, edits: Edits): CatalogFiles =>
  applyChange({ files, change: signChange(files, draftChange(files, edits, startMs), every), online: () => online, nowMs: startMs })
const withSite = (files: CatalogFiles, change: (site: SiteDocument) => Partial<SiteDocument>): CatalogFiles =>
  changed(files, { site: (site) => ({ ...site, ...change(site) }) })

/** Events and details, all of which these keys have signed. */
function happened(before: CatalogFiles, after: CatalogFiles, ...signers: readonly Uint8Array[]): [string, object][] {
  const events = eventsOf(before, after)
  for (const { signedBy } of events) assert.deepEqual([...signedBy].sort(), signers.map(keyIdOfSeed).sort())
  return events.map(({ event, what }) => [event, what])
}
const grant = (group: string, generation: number, sealed = "AAAA") => ({ group, generation, sealed })
const granted = (image: string, grants: Grants["grants"]): Edits => {
  const documents = new Map([[`grants/${image.replace(":", "/")}.json`, grantsOf(image, { grants })]])
  return { publishers: new Map([["publisher", { documents }]]) }
}
const key = (seed: Uint8Array): Record<string, TufKey> => ({ [keyIdOfSeed(seed)]: tufKeyOf(seed) })

const firstGroup = ({ groups: [group] }: SiteDocument): SiteDocument["groups"][number] => {
  assert.ok(group !== undefined)
  return group
}

const base = withImages(newRepository(), "debian:1")
const A = "a1".repeat(16)
const B = "b2".repeat(16)

test("what servers sign by themselves is no event, and equal catalogs tell of nothing", () => {
  assert.deepEqual(eventsOf(base, base), [])
  assert.deepEqual(eventsOf(base, refreshTimestamp({ files: base, online, nowMs: startMs + 1_000 })), [])
})

test("a new image is published by the publisher's key, with its grants", () => {
  const image = "hpc/node:2026.11"
  const documents = new Map<string, Manifest | Grants>([
    ["images/hpc/node/2026.11.json", manifestOf(image)],
    ["grants/hpc/node/2026.11.json", grantsOf(image, { grants: [grant("default", 1)] })],
  ])
  const after = changed(base, { publishers: new Map([["publisher", { documents }]]) })
  assert.deepEqual(
    new Map(happened(base, after, keys.publisher)),
    new Map<string, object>([
      ["published", { image, publisher: "publisher" }],
      ["granted", { image, group: "default", generation: 1 }],
    ]),
  )
})

test("grants are told by group and generation, those that went too, and one that was sealed anew is a new one", () => {
  const one = changed(base, granted("debian:1", [grant("default", 1), grant("lab", 1)]))
  const details = (group: string, generation: number) => ({ image: "debian:1", group, generation })
  assert.deepEqual(happened(base, one, keys.publisher), [
    ["granted", details("default", 1)],
    ["granted", details("lab", 1)],
  ])
  const other = changed(one, granted("debian:1", [grant("default", 2, "BBBB")]))
  assert.deepEqual(happened(one, other, keys.publisher), [
    ["granted", details("default", 2)],
    ["ungranted", details("default", 1)],
    ["ungranted", details("lab", 1)],
  ])
  assert.deepEqual(happened(other, changed(other, granted("debian:1", [grant("default", 2, "CCCC")])), keys.publisher), [
    ["granted", details("default", 2)],
  ])
})

test("revocations, and their end, are told with the id", () => {
  const revoked = withSite(base, () => ({ revoked: [A, B] }))
  assert.deepEqual(happened(base, revoked, keys.targets), [
    ["revoked", { id: A }],
    ["revoked", { id: B }],
  ])
  assert.deepEqual(
    happened(
      revoked,
      withSite(revoked, () => ({ revoked: [B] })),
      keys.targets,
    ),
    [["revocation-lifted", { id: A }]],
  )
})

test("groups are told: new ones, new keys, members put in and out, and gone ones", () => {
  const groups = (site: SiteDocument): SiteDocument["groups"] => [
    { ...firstGroup(site), generation: 2, publicKey: "ee".repeat(32), added: [A], removed: [B] },
    { name: "lab", generation: 1, publicKey: "dd".repeat(32), added: [], removed: [] },
  ]
  const more = withSite(base, (site) => ({ groups: groups(site) }))
  assert.deepEqual(happened(base, more, keys.targets), [
    ["group-key-rotated", { group: "default", generation: 2 }],
    ["group-member-added", { group: "default", memberId: A }],
    ["group-member-removed", { group: "default", memberId: B }],
    ["group-added", { group: "lab", generation: 1 }],
  ])
  const less = withSite(more, (site) => ({ groups: [{ ...firstGroup(site), added: [], removed: [A] }] }))
  assert.deepEqual(happened(more, less, keys.targets), [
    ["group-member-removed", { group: "default", memberId: A }],
    ["group-member-unlisted", { group: "default", memberId: B }],
    ["group-removed", { group: "lab" }],
  ])
})

test("authorities, network keys and the pointer's key are told by digest, and which is in force", () => {
  const digest = (text: string) => ({ digest: digestOf(Buffer.from(text, "base64")) })
  const rotated = withSite(base, ({ authorities, networkKeys }) => ({
    authorities: ["BBBB", ...authorities],
    networkKeys: ["01".repeat(32), ...networkKeys],
    pointerKey: "02".repeat(32),
  }))
  assert.deepEqual(happened(base, rotated, keys.targets), [
    ["authority-added", digest("BBBB")],
    ["authority-in-force", digest("BBBB")],
    ["network-key-added", { digest: "01".repeat(32) }],
    ["network-key-in-force", { digest: "01".repeat(32) }],
    ["pointer-key-changed", { key: "02".repeat(32) }],
  ])
  const alone = withSite(rotated, ({ authorities }) => ({ authorities: authorities.slice(0, 1) }))
  assert.deepEqual(happened(rotated, alone, keys.targets), [["authority-removed", digest("AAAA")]])
})

test("publishers are told when they come, change and go, and the images that go with them", () => {
  const paths = pathsOfPattern("hpc/*")
  const role = { name: "hpc", keyids: [keyIdOfSeed(second)], threshold: 1, terminating: false, paths }
  const edits: Edits = { delegations: ({ keys: held, roles }) => ({ keys: { ...held, ...key(second) }, roles: [role, ...roles] }) }
  const more = changed(base, edits)
  const details = { publisher: "hpc", names: "hpc/*", keys: keyIdOfSeed(second), threshold: 1 }
  assert.deepEqual(happened(base, more, keys.targets), [["publisher-added", details]])
  const image = "hpc/node:1"
  const documents = new Map<string, Manifest | Grants>([
    ["images/hpc/node/1.json", manifestOf(image)],
    ["grants/hpc/node/1.json", grantsOf(image)],
  ])
  const published = changed(more, { publishers: new Map([["hpc", { documents }]]) })
  assert.deepEqual(happened(more, published, second), [["published", { image, publisher: "hpc" }]])
  const gone = changed(published, { delegations: ({ keys: held, roles }) => ({ keys: held, roles: roles.slice(1) }) })
  assert.deepEqual(happened(published, gone, keys.targets), [
    ["publisher-removed", { publisher: "hpc" }],
    ["withdrawn", { image }],
  ])
  const narrower = changed(base, {
    delegations: ({ keys: held, roles }) => ({ keys: held, roles: roles.map((one) => ({ ...one, paths: pathsOfPattern("debian") })) }),
  })
  const [first] = eventsOf(base, narrower)
  assert.deepEqual([first?.event, first?.what["names"]], ["publisher-changed", "debian"])
})

test("new keys of a role are told for each root between, signed by the keys before and after", () => {
  const swapped = changed(base, {
    root: (root) => ({
      ...root,
      keys: { ...root.keys, ...key(second) },
      roles: { ...root.roles, root: { keyids: [keyIdOfSeed(second)], threshold: 1 } },
    }),
  })
  const details = { role: "root", keys: keyIdOfSeed(second), threshold: 1 }
  assert.deepEqual(happened(base, swapped, keys.root, second), [["role-changed", details]])
  const renewed = changed(swapped, { root: (root) => root })
  const [first, then] = eventsOf(base, renewed)
  assert.deepEqual([first?.event, first?.what, first?.signedBy.length], ["role-changed", details, 2])
  assert.deepEqual(
    [then?.event, then?.what["role"], then?.what["version"], then?.signedBy],
    ["role-renewed", "root", 3, [keyIdOfSeed(second)]],
  )
})

test("a role that was only signed anew is told as renewed, with its new expiry", () => {
  const targets = changed(base, { site: (site) => site })
  const [[event, what] = ["", {}]] = happened(base, targets, keys.targets)
  assert.deepEqual([event, Reflect.get(what, "role")], ["role-renewed", "targets"])
  const publisher = changed(base, { publishers: new Map([["publisher", {}]]) })
  const [[again, details] = ["", {}]] = happened(base, publisher, keys.publisher)
  assert.deepEqual([again, Reflect.get(details, "role")], ["role-renewed", "publisher"])
})

test("a field of the site document that nobody thought of is named all the same", () => {
  // As a newer version of the program would write it; eventsOf is asked by that one.
  const path = TARGET_PREFIX + "site.json"
  const after = withSite(base, () => ({ revoked: [A] }))
  const document = JSON.parse(fileOf(after, path).toString()) as SiteDocument
  const renamed = new Map([...after, [path, Buffer.from(JSON.stringify({ ...document, site: "other" }))]])
  assert.deepEqual(happened(base, renamed, keys.targets), [
    ["revoked", { id: A }],
    ["site-changed", { field: "site" }],
  ])
  assert.ok(after.has(METADATA_PATH("targets")))
})

test("a change that another one of the same moment displaced is told, with its own signers", () => {
  const [a, b] = [A, B].map((id) => withSite(base, () => ({ revoked: [id] })))
  const [mine, theirs] = [a ?? assert.fail(), b ?? assert.fail()]
  const displaced = eventsOf(mine, theirs).filter(({ event }) => event === "displaced")
  assert.deepEqual(displaced, [{ event: "displaced", what: { role: "targets", version: 2 }, signedBy: [keyIdOfSeed(keys.targets)] }])
  const [left, right] = [withImages(base, "left:1"), withImages(base, "right:1")]
  assert.deepEqual(
    eventsOf(left, right).map(({ event, what }) => [event, what]),
    [
      ["displaced", { role: "publisher", version: 3 }],
      ["published", { image: "right:1", publisher: "publisher" }],
      ["withdrawn", { image: "left:1" }],
    ],
  )
  const none = (before: CatalogFiles, after: CatalogFiles) => eventsOf(before, after).every(({ event }) => event !== "displaced")
  assert.ok(
    none(base, mine) &&
      none(base, left) &&
      none(
        mine,
        withSite(mine, () => ({ revoked: [A, B] })),
      ),
  )
})
