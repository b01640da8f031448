/** Which image is meant, and whether this member may open it: both decided from the catalog, before a byte is downloaded. */
import { openGrant } from "#crypto/grant.ts"
import { resolveImage, type Catalog } from "#trust/catalog.ts"
import type { Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, type ImageName, type ImageVersion, type SiteName } from "#core/identifiers.ts"
import { refOf } from "#core/documents.ts"
import type { MemberSecrets } from "#core/wire.ts"

/** @throws {GridError} IMAGE_UNKNOWN */
export function findImage(catalog: Catalog, query: { readonly name: ImageName; readonly version: ImageVersion | null }): Manifest {
  return resolveImage(catalog, query)
}

/** The image's age identity, or null when no grant to this member's groups opens it. */
export function imageIdentity(site: SiteName, catalog: Catalog, manifest: Manifest, secrets: MemberSecrets): string | null {
  const grants = catalog.grants.get(formatImageRef(refOf(manifest)))
  return grants === undefined ? null : openGrant(site, grants, secrets.groups)
}

/** @throws {GridError} GRANT_MISSING, saying who may */
export function requireImageIdentity(site: SiteName, catalog: Catalog, manifest: Manifest, secrets: MemberSecrets): string {
  const identity = imageIdentity(site, catalog, manifest, secrets)
  if (identity !== null) return identity
  const ref = formatImageRef(refOf(manifest))
  const may = new Set(granteesOf(catalog, manifest).map(({ group }) => group))
  const mine = new Set(secrets.groups.map(({ name }) => name))
  const [lost] = may.intersection(mine)
  const advice =
    lost === undefined
      ? "Ask an administrator for an invite to a group that may open it, or to add this member to one"
      : `It was sealed to another key of ${lost} than this member has: it was removed from the group, or has reached no server since`
  throw new GridError(
    "GRANT_MISSING",
    `${ref} is granted to: ${[...may].join(", ") || "nobody"}; this member's groups: ${[...mine].join(", ") || "none"}. ${advice}`,
  )
}

export type Grantee = {
  readonly group: string
  /** Of the group's key, to which the grant is sealed. */
  readonly generation: number
  /** Whether that is the group's newest; members who joined or stayed since a removal hold the older ones too. */
  readonly current: boolean
  /** Who is in the group beside those whose invites said so, and who is not, by their ids. */
  readonly added: readonly string[]
  readonly removed: readonly string[]
}

/** The groups that an image is granted to, and what the site says of who is in them. */
export function granteesOf(catalog: Catalog, manifest: Manifest): Grantee[] {
  const grants = catalog.grants.get(formatImageRef(refOf(manifest)))?.grants ?? []
  return grants.map(({ group: name, generation }) => {
    const group = catalog.site.groups.find((one) => one.name === name)
    return { group: name, generation, current: group?.generation === generation, added: group?.added ?? [], removed: group?.removed ?? [] }
  })
}
