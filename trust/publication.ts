/** A new image version, or new grants of one, as a change of the publisher's file whose names it belongs to. */
import { readGrants, readManifest, refOf, targetPath, type Grants, type ImageDocument, type Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, type ImageRef } from "#core/identifiers.ts"
import { TARGET_PREFIX, type CatalogFiles } from "./catalog-file.ts"
import { draftChange, signChange, type Change } from "./change.ts"
import { maySign, type Delegation } from "./delegation.ts"
import { siteDocumentOf, targetsOf } from "./files.ts"
import { keyIdOfSeed } from "./metadata.ts"
import { patternsOfPaths } from "./name-patterns.ts"

export type PublicationParts = {
  readonly files: CatalogFiles
  /** Of the publisher's keys, those at hand. */
  readonly seeds: readonly Uint8Array[]
  readonly manifest: Manifest
  readonly grants: Grants
  /** Of versions of the same publisher, that are to change with it. */
  readonly alsoGrants?: readonly Grants[]
  readonly nowMs: number
}

/**
 * Lists one more image version and its grants, signed with the seeds; complete where the publisher's threshold asks for no more.
 * @throws {GridError} IMAGE_EXISTS, MANIFEST_INVALID; KEY_MISSING when none of the keys may sign this name
 */
export function signPublication({ files, seeds, manifest, grants, alsoGrants = [], nowMs }: PublicationParts): Change {
  const ref = refOf(readManifest(manifest))
  const { site } = siteDocumentOf(files)
  if (formatImageRef(refOf(readGrants(grants))) !== formatImageRef(ref) || manifest.site !== site || grants.site !== site)
    throw new GridError("MANIFEST_INVALID", `manifest and grants must both be of ${formatImageRef(ref)} of site ${site}`)
  const role = publisherFor(files, seeds.map(keyIdOfSeed), ref)
  if (files.has(TARGET_PREFIX + targetPath.manifest(ref)))
    throw new GridError("IMAGE_EXISTS", `${formatImageRef(ref)}; publish it under another version`)
  const documents = new Map<string, ImageDocument>([
    [targetPath.manifest(ref), manifest],
    [targetPath.grants(ref), grants],
    ...alsoGrants.map((other): [string, Grants] => [targetPath.grants(refOf(other)), other]),
  ])
  return signChange(files, draftChange(files, { publishers: new Map([[role.name, { documents }]]) }, nowMs), seeds)
}

/**
 * The publisher that signs this image and counts one of these keys among its own.
 * @throws {GridError} KEY_MISSING, saying which names the keys may sign
 */
export function publisherFor(files: CatalogFiles, keyIds: readonly string[], ref: ImageRef): Delegation {
  const { roles } = targetsOf(files).delegations
  const own = roles.filter((role) => role.keyids.some((id) => keyIds.includes(id)))
  if (own.length === 0)
    throw new GridError(
      "KEY_MISSING",
      "no key at hand is of a publisher of the site; use a home of a publisher, or name the key's file with --key",
    )
  // Whoever signed it before goes on: a path is of one role.
  const signing = roles.find((role) => maySign(role, [targetPath.manifest(ref), targetPath.grants(ref)]) && own.includes(role))
  if (signing !== undefined) return signing
  const names = own.flatMap((role) => patternsOfPaths(role.paths))
  throw new GridError("KEY_MISSING", `the keys at hand may sign ${names.join(", ")}, and not ${ref.name}; ask a publisher of that name`)
}
