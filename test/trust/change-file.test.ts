import assert from "node:assert/strict"
import { test } from "node:test"
import type { SiteDocument } from "#core/documents.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "#trust/catalog-file.ts"
import { rootDigest } from "#trust/catalog.ts"
import { decodeChange, encodeChange, requireFollows } from "#trust/change-file.ts"
import { applyChange, draftChange, requirementsOf, signChange, type Change, type Edits } from "#trust/change.ts"
import { documentBytes, fileOf, siteDocumentOf } from "#trust/files.ts"
import { signMetadata, targetFile, type SignedBody } from "#trust/metadata.ts"
import { changed, publication, publishersAre, rekeyed } from "./administrators.ts"
import { bodyOf, grantsOf, keys, newRepository, online, refusedWith, seedOf, startMs, withImages } from "./repositories.ts"

const second = seedOf("second root")
const start = withImages(newRepository(), "os:1", "os:2")
/** Its second root; revoked, as the third version of targets says. */
const A = "aa".repeat(16)
const rotated = changed(start, { root: rekeyed({ root: { seeds: [keys.root, second], threshold: 1 } }) })
const site = changed(rotated, { site: (document) => ({ ...document, revoked: [A] }) })

const draft = (files: CatalogFiles, edits: Edits, seeds: readonly Uint8Array[] = []): Change =>
  signChange(files, draftChange(files, edits, startMs), seeds)
const revoking = draft(site, { site: (document) => ({ ...document, revoked: [...document.revoked, "bb".repeat(16)] }) })
const regranting = draft(site, {
  publishers: new Map([["publisher", { documents: new Map([["grants/os/1.json", grantsOf("os:1", { grants: [grant("lab")] })]]) }]]),
})

function grant(group: string) {
  return { group, generation: 1, sealed: Buffer.from(group).toString("base64") }
}

/** The file with some of its parts replaced by an attacker; null takes one out. */
function tampered(files: CatalogFiles, change: Change, lies: { follows?: Lies; change?: Lies; fields?: object }): Buffer {
  const parts = JSON.parse(encodeChange({ files, change }).toString()) as Record<"change" | "follows", Record<string, string>>
  for (const part of ["follows", "change"] as const)
    for (const [path, bytes] of Object.entries(lies[part] ?? {})) {
      if (bytes === null) delete parts[part][path]
      else parts[part][path] = Buffer.from(bytes).toString("base64")
    }
  return Buffer.from(JSON.stringify({ ...parts, ...lies.fields }))
}
type Lies = Readonly<Record<string, Uint8Array | null>>

const refuses = (bytes: Buffer, message: RegExp): void => assert.throws(() => decodeChange(bytes), refusedWith("CATALOG_INVALID", message))
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
const SITE = `${TARGET_PREFIX}site.json`
const TARGETS = METADATA_PATH("targets")
const PUBLISHER = METADATA_PATH("publisher")

test("a change comes out of its file as it went in, with what it follows and nothing more", () => {
  const { change, files } = decodeChange(encodeChange({ change: revoking, files: site }))
  assert.deepEqual(change, revoking)
  assert.deepEqual([...files.keys()].sort(), [ROOT_PATH(1), ROOT_PATH(2), TARGETS, SITE].sort())
  for (const [path, bytes] of files) assert.deepEqual(bytes, site.get(path))
  assert.equal(rootDigest(files), rootDigest(site))
})

test("signatures are gathered one machine after the other, from the file alone, and the change applies where the site is", () => {
  const root = rekeyed({ root: { seeds: [second, seedOf("third")], threshold: 2 } })
  let bytes = encodeChange({ change: draft(site, { root }), files: site })
  for (const seed of [keys.root, second, seedOf("third")]) {
    const { change, files } = decodeChange(bytes)
    assert.equal(requirementsOf(files, change).length, 2)
    bytes = encodeChange({ change: signChange(files, change, [seed]), files })
  }
  const { change } = decodeChange(bytes)
  assert.ok(applyChange({ files: site, change, online: () => online, nowMs: startMs }).has(ROOT_PATH(3)))
})

test("every kind of change can be carried: publications, grants, publishers added, narrowed and removed, online keys replaced", () => {
  const hpc = { seeds: [second], pattern: "hpc/*" }
  const both = changed(
    site,
    { delegations: publishersAre({ publisher: { seeds: [keys.publisher], pattern: "*" }, hpc }) },
    {
      seeds: [keys.targets, keys.publisher, second],
    },
  )
  const fresh = rekeyed({ snapshot: { seeds: [seedOf("s")] }, timestamp: { seeds: [seedOf("t")] } })
  for (const [files, change] of [
    [site, publication(site, "os:3", [keys.publisher])],
    [site, regranting],
    [site, draft(site, { delegations: publishersAre({ publisher: { seeds: [keys.publisher], pattern: "*" }, hpc }) })],
    [both, draft(both, { delegations: publishersAre({ hpc }) })],
    [both, draft(both, { delegations: publishersAre({ publisher: { seeds: [keys.publisher], pattern: "web" }, hpc }) })],
    [both, draft(both, { root: fresh })],
    [both, draft(both, { root: rekeyed({ targets: { seeds: [second] } }) })],
    [both, draft(both, { publishers: new Map([["hpc", {}]]) })],
  ] as const)
    assert.deepEqual(decodeChange(encodeChange({ files, change })).change, change)
})

test("a lie about what a change follows is refused: a root chain that does not hold", () => {
  const other = signMetadata<"root">({ ...bodyOf(site, "root"), version: 2 }, [seedOf("thief")])
  refuses(tampered(site, revoking, { follows: { [ROOT_PATH(2)]: other } }), /root 2, which it follows, is not signed/)
  // The newest root is kept back, and with it whoever it let sign.
  refuses(tampered(site, revoking, { follows: { [ROOT_PATH(1)]: null } }), /follows no root/)
  const wrongVersion = signMetadata<"root">({ ...bodyOf(site, "root"), version: 7 }, [keys.root])
  refuses(tampered(site, revoking, { follows: { [ROOT_PATH(2)]: wrongVersion } }), /root 2 says another version/)
  refuses(tampered(site, revoking, { follows: { [ROOT_PATH(4)]: fileOf(site, ROOT_PATH(2)) } }), /4\.root\.json, which nobody has signed/)
})

test("a lie about what a change follows is refused: a forged targets file, site document, publisher's file or document", () => {
  const targets = signMetadata<"targets">(bodyOf(site, "targets"), [seedOf("thief")])
  refuses(tampered(site, revoking, { follows: { [TARGETS]: targets } }), /targets, which it follows, is not signed/)
  const document = documentBytes({ ...siteDocumentOf(site), revoked: [] })
  refuses(tampered(site, revoking, { follows: { [SITE]: document } }), /site document is not the one that was signed/)
  const publisher = signMetadata<"publisher">(bodyOf(site, "publisher"), [seedOf("thief")])
  refuses(tampered(site, regranting, { follows: { [PUBLISHER]: publisher } }), /publisher, which it follows, is not signed/)
  const grants = documentBytes(grantsOf("os:1", { grants: [grant("lab")] }))
  refuses(tampered(site, regranting, { follows: { [`${TARGET_PREFIX}grants/os/1.json`]: grants } }), /is not the one that was signed/)
  refuses(tampered(site, revoking, { follows: { [`${TARGET_PREFIX}grants/os/1.json`]: grants } }), /which nobody has signed/)
})

test("what a publisher had signed can't be kept back to make the old look new", () => {
  const grants = `${TARGET_PREFIX}grants/os/1.json`
  refuses(tampered(site, regranting, { follows: { [PUBLISHER]: null, [grants]: null } }), /does not say what publisher had signed before/)
  refuses(tampered(site, regranting, { follows: { [grants]: null } }), /does not say what grants\/os\/1\.json was before/)
  const removing = draft(site, { delegations: publishersAre({ hpc: { seeds: [second], pattern: "hpc/*" } }) })
  refuses(tampered(site, removing, { follows: { [PUBLISHER]: null } }), /does not say what publisher had signed before/)
})

test("a document that is shown is the one that is signed", () => {
  // The metadata lists a document that lets A in again; the one that lies beside it does not.
  const shown = documentBytes({ ...siteDocumentOf(site), revoked: [A, "bb".repeat(16)] })
  const evil = documentBytes({ ...siteDocumentOf(site), revoked: [] })
  const body = { ...bodyOf(site, "targets"), version: 3, targets: { "site.json": targetFile(evil) } }
  const forged = { [TARGETS]: signMetadata<"targets">(body, []), [SITE]: shown }
  refuses(tampered(site, revoking, { change: forged }), /site\.json is not the document that is to be signed/)
  refuses(tampered(site, revoking, { change: { ...forged, [SITE]: null } }), /site\.json is not the document/)
  const other = documentBytes(grantsOf("os:1", { grants: [grant("staff")] }))
  refuses(tampered(site, regranting, { change: { [`${TARGET_PREFIX}grants/os/1.json`]: other } }), /is not the document/)
  refuses(tampered(site, revoking, { change: { [`${TARGET_PREFIX}grants/os/1.json`]: other } }), /not part of the change/)
})

test("a change that leaves out what came between is refused: the signer would not see what it undoes", () => {
  // Signed for version 3, as if the one that revoked A had never been: it would let A in again without a word.
  const later: SignedBody<"targets"> = { ...bodyOf(rotated, "targets"), version: 3 }
  const document = documentBytes(siteDocumentOf(rotated))
  later.targets = { "site.json": targetFile(document) }
  const renewal = draft(rotated, { site: (one) => one })
  refuses(tampered(rotated, renewal, { change: { [TARGETS]: signMetadata<"targets">(later, []) } }), /targets version 3.*followed by 2/)
  const publisher = { ...bodyOf(site, "publisher"), version: 9 }
  const renewed = draft(site, { publishers: new Map([["publisher", {}]]) })
  refuses(tampered(site, renewed, { change: { [PUBLISHER]: signMetadata<"publisher">(publisher, []) } }), /publisher version 9/)
  const root = draft(site, { root: (one) => one })
  refuses(
    tampered(site, root, { change: { [ROOT_PATH(3)]: null, [ROOT_PATH(4)]: fileOf(root, ROOT_PATH(3)) } }),
    /4\.root\.json is not part of the change/,
  )
})

test("a change follows what it was drafted against, and not another one of the same version", () => {
  const here = (edits: Edits): CatalogFiles => changed(site, edits)
  const carried = decodeChange(encodeChange({ change: revoking, files: site }))
  requireFollows(carried, site)
  // A publication or a new root meanwhile is no matter to it.
  requireFollows(carried, withImages(site, "os:3"))
  requireFollows(carried, here({ root: (root) => root }))
  const rolledBack = refusedWith("CATALOG_ROLLBACK", /another change came first/)
  // Another server took another third version of targets; by versions alone this change would apply there, and let B in again.
  const elsewhere = changed(rotated, { site: (document) => ({ ...document, revoked: ["bb".repeat(16)] }) })
  assert.throws(() => requireFollows(carried, elsewhere), rolledBack)
  assert.throws(() => requireFollows(carried, here({ site: (document) => ({ ...document, revoked: [] }) })), rolledBack)
  const publishing = decodeChange(encodeChange({ change: publication(site, "os:3", [keys.publisher]), files: site }))
  requireFollows(publishing, here({ site: (document) => ({ ...document, revoked: [] }) }))
  assert.throws(() => requireFollows(publishing, withImages(site, "os:4")), rolledBack)
  const removing = decodeChange(encodeChange({ change: draft(site, { delegations: publishersAre({}) }), files: site }))
  requireFollows(removing, withImages(site, "os:4"))
  const rekeying = decodeChange(encodeChange({ change: draft(site, { root: (root) => root }), files: site }))
  assert.throws(() => requireFollows(rekeying, start), rolledBack)
})

test("what is out of form is refused, and a change of nothing", () => {
  refuses(Buffer.from("not JSON"), /not JSON/)
  refuses(tampered(site, revoking, { fields: { format: "imagegrid-change-2" } }), /format/)
  refuses(tampered(site, revoking, { fields: { more: 1 } }), /change file/)
  refuses(tampered(site, revoking, { fields: { site: "other" } }), /another site's document/)
  refuses(tampered(site, revoking, { fields: { change: {} } }), /changes nothing/)
  refuses(tampered(site, revoking, { change: { [TARGETS]: json({ signed: {}, signatures: [] }) } }), /targets/)
  refuses(
    tampered(site, revoking, { change: { "metadata/timestamp.json": fileOf(site, "metadata/timestamp.json") } }),
    /publisher|timestamp/,
  )
  const renamed = documentBytes({ ...siteDocumentOf(site), site: "other" } satisfies SiteDocument)
  const body = { ...bodyOf(site, "targets"), version: 3, targets: { "site.json": targetFile(renamed) } }
  refuses(tampered(site, revoking, { change: { [TARGETS]: signMetadata<"targets">(body, []), [SITE]: renamed } }), /another name/)
})
