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
  const may = grantedGroups(catalog, manifest).join(", ") || "nobody"
  const mine = secrets.groups.map((group) => group.name).join(", ") || "none"
  throw new GridError(
    "GRANT_MISSING",
    `${ref} is granted to: ${may}; this member's groups: ${mine}. Ask an administrator for an invite to a group that may open it`,
  )
}

/** The groups that an image is granted to. */
export function grantedGroups(catalog: Catalog, manifest: Manifest): string[] {
  return catalog.grants.get(formatImageRef(refOf(manifest)))?.grants.map((grant) => grant.group) ?? []
}
