/**
 * Who may open what is published already. A grant takes the image identity out of a grant that a key of this home opens and seals it to another
 * group, or to the newest key of the same one; the layers stay as they are.
 */
import { openGrant, sealGrant, type GroupKey } from "#crypto/grant.ts"
import { resolveImage, type Catalog } from "#trust/catalog.ts"
import { draftChange, type PublisherEdit } from "#trust/change.ts"
import { refOf, targetPath, type Grants } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, groupName, type ImageName, type ImageRef, type ImageVersion } from "#core/identifiers.ts"
import type { MemberSecrets } from "#core/wire.ts"
import { isCurrentKey } from "#member/group-keys.ts"
import { granteeOf } from "./grantees.ts"
import { groupOf, type GroupParts } from "./groups.ts"
import { finishChange, type MadeChange, type MakeChangeParts } from "./make-change.ts"
import { currentCatalog } from "./own-server.ts"

/** An image of the own site, all versions of it where none is named. */
export type OwnImages = { readonly name: ImageName; readonly version: ImageVersion | null }
/** The images, as `NAME:VERSION`, whose grants the change writes anew. */
export type GrantChange = MadeChange & { readonly images: readonly string[] }

/**
 * Lets a group open an image, with the newest generation of its key; its older grants go. Null when that is so already.
 * @param name `GROUP`, or `SITE/GROUP` of another site
 * @throws {GridError} IMAGE_UNKNOWN, GROUP_UNKNOWN, SITE_UNKNOWN; GRANT_MISSING when this home can't open the image itself; KEY_MISSING without a key of its publisher
 */
export async function grantImage(
  parts: GroupParts,
  query: OwnImages,
  name: string,
): Promise<(GrantChange & { readonly group: GroupKey }) | null> {
  const { home, random } = parts
  const catalog = await currentCatalog(parts)
  const group = await granteeOf(parts, catalog, name)
  const secrets = await home.secrets()
  const changed: Grants[] = []
  for (const ref of versionsOf(catalog, query)) {
    const before = grantsOf(catalog, ref)
    if (isGranted(before, group, secrets)) continue
    const imageIdentity = openGrant(home.site, before, secrets.groups)
    if (imageIdentity === null)
      throw new GridError(
        "GRANT_MISSING",
        `${formatImageRef(ref)} is granted to ${groupNames(before)}, and no key in ${home.directory} opens that; use a server's home`,
      )
    const grant = sealGrant({ site: home.site, ref, group, imageIdentity, random })
    changed.push({ ...before, grants: [...others(before, name), grant] })
  }
  const made = await changeGrants(parts, catalog, changed)
  return made && { ...made, group }
}

/**
 * Takes a group's grants of an image away. Null when it has none.
 * @throws {GridError} IMAGE_UNKNOWN, GROUP_UNKNOWN, KEY_MISSING; USAGE when nobody would be left who could open or grant it
 */
export async function ungrantImage(parts: GroupParts, query: OwnImages, name: string): Promise<GrantChange | null> {
  const catalog = await currentCatalog(parts)
  // Another site's group may be out of reach, or its agreement at an end.
  if (!name.includes("/")) groupOf(catalog.site, groupName(name))
  const changed: Grants[] = []
  for (const ref of versionsOf(catalog, query)) {
    const before = grantsOf(catalog, ref)
    const grants = others(before, name)
    if (grants.length === before.grants.length) continue
    if (grants.length === 0)
      throw new GridError(
        "USAGE",
        `${formatImageRef(ref)} is granted to ${name} alone, and without a grant nobody could open it or grant it ever again; grant it to another group first`,
      )
    changed.push({ ...before, grants })
  }
  return changeGrants(parts, catalog, changed)
}

/** One change of all these documents, each in the file of the publisher that signed its image. */
export async function changeGrants(parts: MakeChangeParts, catalog: Catalog, changed: readonly Grants[]): Promise<GrantChange | null> {
  if (changed.length === 0) return null
  const { files } = catalog
  const documents = new Map<string, Map<string, Grants>>()
  for (const grants of changed) {
    const role = publisherOf(catalog, refOf(grants), parts.keys.keyIds)
    documents.set(role, (documents.get(role) ?? new Map<string, Grants>()).set(targetPath.grants(refOf(grants)), grants))
  }
  const publishers = new Map<string, PublisherEdit>([...documents].map(([role, own]) => [role, { documents: own }]))
  const made = await finishChange(parts, files, draftChange(files, { publishers }, parts.clock.nowMs()))
  return { ...made, images: changed.map((grants) => formatImageRef(refOf(grants))) }
}

/** The publisher that signed an image: whoever else may sign that name, the grants stand in the same file. @throws {GridError} KEY_MISSING */
function publisherOf(catalog: Catalog, ref: ImageRef, keyIds: readonly string[]): string {
  const name = catalog.publishers.get(formatImageRef(ref))
  const role = catalog.roles.find((one) => one.name === name)
  if (role === undefined) throw new GridError("CATALOG_INVALID", `nobody has signed ${formatImageRef(ref)}`)
  if (role.keyIds.some((id) => keyIds.includes(id))) return role.name
  throw new GridError(
    "KEY_MISSING",
    `${formatImageRef(ref)} was signed by ${role.name}, and none of its keys is at hand; use a home of that publisher, or name the key's file with --key`,
  )
}

/** Newest first. @throws {GridError} IMAGE_UNKNOWN */
function versionsOf(catalog: Catalog, query: OwnImages): ImageRef[] {
  const newest = resolveImage(catalog, query)
  if (query.version !== null) return [refOf(newest)]
  return [...catalog.images.values()]
    .filter((manifest) => manifest.name === query.name)
    .sort((a, b) => b.publishedAtMs - a.publishedAtMs)
    .map(refOf)
}

function grantsOf(catalog: Catalog, ref: ImageRef): Grants {
  const grants = catalog.grants.get(formatImageRef(ref))
  if (grants === undefined) throw new GridError("CATALOG_INVALID", `${formatImageRef(ref)} has no document of grants`)
  return grants
}

/** Whether the group's newest key opens it: tried where this home holds that key, believed where it does not. */
function isGranted(grants: Grants, group: GroupKey, secrets: MemberSecrets): boolean {
  const own = grants.grants.filter((grant) => grant.group === group.name && grant.generation === group.generation)
  const current = secrets.groups.filter((held) => isCurrentKey(held, group))
  return own.length > 0 && (current.length === 0 || openGrant(grants.site, { ...grants, grants: own }, current) !== null)
}

function others(grants: Grants, name: string): Grants["grants"] {
  return grants.grants.filter((grant) => grant.group !== name)
}

function groupNames(grants: Grants): string {
  return [...new Set(grants.grants.map((grant) => grant.group))].join(", ") || "nobody"
}
