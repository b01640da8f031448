/**
 * Changes that people sign: of the root, of the targets role with the site document and the delegations, and of publishers' files. A
 * change is the set of newly written files, by their path in the catalog. It begins as a draft without signatures, passes from one
 * holder of keys to the next, and is applied once each of its files has as many signatures as its role asks for. Pure.
 *
 * Invariant: nothing of a change counts before `applyChange` has verified all of it against what is trusted.
 */
import { readImageDocument, targetPath, type ImageDocument, type SiteDocument } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { parseJson } from "#core/schema.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "./catalog-file.ts"
import { openCatalog } from "./catalog.ts"
import { maySign, signable, type Delegation } from "./delegation.ts"
import { documentBytes, fileOf, newestRoot, publisherFileOf, siteDocumentOf, targetsOf } from "./files.ts"
import { defaultLifetimes } from "./lifetimes.ts"
import {
  addSignatures,
  keyIdOfSeed,
  METADATA_BYTES_MAX,
  readMetadata,
  readSigned,
  signMetadata,
  SPEC_VERSION,
  targetFile,
  tufTime,
  validSigners,
  type SignedBody,
} from "./metadata.ts"
import { requireOneMeaning } from "./tags.ts"
import { nextVersion, onlineBodies, onlineKeysOf, signAfterChange, type OnlineSeeds } from "./online-roles.ts"

/** Newly written files by path. Metadata may lack signatures. */
export type Change = CatalogFiles

export type PublisherEdit = {
  /** Put in, by target path. */
  readonly documents?: ReadonlyMap<string, ImageDocument>
}

/** What is to be different. Versions and expiries follow by themselves. */
export type Edits = {
  readonly root?: (root: SignedBody<"root">) => SignedBody<"root">
  readonly site?: (document: SiteDocument) => SiteDocument
  readonly delegations?: (delegations: SignedBody<"targets">["delegations"]) => SignedBody<"targets">["delegations"]
  /** Publishers whose files are written anew, by role. */
  readonly publishers?: ReadonlyMap<string, PublisherEdit>
}

/**
 * The edits as files without signatures. What must be signed again because its keys changed is in it without being asked for: targets when
 * the root names others for it, a publisher's file when its delegation does.
 * @throws {GridError} CATALOG_INVALID when the edits lead out of form
 */
export function draftChange(files: CatalogFiles, edits: Edits, nowMs: number): Change {
  const change = new Map<string, Buffer>()
  const rootBefore = newestRoot(files)
  const root = edits.root?.(structuredClone(rootBefore)) ?? rootBefore
  const replaced = onlineKeysOf(root) !== onlineKeysOf(rootBefore)
  if (edits.root !== undefined) {
    const version = rootBefore.version + 1
    const body = { ...withoutUnusedKeys(root), version, expires: tufTime(nowMs + defaultLifetimes.root) }
    change.set(ROOT_PATH(version), signMetadata<"root">(body, []))
  }

  const targetsBefore = targetsOf(files)
  const delegations = edits.delegations?.(structuredClone(targetsBefore.delegations)) ?? targetsBefore.delegations
  const rekeyed = !sameSigners(root.roles.targets, rootBefore.roles.targets)
  if (edits.site !== undefined || edits.delegations !== undefined || rekeyed) {
    const site = documentBytes(edits.site?.(siteDocumentOf(files)) ?? siteDocumentOf(files))
    if (!site.equals(fileOf(files, TARGET_PREFIX + targetPath.site))) change.set(TARGET_PREFIX + targetPath.site, site)
    const body: SignedBody<"targets"> = {
      ...targetsBefore,
      version: nextVersion(targetsBefore.version, replaced),
      expires: tufTime(nowMs + defaultLifetimes.targets),
      targets: { [targetPath.site]: targetFile(site) },
      delegations: withoutUnusedDelegationKeys(delegations),
    }
    change.set(METADATA_PATH("targets"), signMetadata<"targets">(body, []))
  }

  const edited = edits.publishers ?? new Map<string, PublisherEdit>()
  for (const role of delegations.roles) {
    const before = targetsBefore.delegations.roles.find(({ name }) => name === role.name)
    const unchanged = before !== undefined && sameSigners(role, before) && samePaths(role, before)
    if (unchanged && !edited.has(role.name)) continue
    const body = publisherBody(files, role, edited.get(role.name)?.documents ?? new Map(), replaced, nowMs)
    change.set(METADATA_PATH(role.name), signMetadata<"publisher">(body, []))
    for (const [path, document] of edited.get(role.name)?.documents ?? []) change.set(TARGET_PREFIX + path, documentBytes(document))
  }
  for (const role of edited.keys())
    if (!delegations.roles.some(({ name }) => name === role)) throw new GridError("CATALOG_INVALID", `the site has no publisher ${role}`)
  for (const [path, bytes] of change) readDraft(path, bytes)
  return change
}

/** A signature that a file of a change needs: of so many of these keys. */
export type Requirement = {
  /** Path of the file. */
  readonly path: string
  readonly role: string
  /** Whose keys are asked for: those of the role, or, for a root, also of the root before it. */
  readonly by: "role" | "former root"
  readonly threshold: number
  readonly keyIds: readonly string[]
  /** Those of them that have signed validly. */
  readonly signedBy: readonly string[]
}

/** All signatures that the change needs, given and missing. @throws {GridError} CATALOG_INVALID */
export function requirementsOf(files: CatalogFiles, change: Change): Requirement[] {
  const after = new Map([...files, ...change])
  const root = newestRoot(after)
  const rootBefore = newestRoot(files)
  const requirements: Requirement[] = []
  const ask = (
    path: string,
    kind: "root" | "targets" | "publisher",
    role: string,
    by: Requirement["by"],
    { keyids, threshold }: { readonly keyids: readonly string[]; readonly threshold: number },
    keys: SignedBody<"root">["keys"],
  ): void => {
    const signedBy = validSigners(readSigned(kind, fileOf(change, path), path), keyids, keys)
    requirements.push({ path, role, by, threshold, keyIds: keyids, signedBy })
  }
  const rootPath = ROOT_PATH(rootBefore.version + 1)
  if (change.has(rootPath)) {
    ask(rootPath, "root", "root", "former root", rootBefore.roles.root, rootBefore.keys)
    ask(rootPath, "root", "root", "role", root.roles.root, root.keys)
  }
  if (change.has(METADATA_PATH("targets"))) ask(METADATA_PATH("targets"), "targets", "targets", "role", root.roles.targets, root.keys)
  const { delegations } = targetsOf(after)
  for (const role of delegations.roles)
    if (change.has(METADATA_PATH(role.name))) ask(METADATA_PATH(role.name), "publisher", role.name, "role", role, delegations.keys)
  return requirements
}

export function isComplete(requirements: readonly Requirement[]): boolean {
  return requirements.every(({ threshold, signedBy }) => signedBy.length >= threshold)
}

/** The change with a signature of each seed wherever the seed's key is asked for. */
export function signChange(files: CatalogFiles, change: Change, seeds: readonly Uint8Array[]): Change {
  const signed = new Map(change)
  for (const { path, role, keyIds } of requirementsOf(files, change)) {
    const fit = seeds.filter((seed) => keyIds.includes(keyIdOfSeed(seed)))
    if (fit.length > 0) signed.set(path, addSignatures(kindOf(path), fileOf(signed, path), fit, role))
  }
  return signed
}

export type ChangeParts = {
  readonly files: CatalogFiles
  /** Of any origin: it is verified here. */
  readonly change: Change
  /** Those that the root names once the change is in; null where they are not held here. */
  readonly online: (root: SignedBody<"root">) => OnlineSeeds | null
  readonly nowMs: number
}

/**
 * Takes a change into the repository and signs a new snapshot and timestamp. A change that is in it already changes nothing: `files`
 * itself comes back.
 * @throws {GridError} CATALOG_INVALID; CATALOG_ROLLBACK when another change came between: make it again; IMAGE_EXISTS; TAG_EXISTS; SIGNATURES_MISSING;
 * KEY_MISSING
 */
export function applyChange({ files, change, online, nowMs }: ChangeParts): CatalogFiles {
  if ([...change].every(([path, bytes]) => files.get(path)?.equals(bytes) === true)) return files
  const expected = new Set<string>()
  const rootBefore = newestRoot(files)
  const rootPath = ROOT_PATH(rootBefore.version + 1)
  for (const path of change.keys()) if (path.endsWith(".root.json") && path !== rootPath) throw staleChange("root", path, rootPath)
  if (change.has(rootPath)) expected.add(rootPath)
  const after = new Map([...files, ...change])
  const replaced = onlineKeysOf(newestRoot(after)) !== onlineKeysOf(rootBefore)

  const targetsBefore = targetsOf(files)
  const targets = targetsOf(after)
  if (change.has(METADATA_PATH("targets"))) {
    expected.add(METADATA_PATH("targets"))
    requireNext("targets", targets.version, targetsBefore.version, replaced)
    if (targets.targets[targetPath.site]?.hashes.sha256 !== targetsBefore.targets[targetPath.site]?.hashes.sha256)
      expected.add(TARGET_PREFIX + targetPath.site)
    const [from, to] = [siteDocumentOf(files).site, siteDocumentOf(after).site]
    if (from !== to) throw new GridError("CATALOG_INVALID", `the site would be called ${to} instead of ${from}; make a new site for that`)
  }

  for (const role of targetsBefore.delegations.roles)
    if (!targets.delegations.roles.some(({ name }) => name === role.name)) {
      after.delete(METADATA_PATH(role.name))
      // Another publisher may take them over in the same change.
      for (const path of Object.keys(publisherFileOf(files, role.name).targets))
        if (!change.has(TARGET_PREFIX + path)) after.delete(TARGET_PREFIX + path)
    }
  for (const role of targets.delegations.roles) {
    if (!change.has(METADATA_PATH(role.name))) continue
    expected.add(METADATA_PATH(role.name))
    for (const path of appliedPublisher(files, after, role, replaced)) expected.add(TARGET_PREFIX + path)
  }
  for (const path of change.keys()) if (!expected.has(path)) throw new GridError("CATALOG_INVALID", `${path} is not part of this change`)
  requireSignatures(requirementsOf(files, change))

  for (const path of change.keys()) if (path.startsWith("metadata/")) requireUnexpired(path, fileOf(change, path), nowMs)

  const seeds = online(newestRoot(after))
  if (seeds === null)
    throw new GridError("KEY_MISSING", "this server does not hold the online keys that the change names; apply it where they were made")
  signAfterChange(after, files, seeds, nowMs)
  // What the change brings is current, as was checked; what it leaves alone may have expired, and has its own change to come back by.
  requireOneMeaning(openCatalog(after, { trusted: files }, nowMs, { expiry: "ignore" }), change)
  return after
}

/** @throws {GridError} SIGNATURES_MISSING */
export function requireSignatures(requirements: readonly Requirement[]): void {
  const missing = requirements.filter(({ threshold, signedBy }) => signedBy.length < threshold)
  if (missing.length === 0) return
  const words = missing.map(
    ({ role, by, threshold, signedBy }) =>
      `${role} has ${signedBy.length} of ${threshold} signatures${by === "former root" ? " by the keys of the root before" : ""}`,
  )
  throw new GridError("SIGNATURES_MISSING", `${words.join(", ")}; pass the file on to other holders for 'imagegrid trust sign'`)
}

/** Checks a publisher's new file against the old one; returns the targets that the change brings, and drops from `after` those that are gone. */
function appliedPublisher(files: CatalogFiles, after: Map<string, Buffer>, role: Delegation, replaced: boolean): string[] {
  const next = publisherFileOf(after, role.name)
  const isNew = !files.has(METADATA_PATH(role.name))
  requireNext(role.name, next.version, isNew ? formerVersion(files, role.name) : publisherFileOf(files, role.name).version, replaced)
  const before = isNew ? {} : publisherFileOf(files, role.name).targets
  for (const [path, { length, hashes }] of Object.entries(before)) {
    const kept = next.targets[path]
    if (kept === undefined) {
      if (maySign(role, [path])) throw new GridError("CATALOG_INVALID", `${path} is gone; what was published stays`)
      after.delete(TARGET_PREFIX + path)
    } else if (path.startsWith("images/") && (kept.length !== length || kept.hashes.sha256 !== hashes.sha256))
      throw new GridError("IMAGE_EXISTS", `${path} would change, and versions never do`)
  }
  requirePairs(Object.keys(next.targets))
  return Object.entries(next.targets)
    .filter(([path, { hashes }]) => before[path]?.hashes.sha256 !== hashes.sha256)
    .map(([path]) => path)
}

/** What the snapshot still says of a role that was removed; 0 for one that never was. */
function formerVersion(files: CatalogFiles, role: string): number {
  return onlineBodies(files).snapshot.meta[`${role}.json`]?.version ?? 0
}

function requireNext(role: string, came: number, before: number, replaced: boolean): void {
  if (came === nextVersion(before, replaced)) return
  if (came <= before)
    throw new GridError(
      "CATALOG_ROLLBACK",
      `${role} version ${came}, and ${before} is here: another change came first; make this one again`,
    )
  throw new GridError(
    "CATALOG_INVALID",
    `${role} version ${came} came after ${before}; wait until this server has the ones between, and try again`,
  )
}

function requireUnexpired(path: string, bytes: Buffer, nowMs: number): void {
  const { expires } = readMetadata(kindOf(path), bytes, path)
  if (Date.parse(expires) <= nowMs)
    throw new GridError("CATALOG_EXPIRED", `${path} of the change expired at ${expires}; make and sign the change again`)
}

function staleChange(role: string, came: string, expected: string): GridError {
  return new GridError("CATALOG_ROLLBACK", `the change has ${came}, and the next ${role} here is ${expected}; make the change again`)
}

function publisherBody(
  files: CatalogFiles,
  role: Delegation,
  documents: ReadonlyMap<string, ImageDocument>,
  replaced: boolean,
  nowMs: number,
): SignedBody<"publisher"> {
  const before = files.has(METADATA_PATH(role.name)) ? publisherFileOf(files, role.name) : null
  const mayBeSigned = signable(role)
  const kept = Object.entries(before?.targets ?? {}).filter(([path]) => mayBeSigned(path))
  const added = [...documents].map(([path, document]) => {
    readImageDocument(path, document)
    return [path, targetFile(documentBytes(document))] as const
  })
  return {
    _type: "targets",
    spec_version: SPEC_VERSION,
    version: nextVersion(before?.version ?? formerVersion(files, role.name), replaced),
    expires: tufTime(nowMs + defaultLifetimes.publisher),
    targets: Object.fromEntries([...kept, ...added]),
  }
}

/** An image without grants opens for nobody, and grants without an image open nothing. */
function requirePairs(paths: readonly string[]): void {
  const all = new Set(paths)
  for (const path of paths) {
    const [kind, ...rest] = path.split("/")
    if (kind === "tags") continue
    const other = [kind === "images" ? "grants" : "images", ...rest].join("/")
    if (!all.has(other)) throw new GridError("CATALOG_INVALID", `${path} stands without ${other}`)
  }
}

export function sameSigners(
  a: { readonly keyids: readonly string[]; readonly threshold: number },
  b: { readonly keyids: readonly string[]; readonly threshold: number },
): boolean {
  return a.threshold === b.threshold && [...a.keyids].sort().join() === [...b.keyids].sort().join()
}

export function samePaths(a: Delegation, b: Delegation): boolean {
  return [...a.paths].sort().join() === [...b.paths].sort().join()
}

function withoutUnusedKeys(root: SignedBody<"root">): SignedBody<"root"> {
  const used = new Set(Object.values(root.roles).flatMap(({ keyids }) => keyids))
  return { ...root, keys: Object.fromEntries(Object.entries(root.keys).filter(([id]) => used.has(id))) }
}

function withoutUnusedDelegationKeys(delegations: SignedBody<"targets">["delegations"]): SignedBody<"targets">["delegations"] {
  const used = new Set(delegations.roles.flatMap(({ keyids }) => keyids))
  return { ...delegations, keys: Object.fromEntries(Object.entries(delegations.keys).filter(([id]) => used.has(id))) }
}

function kindOf(path: string): "root" | "targets" | "publisher" {
  if (path.endsWith(".root.json")) return "root"
  return path === METADATA_PATH("targets") ? "targets" : "publisher"
}

/** That a file of a change is in form. @throws {GridError} CATALOG_INVALID, MANIFEST_INVALID */
export function readDraft(path: string, bytes: Buffer): void {
  if (path.startsWith("metadata/")) readMetadata(kindOf(path), bytes, path)
  else parseJson(bytes, METADATA_BYTES_MAX, "CATALOG_INVALID", path)
}
