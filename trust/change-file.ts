/**
 * A change on its way between the holders of keys: one JSON file with the new files and those that they follow, so that a machine without a
 * home or a network can say what would change and sign it. Nothing in it is believed: what the new files follow was signed, and shows by its
 * signatures whether it is the site's; and each new document is the one that the new metadata names, so that a signature is over what was read.
 */
import { Type } from "typebox"
import { Base64, Label, readImageDocument, targetPath } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { parseJson, reader } from "#core/schema.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "./catalog-file.ts"
import { readDraft, type Change } from "./change.ts"
import { countRoots, fileOf, newestRoot, publisherFileOf, siteDocumentOf, targetsOf } from "./files.ts"
import { digestOf, METADATA_BYTES_MAX, readMetadata, readSigned, validSigners, type SignedBody } from "./metadata.ts"
import { nextVersion, onlineKeysOf } from "./online-roles.ts"

export const CHANGE_FILE_BYTES_MAX = 64 * 1024 * 1024

const Files = Type.Record(Type.String({ pattern: "^[a-z0-9._/-]{1,300}$" }), Base64(Math.ceil(METADATA_BYTES_MAX / 3) * 4), {
  additionalProperties: false,
})
const readChangeFile = reader(
  Type.Object(
    {
      format: Type.Literal("imagegrid-change-1"),
      site: Label,
      /** What is new. */
      change: Files,
      /** What it follows: all roots, the targets role with the site document, and the files of the publishers that change or go. */
      follows: Files,
    },
    { additionalProperties: false },
  ),
  "CATALOG_INVALID",
  "change file",
)

/** A change and the files that it follows, as a catalog that holds nothing else. */
export type CarriedChange = { readonly change: Change; readonly files: CatalogFiles }

export function encodeChange({ change, files }: CarriedChange): Buffer {
  const follows = new Map<string, Buffer>()
  for (let version = 1; version <= countRoots(files); version++) follows.set(ROOT_PATH(version), fileOf(files, ROOT_PATH(version)))
  for (const path of [METADATA_PATH("targets"), TARGET_PREFIX + targetPath.site]) follows.set(path, fileOf(files, path))
  const kept = publishersOf(new Map([...files, ...change]))
  const gone = [...publishersOf(files)].filter((role) => !kept.has(role)).map(METADATA_PATH)
  for (const path of [...change.keys(), ...gone]) {
    const before = files.get(path)
    if (before !== undefined) follows.set(path, before)
  }
  const { site } = siteDocumentOf(files)
  return Buffer.from(
    `${JSON.stringify({ format: "imagegrid-change-1", site, change: packed(change), follows: packed(follows) }, null, 1)}\n`,
  )
}

/**
 * Reads a change file of any origin. What it follows is checked to be signed as its own roots ask; whether those roots are the site's shows in
 * their digest. The change is checked to be the very next one: against anything older, what came between would not show as a difference.
 * @throws {GridError} CATALOG_INVALID, MANIFEST_INVALID
 */
export function decodeChange(bytes: Uint8Array): CarriedChange {
  const { change: newFiles, follows, site } = readChangeFile(parseJson(bytes, CHANGE_FILE_BYTES_MAX, "CATALOG_INVALID", "change file"))
  const files = unpacked(follows)
  requireSigned(files)
  requireNoStrays(files)
  if (siteDocumentOf(files).site !== site) refuse("it follows another site's document")
  const change = unpacked(newFiles)
  if (change.size === 0) refuse("it changes nothing")
  for (const [path, file] of change) readDraft(path, file)
  requireNext(files, change)
  return { change, files }
}

/**
 * That a change follows what is current here, byte for byte in all that it replaces. Versions alone would not tell: two servers may each have taken
 * a change under one version, and this one would undo, unseen by those who signed, what it was not drafted against.
 * @throws {GridError} CATALOG_ROLLBACK
 */
export function requireFollows({ change, files }: CarriedChange, current: CatalogFiles): void {
  for (const [path, bytes] of files) {
    const isSite = path === TARGET_PREFIX + targetPath.site && change.has(METADATA_PATH("targets"))
    // Not the file of a publisher that goes: whoever stole its key could put its removal off for ever by signing again and again.
    const isReplaced = path.endsWith(".root.json") || change.has(path) || isSite
    if (isReplaced && current.get(path)?.equals(bytes) !== true)
      throw new GridError(
        "CATALOG_ROLLBACK",
        `the change follows another ${path} than is here: another change came first; make this one again`,
      )
  }
}

/** That the files hang together by their signatures, from the first root on. */
function requireSigned(files: CatalogFiles): void {
  const roots = countRoots(files)
  if (roots === 0) refuse("it follows no root")
  let keys: SignedBody<"root"> = readMetadata("root", fileOf(files, ROOT_PATH(1)))
  for (let version = 1; version <= roots; version++) {
    const file = readSigned("root", fileOf(files, ROOT_PATH(version)), `root ${version}`)
    if (file.signed.version !== version) refuse(`root ${version} says another version`)
    for (const { roles, keys: by } of [keys, file.signed]) requireThreshold(file, roles.root, by, `root ${version}`)
    keys = file.signed
  }
  const targets = readSigned("targets", fileOf(files, METADATA_PATH("targets")), "targets")
  requireThreshold(targets, keys.roles.targets, keys.keys, "targets")
  const site = fileOf(files, TARGET_PREFIX + targetPath.site)
  if (targets.signed.targets[targetPath.site]?.hashes.sha256 !== digestOf(site)) refuse("its site document is not the one that was signed")
  for (const role of targets.signed.delegations.roles)
    if (files.has(METADATA_PATH(role.name)))
      requireThreshold(
        readSigned("publisher", fileOf(files, METADATA_PATH(role.name)), role.name),
        role,
        targets.signed.delegations.keys,
        role.name,
      )
}

function requireThreshold(
  file: Parameters<typeof validSigners>[0],
  role: { readonly keyids: readonly string[]; readonly threshold: number },
  keys: Parameters<typeof validSigners>[2],
  what: string,
): void {
  if (validSigners(file, role.keyids, keys).length < role.threshold) refuse(`${what}, which it follows, is not signed as it must be`)
}

/** That nothing else is among the files than what their signatures reach. */
function requireNoStrays(files: CatalogFiles): void {
  const reached = new Set([METADATA_PATH("targets"), TARGET_PREFIX + targetPath.site])
  for (let version = 1; version <= countRoots(files); version++) reached.add(ROOT_PATH(version))
  for (const role of publishersOf(files)) {
    if (!files.has(METADATA_PATH(role))) continue
    reached.add(METADATA_PATH(role))
    for (const [path, { hashes }] of Object.entries(publisherFileOf(files, role).targets)) {
      const document = files.get(TARGET_PREFIX + path)
      if (document !== undefined && digestOf(document) !== hashes.sha256)
        refuse(`${path}, which it follows, is not the one that was signed`)
      reached.add(TARGET_PREFIX + path)
    }
  }
  for (const path of files.keys()) if (!reached.has(path)) refuse(`it follows ${path}, which nobody has signed`)
}

/** That the change comes right after the files, and holds the documents that its metadata names and no others. */
function requireNext(files: CatalogFiles, change: Change): void {
  const after = new Map([...files, ...change])
  const expected = new Set<string>()
  const rootBefore = newestRoot(files)
  const rootPath = ROOT_PATH(rootBefore.version + 1)
  if (change.has(rootPath)) {
    expected.add(rootPath)
    requireVersion("root", newestRoot(after).version, rootBefore.version + 1)
  }
  const replaced = onlineKeysOf(newestRoot(after)) !== onlineKeysOf(rootBefore)
  const requireDocument = (path: string, { length, hashes }: SignedBody<"targets">["targets"][string]): void => {
    const document = change.get(TARGET_PREFIX + path)
    if (document === undefined || document.length !== length || digestOf(document) !== hashes.sha256)
      refuse(`${path} is not the document that is to be signed`)
    expected.add(TARGET_PREFIX + path)
  }

  const [targetsBefore, targets] = [targetsOf(files), targetsOf(after)]
  if (change.has(METADATA_PATH("targets"))) {
    expected.add(METADATA_PATH("targets"))
    requireVersion("targets", targets.version, nextVersion(targetsBefore.version, replaced))
    const listed = targets.targets[targetPath.site]
    if (listed === undefined || Object.keys(targets.targets).length !== 1) refuse(`targets does not list ${targetPath.site} alone`)
    if (!isSameFile(listed, targetsBefore.targets[targetPath.site])) requireDocument(targetPath.site, listed)
    if (siteDocumentOf(after).site !== siteDocumentOf(files).site) refuse("the site would have another name")
  }
  const publishers = publishersOf(after)
  for (const role of publishersOf(files))
    if ((change.has(METADATA_PATH(role)) || !publishers.has(role)) && !files.has(METADATA_PATH(role)))
      refuse(`it does not say what ${role} had signed before`)
  for (const role of publishers) {
    if (!change.has(METADATA_PATH(role))) continue
    expected.add(METADATA_PATH(role))
    const next = publisherFileOf(after, role)
    const before = files.has(METADATA_PATH(role)) ? publisherFileOf(files, role) : null
    // A new one may go on from a former publisher of its name, which is not among the files.
    if (before !== null) requireVersion(role, next.version, nextVersion(before.version, replaced))
    for (const [path, listed] of Object.entries(next.targets)) {
      if (isSameFile(listed, before?.targets[path])) continue
      if (before?.targets[path] !== undefined && !files.has(TARGET_PREFIX + path)) refuse(`it does not say what ${path} was before`)
      requireDocument(path, listed)
      readImageDocument(path, parseJson(fileOf(change, TARGET_PREFIX + path), METADATA_BYTES_MAX, "CATALOG_INVALID", path))
    }
  }
  for (const path of change.keys()) if (!expected.has(path)) refuse(`${path} is not part of the change`)
}

function requireVersion(role: string, came: number, expected: number): void {
  if (came !== expected) refuse(`it would make ${role} version ${came}, and what it follows is followed by ${expected}; make it again`)
}

type ListedFile = SignedBody<"targets">["targets"][string]

function isSameFile(a: ListedFile, b: ListedFile | undefined): boolean {
  return b !== undefined && a.length === b.length && a.hashes.sha256 === b.hashes.sha256
}

function publishersOf(files: CatalogFiles): Set<string> {
  return new Set(targetsOf(files).delegations.roles.map(({ name }) => name))
}

function refuse(detail: string): never {
  throw new GridError("CATALOG_INVALID", `change file: ${detail}`)
}

function packed(files: CatalogFiles): Record<string, string> {
  return Object.fromEntries([...files].map(([path, bytes]) => [path, bytes.toString("base64")]))
}

function unpacked(files: Readonly<Record<string, string>>): Map<string, Buffer> {
  return new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text, "base64")]))
}
