/**
 * Test vectors for any client of a site's signed metadata: sets of files, and for each of them from where and when it is looked at and what must
 * come of it. Keys follow from words and times are fixed, so every run makes the same bytes.
 */
import { createHash } from "node:crypto"
import type { RefusalCode } from "#core/errors.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "#trust/catalog-file.ts"
import { rootDigest } from "#trust/catalog.ts"
import { createRepository } from "#trust/create-repository.ts"
import { newestRoot } from "#trust/files.ts"
import { canonicalJson, keyIdOfSeed, signMetadata, tufKeyOf, type SignedBody } from "#trust/metadata.ts"
import { refreshTimestamp } from "#trust/online-roles.ts"
import { sign, signingKeyFromSeed } from "#crypto/identity.ts"
import { changed, nextOnline, onlineReplaced, published, publishersAre, rekeyed } from "../../test/trust/administrators.ts"
import {
  bodyOf,
  DAY_MS,
  forge,
  grantsOf,
  keys,
  keysOf,
  listTarget,
  manifestOf,
  newRepository,
  online,
  repositoryKeys,
  rotateRoot,
  seedOf,
  siteDocument,
  startMs,
  tagsOf,
  withImages,
} from "../../test/trust/repositories.ts"

export type Verdict = "ok" | RefusalCode

/** As vectors.json has it. */
export type Vector = {
  readonly name: string
  /** What the set is, and why the verdict follows. */
  readonly what: string
  /** The set that is looked at: `sets/SET.json`. */
  readonly set: string
  /** Where trust begins: the SHA-256 of the first root, or a set that was taken before. */
  readonly anchor: { readonly rootDigest: string } | { readonly trusted: string }
  /** Unix ms: the client's clock. */
  readonly nowMs: number
  readonly verdict: Verdict
  /** Of a set that is taken: the images in it, sorted. */
  readonly images?: readonly string[]
}

const LAST_VERSION = 2_147_483_647

class Vectors {
  readonly #sets = new Map<string, CatalogFiles>()
  readonly #vectors: Vector[] = []

  /** Names a set, to be trusted by vectors that follow. */
  set(name: string, files: CatalogFiles): CatalogFiles {
    if (this.#sets.has(name)) throw new TypeError(`two sets are called ${name}`)
    this.#sets.set(name, files)
    return files
  }

  /** A vector; a newcomer's unless it says whom it trusts. */
  add(
    name: string,
    what: string,
    files: CatalogFiles,
    verdict: Exclude<Verdict, "ok"> | { readonly images: readonly string[] },
    from: { readonly trusted?: string; readonly rootDigest?: string; readonly nowMs?: number } = {},
  ): void {
    const known = [...this.#sets].find(([, other]) => other === files)?.[0]
    const set = known ?? name
    if (known === undefined) this.set(name, files)
    if (from.trusted !== undefined && !this.#sets.has(from.trusted)) throw new TypeError(`no set is called ${from.trusted}`)
    this.#vectors.push({
      name,
      what,
      set,
      anchor: from.trusted === undefined ? { rootDigest: from.rootDigest ?? rootDigest(files) } : { trusted: from.trusted },
      nowMs: from.nowMs ?? startMs,
      ...(typeof verdict === "string" ? { verdict } : { verdict: "ok", images: [...verdict.images].sort() }),
    })
  }

  /** All files below test/vectors/, by their path. */
  files(): Map<string, string> {
    return new Map([
      ["vectors.json", `${JSON.stringify(this.#vectors, null, 2)}\n`],
      ...[...this.#sets].map(([name, files]) => [`sets/${name}.json`, `${JSON.stringify({ files: packed(files) }, null, 1)}\n`] as const),
    ])
  }
}

function packed(files: CatalogFiles): Record<string, string> {
  return Object.fromEntries([...files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, bytes]) => [path, bytes.toString("base64")]))
}

/** Every file of the vectors, by its path below test/vectors/. */
export function vectorFiles(): Map<string, string> {
  const all = new Vectors()
  addGood(all)
  addOldFiles(all)
  addExpired(all)
  addMixtures(all)
  addSignatures(all)
  addRoots(all)
  addFastForward(all)
  addDocuments(all)
  addForms(all)
  return all.files()
}

const empty = newRepository()
/** Of debian, signed by its publisher. */
const tagged = (files: CatalogFiles, versions: Readonly<Record<string, string>>): CatalogFiles =>
  changed(files, { publishers: new Map([["publisher", { documents: new Map([["tags/debian.json", tagsOf("debian", versions)]]) }]]) })
const one = withImages(empty, "debian:1")
const two = withImages(one, "debian:2")
const stableOne = tagged(two, { stable: "1" })
const stableTwo = tagged(stableOne, { stable: "2" })
const fresh = refreshTimestamp({ files: two, online, nowMs: startMs })
const thief = seedOf("thief")
const second = seedOf("second publisher key")
const third = seedOf("third publisher key")
const hpc = seedOf("hpc publisher")
const twoPublishers = { publisher: { seeds: [keys.publisher], pattern: "debian" }, hpc: { seeds: [hpc], pattern: "hpc/*" } }
const delegated = changed(empty, { delegations: publishersAre(twoPublishers) }, { seeds: [keys.targets, keys.publisher, hpc] })
const byTwo = published(withImages(delegated, "debian:1"), "hpc/tools:1", { seeds: [hpc] })
const guarded = changed(
  empty,
  { delegations: publishersAre({ publisher: { seeds: [keys.publisher, second, third], threshold: 2, pattern: "*" } }) },
  { seeds: [keys.targets, keys.publisher, second] },
)
const guardedRoot = createRepository({
  document: siteDocument(),
  keys: { ...keys, root: [keys.root, second, third] },
  rootThreshold: 2,
  nowMs: startMs,
})

function addGood(all: Vectors): void {
  all.set("one-image", one)
  all.set("two-images", two)
  all.set("two-images-refreshed", fresh)
  all.add("new-site", "A new site without images.", empty, { images: [] })
  all.add("newcomer", "Two versions of one image, from the digest of the first root.", two, { images: ["debian:1", "debian:2"] })
  all.add(
    "newer-than-trusted",
    "The same, taken by who trusted the catalog before.",
    two,
    { images: ["debian:1", "debian:2"] },
    { trusted: "one-image" },
  )
  all.add(
    "the-trusted-again",
    "What is trusted already is taken again.",
    two,
    { images: ["debian:1", "debian:2"] },
    { trusted: "two-images" },
  )
  const twin = refreshTimestamp({ files: two, online, nowMs: startMs + 5_000 })
  all.add(
    "twin-of-trusted",
    "Equal versions of other bytes: two servers signed at the same time. No rollback.",
    twin,
    { images: ["debian:1", "debian:2"] },
    { trusted: "two-images-refreshed" },
  )
  all.set("tagged", stableOne)
  all.add(
    "tag-moved",
    "A tag that named version 1 names version 2.",
    stableTwo,
    { images: ["debian:1", "debian:2"] },
    { trusted: "tagged" },
  )
  all.add("two-publishers", "Two publishers, each with names of its own.", byTwo, { images: ["debian:1", "hpc/tools:1"] })
  const twoOfThree = published(guarded, "debian:1", { seeds: [keys.publisher, third] })
  all.add("threshold-two-of-three", "A publisher with three keys, of which any two sign; here the first and the third.", twoOfThree, {
    images: ["debian:1"],
  })
  const guardedByTwo = forge(guardedRoot, { seeds: { root: [keys.root, third] } })
  all.add("root-threshold-two-of-three", "A root with three keys, of which any two sign.", guardedByTwo, { images: [] })
  const next = seedOf("next root")
  const rotated = changed(two, { root: rekeyed({ root: { seeds: [next] } }) }, { seeds: [keys.root, next] })
  all.add("root-rotated", "The root key was replaced: root 2 is signed by the old and the new key.", rotated, {
    images: ["debian:1", "debian:2"],
  })
  all.add(
    "root-rotated-from-trusted",
    "The same, by who trusts root 1.",
    rotated,
    { images: ["debian:1", "debian:2"] },
    { trusted: "two-images" },
  )
  all.add(
    "online-keys-rotated",
    "Snapshot and timestamp have new keys, and an image was published since.",
    published(onlineReplaced(two), "debian:3", { online: nextOnline }),
    { images: ["debian:1", "debian:2", "debian:3"] },
    { trusted: "two-images" },
  )
  const expiredRoot = forge(two, { bodies: { root: { ...bodyOf(two, "root"), expires: "2020-01-01T00:00:00Z" } } })
  const renewedRoot = rotateRoot(expiredRoot, (root) => (root.expires = "2027-11-01T00:00:00Z"))
  all.add("expired-root-on-the-way", "Root 1 has expired, the newest has not: only that one's date counts (TUF 5.3.10).", renewedRoot, {
    images: ["debian:1", "debian:2"],
  })
  const removed = changed(byTwo, { delegations: publishersAre({ publisher: twoPublishers.publisher }) })
  all.set("with-hpc", byTwo)
  all.set("hpc-removed", removed)
  all.add(
    "publisher-removed",
    "A publisher is delegated no more: its images are gone, its line in the snapshot stays.",
    removed,
    { images: ["debian:1"] },
    { trusted: "with-hpc" },
  )
  all.add(
    "last-second",
    "One millisecond before the timestamp expires.",
    two,
    { images: ["debian:1", "debian:2"] },
    { nowMs: startMs + 3 * DAY_MS - 1 },
  )
  const lapsed = forge(two, { bodies: { publisher: { ...bodyOf(two, "publisher"), expires: "2026-11-01T00:00:00Z" } } })
  all.add(
    "publisher-expired",
    "A publisher's file has expired: the catalog is taken, so that others' images go on; this publisher's are not deployed.",
    lapsed,
    { images: ["debian:1", "debian:2"] },
  )
}

function addOldFiles(all: Vectors): void {
  const offer = { trusted: "two-images-refreshed" }
  all.add("rollback", "A whole catalog older than what is trusted.", one, "CATALOG_ROLLBACK", offer)
  all.add("tag-moved-back", "A catalog of before a tag was moved.", stableOne, "CATALOG_ROLLBACK", { trusted: "tag-moved" })
  const timestamp = { ...bodyOf(one, "timestamp"), version: 90 }
  const oldSnapshot = forge(one, { bodies: { timestamp, snapshot: bodyOf(one, "snapshot") } })
  all.add("rollback-of-snapshot", "An old snapshot under a new timestamp.", oldSnapshot, "CATALOG_ROLLBACK", offer)
  const newSnapshot = forge(one, { bodies: { snapshot: { ...bodyOf(one, "snapshot"), version: 90 } } })
  const oldPublisher = forge(newSnapshot, {
    bodies: { snapshot: bodyOf(newSnapshot, "snapshot"), timestamp: { ...bodyOf(newSnapshot, "timestamp"), version: 90 } },
  })
  all.add("rollback-of-publisher", "An old publisher's file under a new snapshot and timestamp.", oldPublisher, "CATALOG_ROLLBACK", offer)
  const snapshot = { ...bodyOf(fresh, "snapshot"), version: 90 }
  delete snapshot.meta["publisher.json"]
  all.add(
    "snapshot-drops-a-role",
    "The snapshot lists a role no more that it listed before.",
    forge(fresh, { bodies: { snapshot } }),
    "CATALOG_ROLLBACK",
    offer,
  )
  const rotated = rotateRoot(fresh, () => {})
  all.set("root-2", rotated)
  all.add("rollback-of-root", "Root 1, where root 2 is trusted.", fresh, "CATALOG_ROLLBACK", { trusted: "root-2" })
  all.add("replay-of-removed-publisher", "The catalog of before a publisher was removed.", byTwo, "CATALOG_ROLLBACK", {
    trusted: "hpc-removed",
  })
}

function addExpired(all: Vectors): void {
  all.add("freeze", "The timestamp expires at this very millisecond: somebody hides what is newer.", two, "CATALOG_EXPIRED", {
    nowMs: startMs + 3 * DAY_MS,
  })
  for (const role of ["snapshot", "targets", "root"] as const)
    all.add(
      `freeze-${role}`,
      `The ${role} has expired under otherwise fresh files.`,
      forge(two, { bodies: { [role]: { ...bodyOf(two, role), expires: "2026-11-22T11:59:59Z" } } }),
      "CATALOG_EXPIRED",
    )
}

function addMixtures(all: Vectors): void {
  for (const role of ["timestamp", "snapshot", "publisher"]) {
    const path = METADATA_PATH(role)
    all.add(
      `mixed-${role}`,
      `Today's files with the ${role} of yesterday: each rightly signed, never together.`,
      replaced(two, path, one.get(path)),
      "CATALOG_INVALID",
    )
  }
  all.add(
    "missing-file",
    "A document that is listed is not there.",
    replaced(two, `${TARGET_PREFIX}images/debian/1.json`, undefined),
    "CATALOG_INVALID",
  )
  all.add(
    "stray-file",
    "A document that nobody signed travels along.",
    replaced(two, `${TARGET_PREFIX}images/evil/1.json`, Buffer.from("{}")),
    "CATALOG_INVALID",
  )
}

function addSignatures(all: Vectors): void {
  for (const role of ["timestamp", "snapshot", "targets", "publisher"] as const)
    all.add(
      `forged-${role}`,
      `The ${role} is signed by a key that the site did not name.`,
      forge(two, { seeds: { [role]: [thief] } }),
      "CATALOG_INVALID",
    )
  const single = published(guarded, "debian:1", { seeds: [keys.publisher, third] })
  const below = forge(single, { seeds: { publisher: [keys.publisher] } })
  all.add("below-threshold", "One signature where the delegation asks for two.", below, "CATALOG_INVALID")
  const doubled = signMetadata<"publisher">(bodyOf(single, "publisher"), [keys.publisher, keys.publisher])
  all.add(
    "one-signature-twice",
    "The same key's signature twice, where two keys must sign.",
    forge(replaced(single, METADATA_PATH("publisher"), doubled), {}),
    "CATALOG_INVALID",
  )
  const strange = forge(single, { seeds: { publisher: [keys.publisher, thief] } })
  all.add("threshold-with-a-stranger", "Two signatures, one of them by a stranger.", strange, "CATALOG_INVALID")

  const otherId = createHash("sha256").update("any other id").digest("hex")
  const targets = bodyOf(two, "targets")
  targets.delegations.keys[otherId] = tufKeyOf(keys.publisher)
  targets.delegations.roles = targets.delegations.roles.map((role) => ({
    ...role,
    keyids: [keyIdOfSeed(keys.publisher), otherId],
    threshold: 2,
  }))
  const underTwo = replaced(two, METADATA_PATH("publisher"), signedUnder(bodyOf(two, "publisher"), keys.publisher, otherId))
  all.add(
    "key-under-two-ids",
    "One key is listed under two ids and signs with both: that is one key, and threshold two is not met.",
    forge(underTwo, { bodies: { targets } }),
    "CATALOG_INVALID",
  )
  const root = bodyOf(two, "root")
  root.keys[otherId] = tufKeyOf(keys.root)
  root.roles.root = { keyids: [keyIdOfSeed(keys.root), otherId] as typeof root.roles.root.keyids, threshold: 2 }
  all.add(
    "root-key-under-two-ids",
    "The same in the root.",
    replaced(two, ROOT_PATH(1), signedUnder(root, keys.root, otherId)),
    "CATALOG_INVALID",
  )
}

function addRoots(all: Vectors): void {
  const next = seedOf("next root")
  const edit = rekeyed({ root: { seeds: [next] } })
  const rootOf = (files: CatalogFiles, seeds: readonly Uint8Array[]) =>
    rotateRoot(files, (root) => void Object.assign(root, { ...edit(root), version: root.version }), seeds)
  all.add("forged-root", "A next root that is signed by its own key and not by the one before.", rootOf(two, [next]), "CATALOG_INVALID")
  all.add(
    "root-without-its-own-signature",
    "A next root that is signed by the old key and not by its own.",
    rootOf(two, [keys.root]),
    "CATALOG_INVALID",
  )
  const half = rotateRoot(guardedRoot, () => {}, [keys.root])
  all.add("root-below-threshold", "A next root signed by one key of three, where two must.", half, "CATALOG_INVALID")
  const three = rotateRoot(
    rotateRoot(two, () => {}),
    () => {},
  )
  const skipping = replaced(replaced(three, ROOT_PATH(2), three.get(ROOT_PATH(3))), ROOT_PATH(3), undefined)
  all.add("skipped-root", "Root 3 in the place of root 2, which is left out.", skipping, "CATALOG_INVALID")
  all.add("root-gap", "Roots 1 and 3 without root 2.", replaced(three, ROOT_PATH(2), undefined), "CATALOG_INVALID")
  const other = rotateRoot(fresh, (root) => (root.expires = "2030-01-01T00:00:00Z"))
  all.add("other-root-of-one-version", "Another root 2 than the one that is trusted, as well signed.", other, "CATALOG_INVALID", {
    trusted: "root-2",
  })
  const strangers = createRepository({ document: siteDocument(), keys: repositoryKeys(keysOf("strangers")), nowMs: startMs })
  all.add("another-site", "A whole site of the same name, well signed by itself.", strangers, "CATALOG_INVALID", {
    rootDigest: rootDigest(empty),
  })
  all.add("another-site-from-trusted", "The same, offered to who trusts a catalog of the site.", strangers, "CATALOG_INVALID", {
    trusted: "two-images",
  })
}

function addFastForward(all: Vectors): void {
  const far = forge(two, { bodies: { snapshot: { ...bodyOf(two, "snapshot"), version: LAST_VERSION } } })
  const stolen = forge(far, {
    bodies: { snapshot: bodyOf(far, "snapshot"), timestamp: { ...bodyOf(far, "timestamp"), version: LAST_VERSION } },
  })
  all.set("fast-forwarded", stolen)
  all.add(
    "fast-forward",
    "Stolen online keys signed the last versions that there are. It is taken: by its form it is right.",
    stolen,
    { images: ["debian:1", "debian:2"] },
    { trusted: "two-images" },
  )
  all.add("after-fast-forward", "Who took that refuses what the old keys sign for the site.", fresh, "CATALOG_ROLLBACK", {
    trusted: "fast-forwarded",
  })
  const recovered = published(onlineReplaced(stolen), "debian:3", { online: nextOnline })
  all.set("recovered", recovered)
  all.add(
    "recovery-from-fast-forward",
    "The root names new online keys: the versions that the old ones signed count no more (TUF 5.3.11).",
    recovered,
    { images: ["debian:1", "debian:2", "debian:3"] },
    { trusted: "fast-forwarded" },
  )
  all.add("thief-after-recovery", "The thief's catalog, offered to who recovered.", stolen, "CATALOG_ROLLBACK", { trusted: "recovered" })
  const beyond = forge(two, { bodies: { timestamp: { ...bodyOf(two, "timestamp"), version: LAST_VERSION + 1 } } })
  all.add("version-beyond-the-last", "A version over 2147483647 is out of form.", beyond, "CATALOG_INVALID")
}

function addDocuments(all: Vectors): void {
  const path = `${TARGET_PREFIX}images/debian/1.json`
  all.add(
    "wrong-digest",
    "A manifest was changed after it was signed, at the same length.",
    replaced(two, path, Buffer.from((two.get(path) ?? Buffer.alloc(0)).toString().replace('"entryCount":3', '"entryCount":4'))),
    "CATALOG_INVALID",
  )
  all.add(
    "wrong-length",
    "A manifest has one more byte than was signed.",
    replaced(two, path, Buffer.concat([two.get(path) ?? Buffer.alloc(0), Buffer.from(" ")])),
    "CATALOG_INVALID",
  )
  const at = (name: string, what: string, target: string, document: unknown) => {
    const publisher = bodyOf(two, "publisher")
    publisher.targets[target] = listTarget(document)
    all.add(name, what, forge(two, { bodies: { publisher }, documents: { [target]: document } }), "CATALOG_INVALID")
  }
  at(
    "wrong-image-under-a-right-name",
    "A rightly signed manifest of debian:2 at the path of debian:3.",
    "images/debian/3.json",
    manifestOf("debian:2"),
  )
  at(
    "manifest-of-another-site",
    "A rightly signed manifest that says another site.",
    "images/debian/3.json",
    manifestOf("debian:3", { site: "elsewhere" }),
  )
  at("grants-of-another-image", "Grants of debian:2 at the path of debian:3.", "grants/debian/3.json", grantsOf("debian:2"))
  at("tags-of-another-image", "Tags of web at the path of debian's.", "tags/debian.json", tagsOf("web", { stable: "1" }))
  at("tag-twice", "Tags that list one tag twice.", "tags/debian.json", {
    ...tagsOf("debian", {}),
    tags: ["1", "2"].map((version) => ({ tag: "stable", version, movedAtMs: startMs })),
  })
  at("publisher-signs-the-site", "A publisher lists the site's own document.", "site.json", two.get(`${TARGET_PREFIX}site.json`))
  const limited = bodyOf(two, "targets")
  limited.delegations.roles = limited.delegations.roles.map((role) => ({
    ...role,
    paths: ["images/hpc/*/*.json", "grants/hpc/*/*.json", "tags/hpc/*.json"] as typeof role.paths,
  }))
  all.add(
    "outside-its-pattern",
    "A publisher of hpc/* lists an image called debian.",
    forge(two, { bodies: { targets: limited } }),
    "CATALOG_INVALID",
  )
  const tagsLimited = bodyOf(stableOne, "targets")
  tagsLimited.delegations.roles = tagsLimited.delegations.roles.map((role) => ({
    ...role,
    paths: ["images/*/*.json", "grants/*/*.json", "tags/hpc/*.json"] as typeof role.paths,
  }))
  all.add(
    "tags-outside-its-pattern",
    "A publisher lists tags of debian, and may sign tags below hpc alone.",
    forge(stableOne, { bodies: { targets: tagsLimited } }),
    "CATALOG_INVALID",
  )
  const back = new Map([
    ...changed(byTwo, { delegations: publishersAre({ publisher: twoPublishers.publisher }) }),
    [METADATA_PATH("hpc"), byTwo.get(METADATA_PATH("hpc")) ?? Buffer.alloc(0)],
  ])
  all.add("removed-publishers-file", "The file of a publisher that is delegated no more travels along.", back, "CATALOG_INVALID", {
    trusted: "hpc-removed",
  })
}

function addForms(all: Vectors): void {
  const snapshot = bodyOf(two, "snapshot") as unknown as { meta: Record<string, unknown> }
  snapshot.meta["targets.json"] = { version: 1, length: 10, hashes: {} }
  all.add("listed-without-hash", "The snapshot lists a file without a digest.", forge(two, { bodies: { snapshot } }), "CATALOG_INVALID")
  const root = structuredClone(newestRoot(two))
  root.roles.timestamp.threshold = 0
  all.add("threshold-of-none", "The root asks for no signature of the timestamp.", forge(two, { bodies: { root } }), "CATALOG_INVALID")
  const targets = bodyOf(two, "targets")
  targets.delegations.roles = targets.delegations.roles.map((role) => ({ ...role, paths: ["images/{a,b}/*.json"] as typeof role.paths }))
  all.add(
    "pattern-that-is-a-program",
    "A delegation's path has braces, which some matchers expand.",
    forge(two, { bodies: { targets } }),
    "CATALOG_INVALID",
  )
  const timestamp = (two.get(METADATA_PATH("timestamp")) ?? Buffer.alloc(0)).toString("utf8")
  const doubled = timestamp.replace(/\}\n$/, `,"signed":${JSON.stringify({ ...bodyOf(two, "timestamp"), version: 99 })}}`)
  all.add(
    "signed-part-twice",
    "A second signed part under a doubled JSON key.",
    replaced(two, METADATA_PATH("timestamp"), Buffer.from(doubled)),
    "CATALOG_INVALID",
  )
}

function replaced(files: CatalogFiles, path: string, bytes: Buffer | undefined): CatalogFiles {
  const next = new Map(files)
  if (bytes === undefined) next.delete(path)
  else next.set(path, bytes)
  return next
}

/** Signed by one seed under its own id and another. */
function signedUnder(body: SignedBody<"root"> | SignedBody<"publisher">, seed: Uint8Array, otherId: string): Buffer {
  const sig = sign(signingKeyFromSeed(seed), canonicalJson(body)).toString("hex")
  return Buffer.from(`${JSON.stringify({ signatures: [keyIdOfSeed(seed), otherId].map((keyid) => ({ keyid, sig })), signed: body })}\n`)
}
