/**
 * The site's signed metadata, verified as The Update Framework's client does (specification 1.0.31, section 5). A `Catalog`
 * exists only for files whose whole chain of signatures, versions and digests held, from a root that was trusted before.
 */
import { TrustedMetadataStore } from "tuf-js/dist/store.js"
import {
  readImageDocument,
  readSiteDocument,
  refOf,
  targetPath,
  type Grants,
  type ImageDocument,
  type Manifest,
  type SiteDocument,
} from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, type ImageName, type ImageRef, type ImageVersion, type Sha256 } from "#core/identifiers.ts"
import { parseJson } from "#core/schema.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "./catalog-file.ts"
import { signable } from "./delegation.ts"
import { countRoots, fileOf } from "./files.ts"
import { digestOf, METADATA_BYTES_MAX, readMetadata, readSigned, validSigners, type Listed, type SignedBody } from "./metadata.ts"
import { onlineKeysOf } from "./online-roles.ts"
import { imagesInUse, retiredAtMs } from "./retention.ts"
import { tagNamed, type SignedTags } from "./tags.ts"

export type Catalog = {
  readonly files: CatalogFiles
  /** `site`: without what publishers signed, so that it tells of no image (files.ts `siteScope`). */
  readonly scope: "whole" | "site"
  readonly rootVersion: number
  readonly timestampVersion: number
  readonly snapshotVersion: number
  /** Orders catalogs of a site: a newer root counts before a newer timestamp, whose versions begin anew when its key was replaced. */
  readonly seq: number
  /** Unix ms when the first of its top-level roles expires, and nothing of the site can be used any more. */
  readonly expiresAtMs: number
  /** root, timestamp, snapshot, targets, then the publishers. */
  readonly roles: readonly CatalogRole[]
  readonly site: SiteDocument
  /** By `NAME:VERSION`. */
  readonly images: ReadonlyMap<string, Manifest>
  readonly grants: ReadonlyMap<string, Grants>
  /** By image name. */
  readonly tags: ReadonlyMap<string, SignedTags>
  /** The publisher role that signed each image. */
  readonly publishers: ReadonlyMap<string, string>
}

/** Who signs what, and until when. */
export type CatalogRole = {
  readonly name: string
  readonly version: number
  readonly keyIds: readonly string[]
  readonly threshold: number
  /** Unix ms. */
  readonly expiresAtMs: number
  /** Of a publisher: the TUF paths that it may sign. */
  readonly paths: readonly string[] | null
}

/** Where trust begins: the digest of the first root, as an invite carries it, or files that were verified before. */
export type Anchor = { readonly rootDigest: Sha256 } | { readonly trusted: CatalogFiles }

/**
 * Verifies a catalog from the anchor on. Against trusted files no version of any role may be lower; an equal one may differ,
 * as when two servers signed at the same time. With `scope: "site"` the publishers' files are not asked for, and none may be there.
 * `known`: files that were verified before, the trusted ones if not given; a document that is signed again as it was there is not read again.
 * @throws {GridError} CATALOG_INVALID, CATALOG_ROLLBACK, CATALOG_EXPIRED; with `expiry: "ignore"` never the last
 */
export function openCatalog(
  files: CatalogFiles,
  anchor: Anchor,
  nowMs: number,
  options: { readonly expiry?: "enforce" | "ignore"; readonly scope?: Catalog["scope"]; readonly known?: CatalogFiles } = {},
): Catalog {
  const rootCount = countRoots(files)
  const store = "trusted" in anchor ? trustedStart(files, rootCount, anchor.trusted) : digestStart(files, anchor.rootDigest)
  // The store reads the machine's clock. Expiry is judged below, by the time passed in, with both dates in the error.
  Reflect.set(store, "referenceTime", new Date(0))

  for (let version = store.root.signed.version + 1; version <= rootCount; version++) {
    readMetadata("root", fileOf(files, ROOT_PATH(version)), `root ${version}`)
    verified(`root ${version}`, () => store.updateRoot(fileOf(files, ROOT_PATH(version))))
  }
  const bytes = (role: string): Buffer => fileOf(files, METADATA_PATH(role))
  const root = readMetadata("root", fileOf(files, ROOT_PATH(rootCount)))
  const timestamp = readMetadata("timestamp", bytes("timestamp"))
  verified("timestamp", () => store.updateTimestamp(bytes("timestamp")))
  const snapshot = readMetadata("snapshot", bytes("snapshot"))
  verified("snapshot", () => store.updateSnapshot(bytes("snapshot")))
  if ("trusted" in anchor) refuseRollback(anchor.trusted, { root, timestamp, snapshot })

  const targets = readMetadata("targets", bytes("targets"))
  verified("targets", () => store.updateDelegatedTargets(bytes("targets"), "targets", "root"))
  const { scope = "whole" } = options
  const delegated = scope === "whole" ? targets.delegations.roles : []
  const publishers = delegated.map((role) => {
    return { role, body: readPublisher(bytes(role.name), role, targets.delegations.keys, snapshot.meta[`${role.name}.json`]) }
  })

  const topRole = (name: keyof typeof root.roles, body: { readonly version: number; readonly expires: string }): CatalogRole => {
    const { keyids, threshold } = root.roles[name]
    return { name, version: body.version, keyIds: keyids, threshold, expiresAtMs: Date.parse(body.expires), paths: null }
  }
  const topRoles = [topRole("root", root), topRole("timestamp", timestamp), topRole("snapshot", snapshot), topRole("targets", targets)]
  if (options.expiry !== "ignore") for (const role of topRoles) requireCurrent(role, nowMs)

  const known = options.known ?? ("trusted" in anchor ? anchor.trusted : null)
  const documents = readDocuments(files, targets, publishers, (known && documentsRead.get(known)) ?? new Map())
  requireNoStrays(files, rootCount, publishers, documents.read)
  documentsRead.set(files, documents.read)
  return {
    files,
    scope,
    rootVersion: root.version,
    timestampVersion: timestamp.version,
    snapshotVersion: snapshot.version,
    seq: root.version * TIMESTAMPS_PER_ROOT + timestamp.version,
    expiresAtMs: Math.min(...topRoles.map((role) => role.expiresAtMs)),
    roles: [
      ...topRoles,
      ...publishers.map(({ role, body }) => ({
        name: role.name,
        version: body.version,
        keyIds: role.keyids,
        threshold: role.threshold,
        expiresAtMs: Date.parse(body.expires),
        paths: role.paths,
      })),
    ],
    site: documents.site,
    images: documents.images,
    grants: documents.grants,
    tags: documents.tags,
    publishers: documents.signedBy,
  }
}

/** More than any version is (metadata.ts). */
const TIMESTAMPS_PER_ROOT = 2 ** 31

/** SHA-256 of the first root: what an invite pins. */
export function rootDigest(files: CatalogFiles): Sha256 {
  return digestOf(fileOf(files, ROOT_PATH(1)))
}

/** Of the versions of an image that are in use, the one that was published last. */
export function newestVersion(catalog: Pick<Catalog, "images" | "grants">, name: string): Manifest | null {
  let newest: Manifest | null = null
  for (const manifest of imagesInUse(catalog))
    if (manifest.name === name && (newest === null || isNewer(manifest, newest))) newest = manifest
  return newest
}

/**
 * The manifest of `NAME:VERSION` or `NAME:TAG`, or of the newest version where none is named. A version goes before a tag of its name.
 * @throws {GridError} IMAGE_UNKNOWN, with names or versions that are near, and for a tag of a version that is gone; IMAGE_RETIRED, unless those are to be shown
 */
export function resolveImage(
  catalog: Pick<Catalog, "images" | "grants" | "tags" | "site">,
  query: { readonly name: ImageName; readonly version: ImageVersion | null },
  options: ResolveOptions = {},
): Manifest {
  const { name, version } = query
  const { site } = catalog.site
  const named = (one: string): Manifest | null => catalog.images.get(formatImageRef({ name, version: one as ImageVersion })) ?? null
  let manifest = version === null ? newestVersion(catalog, name) : named(version)
  const tag = manifest === null && version !== null ? tagNamed(catalog, name, version) : null
  if (tag !== null) {
    manifest = named(tag.version)
    const what = `${name}:${tag.tag} of site ${site} is a tag of version ${tag.version}`
    const advice = `its publisher moves it with 'imagegrid tag ${name}:${tag.tag} VERSION'`
    if (manifest === null) throw new GridError("IMAGE_UNKNOWN", `${what}, which is gone with its publisher; ${advice}`)
    if (options.retired !== "show" && retiredAtMs(catalog, manifest) !== null)
      throw new GridError("IMAGE_RETIRED", `${what}, which was taken out of use; ${advice}`)
    return manifest
  }
  const retired = manifest === null || options.retired === "show" ? null : retiredAtMs(catalog, manifest)
  if (retired !== null)
    throw new GridError(
      "IMAGE_RETIRED",
      `${name}:${version} of site ${site}, at ${new Date(retired).toISOString()}; its publisher can bring it back with 'imagegrid retire --undo'`,
    )
  if (manifest !== null) return manifest
  const images = [...catalog.images.values()]
  if (images.length === 0) throw new GridError("IMAGE_UNKNOWN", `${name}; site ${site} has published none yet`)
  const versions = images.filter((image) => image.name === name).sort((a, b) => (isNewer(a, b) ? -1 : 1))
  if (versions.length > 0) {
    const newest = versions.slice(0, NEAR_MAX).map((one) => one.version)
    const tags = catalog.tags.get(name)?.document.tags.map((one) => one.tag) ?? []
    throw new GridError(
      "IMAGE_UNKNOWN",
      `${version === null ? `${name}, of which no version is in use` : `${name}:${version}`}; its newest versions are ${newest.join(", ")}${tags.length === 0 ? "" : `, and its tags ${tags.slice(0, NEAR_MAX).join(", ")}`}`,
    )
  }
  const names = [...new Set(images.map((image) => image.name))]
  const near = names
    .map((one) => ({ name: one, distance: distanceOf(one, name) }))
    .sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1))
  throw new GridError(
    "IMAGE_UNKNOWN",
    `${name}; site ${site} has ${near
      .slice(0, NEAR_MAX)
      .map((one) => one.name)
      .join(", ")}${names.length > NEAR_MAX ? " and others" : ""}`,
  )
}

export type ResolveOptions = {
  /** What to do with a version that was named and is out of use. */
  readonly retired?: "refuse" | "show"
}

/** Names or versions that a refusal lists. */
const NEAR_MAX = 5

function isNewer(a: Manifest, b: Manifest): boolean {
  return a.publishedAtMs === b.publishedAtMs ? a.version > b.version : a.publishedAtMs > b.publishedAtMs
}

/** Letters to insert, delete or replace (Levenshtein); names are ASCII. */
function distanceOf(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let line = 0; line < a.length; line++) {
    const next = [line + 1]
    for (let column = 0; column < b.length; column++)
      next.push(Math.min((next[column] ?? 0) + 1, (row[column + 1] ?? 0) + 1, (row[column] ?? 0) + (a[line] === b[column] ? 0 : 1)))
    row = next
  }
  return row[b.length] ?? 0
}

function digestStart(files: CatalogFiles, expected: Sha256): TrustedMetadataStore {
  const found = rootDigest(files)
  if (found !== expected)
    throw new GridError("CATALOG_INVALID", `its first root has digest ${found}, and ${expected} is trusted: it is another site's`)
  const first = fileOf(files, ROOT_PATH(1))
  if (readMetadata("root", first, "root 1").version !== 1) throw new GridError("CATALOG_INVALID", "root 1 says another version")
  return verified("root 1", () => new TrustedMetadataStore(first))
}

/** TUF 5.3 from the newest root that was trusted. Older roots must be as they were: newcomers start from the first. */
function trustedStart(files: CatalogFiles, rootCount: number, trusted: CatalogFiles): TrustedMetadataStore {
  const trustedCount = countRoots(trusted)
  if (trustedCount === 0) throw new TypeError("the trusted files hold no root")
  if (rootCount < trustedCount) throw new GridError("CATALOG_ROLLBACK", `root ${rootCount}, and ${trustedCount} is trusted`)
  for (let version = 1; version <= trustedCount; version++)
    if (!fileOf(files, ROOT_PATH(version)).equals(fileOf(trusted, ROOT_PATH(version))))
      throw new GridError("CATALOG_INVALID", `root ${version} is not the one that was trusted before`)
  return verified(`root ${trustedCount}`, () => new TrustedMetadataStore(fileOf(trusted, ROOT_PATH(trustedCount))))
}

/**
 * TUF 5.4.3 and 5.5.5. After the keys of timestamp or snapshot were rotated the old versions count no more (5.3.11), so
 * that a site recovers from stolen keys that were used to sign a very high version.
 */
function refuseRollback(
  trustedFiles: CatalogFiles,
  now: { readonly root: SignedBody<"root">; readonly timestamp: SignedBody<"timestamp">; readonly snapshot: SignedBody<"snapshot"> },
): void {
  const trustedRoot = readMetadata("root", fileOf(trustedFiles, ROOT_PATH(countRoots(trustedFiles))))
  if (onlineKeysOf(trustedRoot) !== onlineKeysOf(now.root)) return
  const timestamp = readMetadata("timestamp", fileOf(trustedFiles, METADATA_PATH("timestamp")))
  const snapshot = readMetadata("snapshot", fileOf(trustedFiles, METADATA_PATH("snapshot")))
  const versions: [what: string, came: number, trusted: number][] = [
    ["timestamp", now.timestamp.version, timestamp.version],
    ["snapshot", now.snapshot.version, snapshot.version],
    ...Object.entries(snapshot.meta).map(([name, { version }]): [string, number, number] => [
      name,
      now.snapshot.meta[name]?.version ?? 0,
      version,
    ]),
  ]
  for (const [what, came, trusted] of versions)
    if (came < trusted)
      throw new GridError(
        "CATALOG_ROLLBACK",
        `${what} ${came === 0 ? "is gone" : `version ${came}`}, and ${trusted} is trusted; ask another server`,
      )
}

/** How a role that nobody signed anew in time is brought back. */
const RECOVERY: Readonly<Record<string, string>> = {
  root: "else the holders of the root keys sign it anew with 'imagegrid trust propose --role root --renew'",
  targets: "else the holder of the targets key signs it anew with 'imagegrid trust propose --role targets --renew'",
}

function requireCurrent({ name, expiresAtMs }: CatalogRole, nowMs: number): void {
  if (nowMs < expiresAtMs) return
  throw new GridError(
    "CATALOG_EXPIRED",
    `${name} expired at ${new Date(expiresAtMs).toISOString()}, and this machine's clock says ${new Date(nowMs).toISOString()}; ` +
      `set the clock if it is wrong, ${RECOVERY[name] ?? "else ask another server"}`,
  )
}

/**
 * Refuses an image whose publisher let its signature lapse. Other publishers' images are not touched by that.
 * @throws {GridError} CATALOG_EXPIRED
 */
export function requireCurrentPublisher(catalog: Pick<Catalog, "roles" | "publishers">, image: ImageRef, nowMs: number): void {
  requireCurrentRole(catalog, catalog.publishers.get(formatImageRef(image)), formatImageRef(image), nowMs)
}

/** The same of an image's tags: they may be another publisher's than the version that one of them names. @throws {GridError} CATALOG_EXPIRED */
export function requireCurrentTagger(catalog: Pick<Catalog, "roles" | "tags">, name: string, nowMs: number): void {
  requireCurrentRole(catalog, catalog.tags.get(name)?.publisher, `the tags of ${name}`, nowMs)
}

function requireCurrentRole(catalog: Pick<Catalog, "roles">, name: string | undefined, what: string, nowMs: number): void {
  const role = catalog.roles.find((one) => one.name === name)
  if (role === undefined || nowMs < role.expiresAtMs) return
  throw new GridError(
    "CATALOG_EXPIRED",
    `${role.name} of ${what} expired at ${new Date(role.expiresAtMs).toISOString()}, and this machine's clock says ` +
      `${new Date(nowMs).toISOString()}; set the clock if it is wrong, else its holder signs with 'imagegrid trust propose --role ${role.name} --renew'`,
  )
}

type Publisher = { readonly role: SignedBody<"targets">["delegations"]["roles"][number]; readonly body: SignedBody<"publisher"> }

/**
 * A publisher's file, checked as TUF 5.6.1 to 5.6.4 say. It is the one that grows with every image: the library's model takes time by
 * the square of its length (3.4 s for 2,000 images, against 0.1 s here).
 */
function readPublisher(
  bytes: Buffer,
  role: Publisher["role"],
  keys: SignedBody<"targets">["delegations"]["keys"],
  listed: Listed | undefined,
): SignedBody<"publisher"> {
  const { name, keyids, threshold } = role
  if (listed === undefined) throw new GridError("CATALOG_INVALID", `${name} is not in the snapshot`)
  if (bytes.length !== listed.length || digestOf(bytes) !== listed.hashes.sha256)
    throw new GridError("CATALOG_INVALID", `${name} is not the file that the snapshot lists`)
  const { signatures, signed } = readSigned("publisher", bytes, name)
  const signers = validSigners({ signatures, signed }, keyids, keys)
  if (signers.length < threshold) throw new GridError("CATALOG_INVALID", `${name} was signed by ${signers.length} of ${threshold} keys`)
  if (signed.version !== listed.version)
    throw new GridError("CATALOG_INVALID", `${name} is version ${signed.version}, and the snapshot lists ${listed.version}`)
  return signed
}

/** What a role lists a document by, its bytes, and what they say. */
type ReadDocument = {
  readonly listed: SignedBody<"publisher">["targets"][string]
  readonly bytes: Buffer
  readonly document: ImageDocument
}

/** Of files that were verified, by target path: one more image must not cost what all of them cost. */
const documentsRead = new WeakMap<CatalogFiles, ReadonlyMap<string, ReadDocument>>()

/** Every listed document, of the digest and form that it must have, at the path that is its own. */
function readDocuments(
  files: CatalogFiles,
  targets: SignedBody<"targets">,
  publishers: readonly Publisher[],
  known: ReadonlyMap<string, ReadDocument>,
) {
  const read = new Map<string, ReadDocument>()
  const images = new Map<string, Manifest>()
  const grants = new Map<string, Grants>()
  const tags = new Map<string, SignedTags>()
  const signedBy = new Map<string, string>()
  const listed = Object.keys(targets.targets)
  const siteFile = targets.targets[targetPath.site]
  if (siteFile === undefined || listed.length !== 1)
    throw new GridError("CATALOG_INVALID", `the targets role lists ${listed.join(", ") || "nothing"}; it lists ${targetPath.site} alone`)
  const site = readSiteDocument(jsonOf(targetPath.site, fileOf(files, TARGET_PREFIX + targetPath.site), siteFile))
  for (const { role, body } of publishers) {
    const mayBeSigned = signable(role)
    for (const [path, expected] of Object.entries(body.targets)) {
      // Off-spec: TUF clients ignore a target outside its role's paths; such a file is refused as a whole, so that it is noticed.
      if (!mayBeSigned(path)) throw new GridError("CATALOG_INVALID", `${role.name} may not sign ${path}`)
      if (read.has(path)) throw new GridError("CATALOG_INVALID", `${path} is signed by two roles`)
      const bytes = fileOf(files, TARGET_PREFIX + path)
      const before = known.get(path)
      // With the bytes that are here: those of before are part of a whole catalog that is to go.
      const one = before !== undefined && isSame(before, expected, bytes) ? { ...before, bytes } : readDocument(path, bytes, expected)
      const { document } = one
      if (document.site !== site.site) throw new GridError("CATALOG_INVALID", `${path}: it is of site ${document.site}`)
      read.set(path, one)
      if (document.format === "imagegrid-manifest-1") {
        images.set(formatImageRef(refOf(document)), document)
        signedBy.set(formatImageRef(refOf(document)), role.name)
      } else if (document.format === "imagegrid-grants-1") grants.set(formatImageRef(refOf(document)), document)
      else tags.set(document.name, { document, publisher: role.name })
    }
  }
  return { read, site, images, grants, tags, signedBy }
}

function isSame(before: ReadDocument, { length, hashes }: ReadDocument["listed"], bytes: Buffer): boolean {
  return before.listed.length === length && before.listed.hashes.sha256 === hashes.sha256 && before.bytes.equals(bytes)
}

function readDocument(path: string, bytes: Buffer, listed: ReadDocument["listed"]): ReadDocument {
  const value = jsonOf(path, bytes, listed)
  try {
    return { listed, bytes, document: readImageDocument(path, value) }
  } catch (cause) {
    throw new GridError("CATALOG_INVALID", `${path}: ${cause instanceof Error ? cause.message : "out of form"}`, { cause })
  }
}

function jsonOf(path: string, bytes: Buffer, listed: ReadDocument["listed"]): unknown {
  if (bytes.length !== listed.length || digestOf(bytes) !== listed.hashes.sha256)
    throw new GridError("CATALOG_INVALID", `${path} is not of the digest that was signed`)
  return parseJson(bytes, METADATA_BYTES_MAX, "CATALOG_INVALID", path)
}

/** Nothing travels in a catalog that no role signed for. */
function requireNoStrays(
  files: CatalogFiles,
  rootCount: number,
  publishers: readonly Publisher[],
  documents: ReadonlyMap<string, ReadDocument>,
): void {
  const expected = new Set<string>()
  for (let version = 1; version <= rootCount; version++) expected.add(ROOT_PATH(version))
  for (const role of ["timestamp", "snapshot", "targets", ...publishers.map((publisher) => publisher.role.name)])
    expected.add(METADATA_PATH(role))
  for (const path of [targetPath.site, ...documents.keys()]) expected.add(TARGET_PREFIX + path)
  for (const path of files.keys()) if (!expected.has(path)) throw new GridError("CATALOG_INVALID", `${path} is signed by nobody`)
}

/** The libraries' refusals under our code. */
function verified<Result>(what: string, step: () => Result): Result {
  try {
    return step()
  } catch (cause) {
    throw new GridError("CATALOG_INVALID", `${what}: ${cause instanceof Error ? cause.message : "refused"}`, { cause })
  }
}
