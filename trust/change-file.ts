/**
 * A change on its way between the holders of keys: one JSON file with the new files and those that they follow, so that a machine without a
 * home or a network can say what would change and sign it. Nothing in it is believed: what the new files follow was signed, and shows by its
 * signatures whether it is the site's.
 */
import { Type } from "typebox"
import { Base64, Label, targetPath } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { parseJson, reader } from "#core/schema.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "./catalog-file.ts"
import type { Change } from "./change.ts"
import { countRoots, fileOf, siteDocumentOf } from "./files.ts"
import { digestOf, METADATA_BYTES_MAX, readMetadata, readSigned, validSigners, type SignedBody } from "./metadata.ts"

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
      /** What it follows: all roots, the targets role with the site document, and the files of the publishers that change. */
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
  for (const path of change.keys()) {
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
 * their digest.
 * @throws {GridError} CATALOG_INVALID
 */
export function decodeChange(bytes: Uint8Array): CarriedChange {
  const { change, follows, site } = readChangeFile(parseJson(bytes, CHANGE_FILE_BYTES_MAX, "CATALOG_INVALID", "change file"))
  const files = unpacked(follows)
  requireSigned(files)
  if (siteDocumentOf(files).site !== site) refuse("it follows another site's document")
  return { change: unpacked(change), files }
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

function refuse(detail: string): never {
  throw new GridError("CATALOG_INVALID", `change file: ${detail}`)
}

function packed(files: CatalogFiles): Record<string, string> {
  return Object.fromEntries([...files].map(([path, bytes]) => [path, bytes.toString("base64")]))
}

function unpacked(files: Readonly<Record<string, string>>): Map<string, Buffer> {
  return new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text, "base64")]))
}
