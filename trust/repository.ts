/**
 * Writing a site's repository: what an administrator, a publisher and a server sign. Every function returns new files and
 * leaves those given as they are; the files given were verified by openCatalog before, unless a function says otherwise.
 */
import { DelegatedRole } from "@tufjs/models/dist/role.js"
import {
  readGrants,
  readManifest,
  readSiteDocument,
  refOf,
  targetPath,
  type Grants,
  type Manifest,
  type SiteDocument,
} from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef } from "#core/identifiers.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "./catalog-file.ts"
import { openCatalog, rootDigest } from "./catalog.ts"
import {
  SPEC_VERSION,
  digestOf,
  keyIdOfSeed,
  listedFile,
  readMetadata,
  signMetadata,
  targetFile,
  tufKeyOf,
  tufTime,
  type SignedBody,
} from "./metadata.ts"

const DAY_MS = 24 * 3_600_000

/** How long each role's signature lasts, in ms. */
export type Lifetimes = {
  readonly root: number
  readonly targets: number
  readonly publisher: number
  readonly snapshot: number
  readonly timestamp: number
}

/**
 * Root, targets and publishers are signed by people with keys that are kept apart: a year is what an administrator will keep to.
 * Servers sign the rest by themselves. The timestamp bounds how long someone in the middle can hide news: three days, so that a
 * site whose servers are all down over a weekend still deploys. The snapshot only needs to outlast it.
 */
export const defaultLifetimes: Lifetimes = {
  root: 365 * DAY_MS,
  targets: 365 * DAY_MS,
  publisher: 365 * DAY_MS,
  snapshot: 30 * DAY_MS,
  timestamp: 3 * DAY_MS,
}

/** A snapshot with less left than this is signed anew together with the timestamp. */
const SNAPSHOT_RENEWED_BEFORE_MS = 10 * DAY_MS

/** The one publisher role of a new site. */
const PUBLISHER = "publisher"
/** All images and grants. In TUF a `*` does not cross "/": one pattern for each depth that core/identifiers.ts allows a name. */
const PUBLISHER_PATHS = ["images", "grants"].flatMap((kind) => [1, 2, 3, 4].map((depth) => `${kind}/${"*/".repeat(depth)}*.json`))

/** Ed25519 seeds, 32 bytes each. */
export type RepositoryKeys = {
  readonly root: Uint8Array
  readonly targets: Uint8Array
  readonly publisher: Uint8Array
  readonly snapshot: Uint8Array
  readonly timestamp: Uint8Array
}
/** What every server of a site holds, so that any one of them keeps the repository fresh. */
export type OnlineSeeds = { readonly snapshotSeed: Uint8Array; readonly timestampSeed: Uint8Array }

export type NewRepository = {
  readonly document: SiteDocument
  readonly keys: RepositoryKeys
  readonly nowMs: number
  readonly lifetimes?: Partial<Lifetimes>
}

/** A new site's repository without images. @throws {GridError} CATALOG_INVALID when the site document is out of form */
export function createRepository({ document, keys, nowMs, lifetimes = {} }: NewRepository): CatalogFiles {
  const life = { ...defaultLifetimes, ...lifetimes }
  const siteBytes = documentBytes(readSiteDocument(document))
  const expires = (role: keyof Lifetimes): string => tufTime(nowMs + life[role])
  const keyOf = (role: keyof RepositoryKeys) => ({ [keyIdOfSeed(keys[role])]: tufKeyOf(keys[role]) })
  const signedBy = (role: keyof RepositoryKeys) => ({ keyids: [keyIdOfSeed(keys[role])], threshold: 1 })
  const root: SignedBody<"root"> = {
    _type: "root",
    spec_version: SPEC_VERSION,
    version: 1,
    expires: expires("root"),
    consistent_snapshot: false,
    keys: { ...keyOf("root"), ...keyOf("targets"), ...keyOf("snapshot"), ...keyOf("timestamp") },
    roles: {
      root: signedBy("root"),
      targets: signedBy("targets"),
      snapshot: signedBy("snapshot"),
      timestamp: signedBy("timestamp"),
    },
  }
  const targets: SignedBody<"targets"> = {
    _type: "targets",
    spec_version: SPEC_VERSION,
    version: 1,
    expires: expires("targets"),
    targets: { [targetPath.site]: targetFile(siteBytes) },
    delegations: {
      keys: keyOf("publisher"),
      roles: [{ name: PUBLISHER, ...signedBy("publisher"), terminating: true, paths: PUBLISHER_PATHS }],
    },
  }
  const publisher: SignedBody<"publisher"> = {
    _type: "targets",
    spec_version: SPEC_VERSION,
    version: 1,
    expires: expires("publisher"),
    targets: {},
  }
  const files = new Map([
    [ROOT_PATH(1), signMetadata<"root">(root, [keys.root])],
    [METADATA_PATH("targets"), signMetadata<"targets">(targets, [keys.targets])],
    [METADATA_PATH(PUBLISHER), signMetadata<"publisher">(publisher, [keys.publisher])],
    [TARGET_PREFIX + targetPath.site, siteBytes],
  ])
  const online = { snapshotSeed: keys.snapshot, timestampSeed: keys.timestamp }
  signOnline(files, online, {
    snapshot: { version: 1, expires: expires("snapshot"), former: {} },
    timestamp: { version: 1, expires: expires("timestamp") },
  })
  return files
}

export type PublicationParts = {
  readonly files: CatalogFiles
  readonly publisherSeed: Uint8Array
  readonly manifest: Manifest
  readonly grants: Grants
  readonly nowMs: number
}

/**
 * Lists one more image version and its grants. Returns what has changed: the publisher's metadata and both documents.
 * @throws {GridError} IMAGE_EXISTS, MANIFEST_INVALID; KEY_MISSING when no publisher of the site has this key, or none with it may
 * sign this name
 */
export function signPublication({ files, publisherSeed, manifest, grants, nowMs }: PublicationParts): Map<string, Buffer> {
  const ref = refOf(readManifest(manifest))
  const { site } = readSiteDocument(JSON.parse(fileOf(files, TARGET_PREFIX + targetPath.site).toString("utf8")))
  if (formatImageRef(refOf(readGrants(grants))) !== formatImageRef(ref) || manifest.site !== site || grants.site !== site)
    throw new GridError("MANIFEST_INVALID", `manifest and grants must both be of ${formatImageRef(ref)} of site ${site}`)
  const paths = [targetPath.manifest(ref), targetPath.grants(ref)]
  const role = publisherOf(files, publisherSeed, paths)
  const body = readMetadata("publisher", fileOf(files, METADATA_PATH(role)), role)
  const documents = new Map([
    [targetPath.manifest(ref), documentBytes(manifest)],
    [targetPath.grants(ref), documentBytes(grants)],
  ])
  for (const path of paths)
    if (files.has(TARGET_PREFIX + path)) throw new GridError("IMAGE_EXISTS", `${formatImageRef(ref)}; publish it under another version`)
  const next: SignedBody<"publisher"> = {
    ...body,
    version: body.version + 1,
    expires: tufTime(nowMs + defaultLifetimes.publisher),
    targets: { ...body.targets, ...Object.fromEntries([...documents].map(([path, bytes]) => [path, targetFile(bytes)])) },
  }
  const publication = new Map([[METADATA_PATH(role), signMetadata<"publisher">(next, [publisherSeed])]])
  for (const [path, bytes] of documents) publication.set(TARGET_PREFIX + path, bytes)
  return publication
}

export type PublicationChange = {
  readonly files: CatalogFiles
  /** Of any origin: it is verified here. */
  readonly publication: CatalogFiles
  readonly online: OnlineSeeds
  readonly nowMs: number
}

/**
 * Takes a publisher's newly signed files into the repository and signs a new snapshot and timestamp. A publication that is in it
 * already changes nothing: `files` itself comes back.
 * @throws {GridError} CATALOG_INVALID; CATALOG_ROLLBACK when another publication came between: sign again; IMAGE_EXISTS; KEY_MISSING
 */
export function applyPublication({ files, publication, online, nowMs }: PublicationChange): CatalogFiles {
  if ([...publication].every(([path, bytes]) => files.get(path)?.equals(bytes) === true)) return files
  const targets = readMetadata("targets", fileOf(files, METADATA_PATH("targets")))
  const role = targets.delegations.roles.find(({ name }) => publication.has(METADATA_PATH(name)))?.name
  if (role === undefined)
    throw new GridError("CATALOG_INVALID", "a publication holds the metadata of one publisher of the site; this one does not")
  const before = readMetadata("publisher", fileOf(files, METADATA_PATH(role)), role)
  const after = readMetadata("publisher", fileOf(publication, METADATA_PATH(role)), role)
  if (after.version <= before.version)
    throw new GridError(
      "CATALOG_ROLLBACK",
      `${role} version ${after.version}, and ${before.version} is here: another publication came first; publish again`,
    )
  if (after.version !== before.version + 1)
    throw new GridError(
      "CATALOG_INVALID",
      `${role} version ${after.version} came after ${before.version}; wait until this server has the ones between, and publish again`,
    )
  for (const [path, { length, hashes }] of Object.entries(before.targets)) {
    const kept = after.targets[path]
    if (kept === undefined) throw new GridError("CATALOG_INVALID", `${path} is gone; what was published stays`)
    if (kept.length !== length || kept.hashes.sha256 !== hashes.sha256)
      throw new GridError("IMAGE_EXISTS", `${path} would change, and versions never do`)
  }
  requirePairs(Object.keys(after.targets))
  const added = Object.keys(after.targets).filter((path) => !Object.hasOwn(before.targets, path))
  const expected = new Set([METADATA_PATH(role), ...added.map((path) => TARGET_PREFIX + path)])
  for (const path of publication.keys())
    if (!expected.has(path)) throw new GridError("CATALOG_INVALID", `${path} is not part of this publication`)

  const next = new Map([...files, ...publication])
  const { snapshot, timestamp } = onlineBodies(files)
  signOnline(next, online, {
    snapshot: { version: snapshot.version + 1, expires: tufTime(nowMs + defaultLifetimes.snapshot), former: snapshot.meta },
    timestamp: { version: timestamp.version + 1, expires: tufTime(nowMs + defaultLifetimes.timestamp) },
  })
  openCatalog(next, { trusted: files }, nowMs)
  return next
}

export type Refresh = { readonly files: CatalogFiles; readonly online: OnlineSeeds; readonly nowMs: number }

/** Signs a newer timestamp and, near its end, a newer snapshot. @throws {GridError} KEY_MISSING */
export function refreshTimestamp({ files, online, nowMs }: Refresh): CatalogFiles {
  const next = new Map(files)
  const { snapshot, timestamp } = onlineBodies(files)
  const renewed = Date.parse(snapshot.expires) - nowMs < SNAPSHOT_RENEWED_BEFORE_MS
  signOnline(next, online, {
    ...(renewed && {
      snapshot: { version: snapshot.version + 1, expires: tufTime(nowMs + defaultLifetimes.snapshot), former: snapshot.meta },
    }),
    timestamp: { version: timestamp.version + 1, expires: tufTime(nowMs + defaultLifetimes.timestamp) },
  })
  return next
}

export type CatalogMerge = {
  readonly mine: CatalogFiles
  /** Verified from the same first root. */
  readonly theirs: CatalogFiles
  readonly online: OnlineSeeds
  readonly nowMs: number
}

/**
 * One repository of two that servers signed apart. Of every role the higher version is taken; where two files of one version
 * differ, the one with the greater digest. If one side has all of that it comes back as it is. Else a higher snapshot and
 * timestamp are signed, and every server that merges the same two gets the same bytes, so that servers agree at once instead of
 * signing past each other for ever.
 *
 * Two publications of one publisher that two servers took under the same version can't both stay: only the publisher could sign
 * their union. The publisher sees its version missing and publishes again.
 * @throws {GridError} CATALOG_INVALID when the two are of different sites or roots; KEY_MISSING
 */
export function mergeCatalogs({ mine, theirs, online, nowMs }: CatalogMerge): CatalogFiles {
  if (rootDigest(mine) !== rootDigest(theirs))
    throw new GridError("CATALOG_INVALID", "the other catalog begins at another root: it is another site's")
  const merged = new Map<string, Buffer>()
  const sides = [mine, theirs]
  for (const path of new Set(sides.flatMap((side) => [...side.keys()]))) {
    if (!/^metadata\/[0-9]+\.root\.json$/.test(path)) continue
    const [a, b] = [mine.get(path), theirs.get(path)]
    if (a !== undefined && b !== undefined && !a.equals(b))
      throw new GridError("CATALOG_INVALID", `${path} differs: one of the two was forged`)
    merged.set(path, a ?? b ?? Buffer.alloc(0))
  }
  const take = (side: CatalogFiles, role: string, listed: Readonly<Record<string, unknown>>): void => {
    merged.set(METADATA_PATH(role), fileOf(side, METADATA_PATH(role)))
    for (const path of Object.keys(listed)) merged.set(TARGET_PREFIX + path, fileOf(side, TARGET_PREFIX + path))
  }
  const targetsSide = newerSide(mine, theirs, "targets")
  const targets = readMetadata("targets", fileOf(targetsSide, METADATA_PATH("targets")))
  take(targetsSide, "targets", targets.targets)
  for (const { name } of targets.delegations.roles) {
    const side = newerSide(mine, theirs, name)
    take(side, name, readMetadata("publisher", fileOf(side, METADATA_PATH(name)), name).targets)
  }

  for (const side of sides) if (covers(side, merged) && isNewest(side, sides)) return side
  const [a, b] = [onlineBodies(mine), onlineBodies(theirs)]
  const keepsSnapshot = fileOf(mine, METADATA_PATH("snapshot")).equals(fileOf(theirs, METADATA_PATH("snapshot")))
  if (keepsSnapshot) merged.set(METADATA_PATH("snapshot"), fileOf(mine, METADATA_PATH("snapshot")))
  signOnline(merged, online, {
    ...(!keepsSnapshot && {
      snapshot: {
        version: Math.max(a.snapshot.version, b.snapshot.version) + 1,
        expires: laterExpiry(a.snapshot, b.snapshot, nowMs, defaultLifetimes.snapshot),
        former: higherVersions(a.snapshot.meta, b.snapshot.meta),
      },
    }),
    timestamp: {
      version: Math.max(a.timestamp.version, b.timestamp.version) + 1,
      expires: laterExpiry(a.timestamp, b.timestamp, nowMs, defaultLifetimes.timestamp),
    },
  })
  return merged
}

/** The side whose file of this role is newer. */
function newerSide(mine: CatalogFiles, theirs: CatalogFiles, role: string): CatalogFiles {
  const [a, b] = [mine.get(METADATA_PATH(role)), theirs.get(METADATA_PATH(role))]
  if (a === undefined || b === undefined) return b === undefined ? mine : theirs
  const kind = role === "targets" ? "targets" : "publisher"
  const ahead = readMetadata(kind, a, role).version - readMetadata(kind, b, role).version
  if (ahead !== 0) return ahead > 0 ? mine : theirs
  return digestOf(a) >= digestOf(b) ? mine : theirs
}

function covers(side: CatalogFiles, content: CatalogFiles): boolean {
  return [...content].every(([path, bytes]) => side.get(path)?.equals(bytes) === true)
}

/** Whether no side has a higher snapshot or timestamp, or another of the same version. */
function isNewest(side: CatalogFiles, sides: readonly CatalogFiles[]): boolean {
  const own = onlineBodies(side)
  return sides.every((other) => {
    const others = onlineBodies(other)
    return (["snapshot", "timestamp"] as const).every(
      (role) => own[role].version > others[role].version || fileOf(side, METADATA_PATH(role)).equals(fileOf(other, METADATA_PATH(role))),
    )
  })
}

/** From the two alone, for equal bytes everywhere; by the clock only when both have passed. */
function laterExpiry(a: { readonly expires: string }, b: { readonly expires: string }, nowMs: number, lifetimeMs: number): string {
  const later = a.expires > b.expires ? a.expires : b.expires
  return Date.parse(later) > nowMs ? later : tufTime(nowMs + lifetimeMs)
}

type SnapshotMeta = SignedBody<"snapshot">["meta"]

function higherVersions(a: SnapshotMeta, b: SnapshotMeta): SnapshotMeta {
  const higher = { ...a }
  for (const [name, listed] of Object.entries(b)) if (listed.version > (higher[name]?.version ?? 0)) higher[name] = listed
  return higher
}

function onlineBodies(files: CatalogFiles): { readonly snapshot: SignedBody<"snapshot">; readonly timestamp: SignedBody<"timestamp"> } {
  return {
    snapshot: readMetadata("snapshot", fileOf(files, METADATA_PATH("snapshot"))),
    timestamp: readMetadata("timestamp", fileOf(files, METADATA_PATH("timestamp"))),
  }
}

type OnlineChange = {
  /** `former`: what the last snapshot listed. A role that is no more stays listed (TUF 5.5.5), or clients would see a rollback. */
  readonly snapshot?: { readonly version: number; readonly expires: string; readonly former: SnapshotMeta }
  readonly timestamp: { readonly version: number; readonly expires: string }
}

/** Signs the snapshot, where one is asked for, and the timestamp over the other files, and puts them in. */
function signOnline(files: Map<string, Buffer>, online: OnlineSeeds, change: OnlineChange): void {
  const root = newestRoot(files)
  for (const [role, seed] of [["snapshot", online.snapshotSeed] as const, ["timestamp", online.timestampSeed] as const])
    if (!root.roles[role].keyids.includes(keyIdOfSeed(seed)))
      throw new GridError("KEY_MISSING", `the ${role} key of this server is not the site's any more; join again with a new invite`)
  if (change.snapshot !== undefined) {
    const { version, expires, former } = change.snapshot
    const meta: SnapshotMeta = { ...former }
    const targetsBytes = fileOf(files, METADATA_PATH("targets"))
    const targets = readMetadata("targets", targetsBytes)
    meta["targets.json"] = listedFile(targets.version, targetsBytes)
    for (const { name } of targets.delegations.roles) {
      const bytes = fileOf(files, METADATA_PATH(name))
      meta[`${name}.json`] = listedFile(readMetadata("publisher", bytes, name).version, bytes)
    }
    const body: SignedBody<"snapshot"> = { _type: "snapshot", spec_version: SPEC_VERSION, version, expires, meta }
    files.set(METADATA_PATH("snapshot"), signMetadata<"snapshot">(body, [online.snapshotSeed]))
  }
  const snapshotBytes = fileOf(files, METADATA_PATH("snapshot"))
  const { version, expires } = change.timestamp
  const meta = { "snapshot.json": listedFile(readMetadata("snapshot", snapshotBytes).version, snapshotBytes) }
  const body: SignedBody<"timestamp"> = { _type: "timestamp", spec_version: SPEC_VERSION, version, expires, meta }
  files.set(METADATA_PATH("timestamp"), signMetadata<"timestamp">(body, [online.timestampSeed]))
}

function newestRoot(files: CatalogFiles): SignedBody<"root"> {
  let version = 1
  while (files.has(ROOT_PATH(version + 1))) version++
  return readMetadata("root", fileOf(files, ROOT_PATH(version)))
}

/** The publisher role that has this key and may sign these paths. */
function publisherOf(files: CatalogFiles, seed: Uint8Array, paths: readonly string[]): string {
  const { delegations } = readMetadata("targets", fileOf(files, METADATA_PATH("targets")))
  const keyId = keyIdOfSeed(seed)
  const own = delegations.roles.filter((role) => role.keyids.includes(keyId) && role.threshold === 1)
  if (own.length === 0) throw new GridError("KEY_MISSING", "this home's publisher key is none of the site's; use a home of a publisher")
  const fit = own.find((role) => {
    const delegated = new DelegatedRole({ ...role, keyIDs: role.keyids })
    return paths.every((path) => delegated.isDelegatedPath(path))
  })
  if (fit === undefined)
    throw new GridError(
      "KEY_MISSING",
      `this publisher may sign ${own.flatMap((role) => role.paths).join(", ")}, and not ${paths.join(", ")}`,
    )
  return fit.name
}

/** An image without grants opens for nobody, and grants without an image open nothing. */
function requirePairs(paths: readonly string[]): void {
  const all = new Set(paths)
  for (const path of paths) {
    const [kind, ...rest] = path.split("/")
    const other = [kind === "images" ? "grants" : "images", ...rest].join("/")
    if (!all.has(other)) throw new GridError("CATALOG_INVALID", `${path} stands without ${other}`)
  }
}

function documentBytes(document: SiteDocument | Manifest | Grants): Buffer {
  return Buffer.from(`${JSON.stringify(document)}\n`)
}

function fileOf(files: CatalogFiles, path: string): Buffer {
  const bytes = files.get(path)
  if (bytes === undefined) throw new GridError("CATALOG_INVALID", `${path} is missing`)
  return bytes
}
