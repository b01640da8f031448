/**
 * Tags: names of versions that move. `NAME:WORD` is a version or a tag and never both: a change that would make it so is refused. Where two servers took
 * the one and the other at the same moment, the version counts. Pure.
 */
import { pathOf, targetPath, type Tag, type Tags } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, type ImageName, type ImageRef, type ImageVersion } from "#core/identifiers.ts"
import { TARGET_PREFIX, type CatalogFiles } from "./catalog-file.ts"
import type { Catalog } from "./catalog.ts"
import { maySign, type Delegation } from "./delegation.ts"
import { publisherFileOf, targetsOf } from "./files.ts"
import { patternsOfPaths } from "./name-patterns.ts"

/** The tags of an image, and the publisher role that signed them. */
export type SignedTags = { readonly document: Tags; readonly publisher: string }
type Tagged = Pick<Catalog, "tags">

export function tagNamed({ tags }: Tagged, name: string, tag: string): Tag | null {
  return tags.get(name)?.document.tags.find((one) => one.tag === tag) ?? null
}

/** Those that name this version, in the order of letters. */
export function tagsNaming({ tags }: Tagged, { name, version }: { readonly name: string; readonly version: string }): string[] {
  const naming = tags.get(name)?.document.tags.filter((one) => one.version === version) ?? []
  return naming.map(({ tag }) => tag).sort()
}

/** @throws {GridError} TAG_EXISTS when the version would be named like a tag */
export function requireNoTag(catalog: Tagged, ref: ImageRef): void {
  const tag = tagNamed(catalog, ref.name, ref.version)
  if (tag === null) return
  throw new GridError(
    "TAG_EXISTS",
    `${formatImageRef(ref)} is a tag, which names version ${tag.version}; publish under another version, or take the tag away with 'imagegrid untag ${formatImageRef(ref)}'`,
  )
}

/** @throws {GridError} IMAGE_EXISTS when a tag would be named like a version */
export function requireNoVersion({ images }: Pick<Catalog, "images">, name: ImageName, tag: ImageVersion): void {
  const image = formatImageRef({ name, version: tag })
  if (images.has(image)) throw new GridError("IMAGE_EXISTS", `${image} is a version, and no tag can have its name; choose another tag`)
}

/** That what a change brings is a version or a tag, and not both. @throws {GridError} TAG_EXISTS, IMAGE_EXISTS */
export function requireOneMeaning(catalog: Tagged & Pick<Catalog, "images">, change: CatalogFiles): void {
  for (const manifest of catalog.images.values())
    if (change.has(TARGET_PREFIX + pathOf(manifest))) requireNoTag(catalog, manifest as ImageRef & typeof manifest)
  for (const { document } of catalog.tags.values())
    if (change.has(TARGET_PREFIX + pathOf(document)))
      for (const { tag } of document.tags) requireNoVersion(catalog, document.name as ImageName, tag as ImageVersion)
}

/**
 * The publisher whose file the tags of an image stand in: the one that has signed them, else the first whose names fit, whoever asks. So two servers that
 * take the first tag of an image at the same moment do not end with two files that list it.
 * @throws {GridError} KEY_MISSING, saying whose keys are asked for
 */
export function taggerOf(files: CatalogFiles, keyIds: readonly string[], name: ImageName): Delegation {
  const { roles } = targetsOf(files).delegations
  const path = targetPath.tags(name)
  const fit = roles.filter((role) => maySign(role, [path]))
  const role = fit.find((one) => publisherFileOf(files, one.name).targets[path] !== undefined) ?? fit[0]
  if (role?.keyids.some((id) => keyIds.includes(id)) === true) return role
  const own = roles.filter((one) => one.keyids.some((id) => keyIds.includes(id))).flatMap((one) => patternsOfPaths(one.paths))
  throw new GridError(
    "KEY_MISSING",
    `${role === undefined ? `no publisher may sign tags of ${name}` : `the tags of ${name} are for publisher ${role.name} to sign`}, and the keys at hand are of ` +
      `${own.length === 0 ? "no publisher" : `one of ${own.join(", ")}`}; use a home of that publisher, or name the key's file with --key`,
  )
}
