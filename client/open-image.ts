/** Whether this member may open an image: decided from its catalog, before a byte is downloaded. */
import { openGrant, type GroupSecret } from "#crypto/grant.ts"
import { refOf } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef } from "#core/identifiers.ts"
import { hostNames, type Host } from "#core/overrides.ts"
import type { MemberSecrets } from "#core/wire.ts"
import { formatImage, type FoundImage } from "#member/image-sources.ts"

/** A member as far as opening is concerned. */
export type Opener = { readonly site: string; readonly secrets: Pick<MemberSecrets, "groups"> }

/** The image's age identity, or null when no grant to this member's groups opens it. */
export function imageIdentity({ catalog, manifest }: FoundImage, opener: Opener): string | null {
  const grants = catalog.grants.get(formatImageRef(refOf(manifest)))
  return grants === undefined ? null : openGrant(manifest.site, grants, groupsAsGranted(opener, manifest.site))
}

/** @throws {GridError} GRANT_MISSING, saying who may */
export function requireImageIdentity(image: FoundImage, opener: Opener): string {
  const identity = imageIdentity(image, opener)
  if (identity !== null) return identity
  const may = new Set(granteesOf(image).map(({ group }) => group))
  const mine = new Set(groupsAsGranted(opener, image.manifest.site).map(({ name }) => name))
  const [lost] = may.intersection(mine)
  const advice =
    lost === undefined
      ? "Ask an administrator for an invite to a group that may open it, or to add this member to one"
      : `It was sealed to another key of ${lost} than this member has: it was removed from the group, or has reached no server since`
  throw new GridError(
    "GRANT_MISSING",
    `${formatImage(image.manifest, opener.site)} is granted to: ${[...may].join(", ") || "nobody"}; this member's groups: ${[...mine].join(", ") || "none"}. ${advice}`,
  )
}

export type Grantee = {
  /** `GROUP`, or `SITE/GROUP` of another site. */
  readonly group: string
  /** Of the group's key, to which the grant is sealed. */
  readonly generation: number
  /** Whether that is the group's newest; members who joined or stayed since a removal hold the older ones too. Null where another site knows. */
  readonly current: boolean | null
  /** Who is in the group beside those whose invites said so, and who is not, by their ids. */
  readonly added: readonly string[]
  readonly removed: readonly string[]
}

/** The groups that an image is granted to, and what its site says of who is in them. */
export function granteesOf({ catalog, manifest }: FoundImage): Grantee[] {
  const grants = catalog.grants.get(formatImageRef(refOf(manifest)))?.grants ?? []
  return grants.map(({ group: name, generation }) => {
    if (name.includes("/")) return { group: name, generation, current: null, added: [], removed: [] }
    const group = catalog.site.groups.find((one) => one.name === name)
    return { group: name, generation, current: group?.generation === generation, added: group?.added ?? [], removed: group?.removed ?? [] }
  })
}

/** This host, as overrides are chosen for it. @throws {GridError} NAME_INVALID */
export function hostOf(
  { manifest }: FoundImage,
  { home, secrets }: { readonly home: { readonly site: string }; readonly secrets: Opener["secrets"] },
  name: string,
): Host {
  return { names: hostNames(name), groups: groupsAsGranted({ site: home.site, secrets }, manifest.site).map((group) => group.name) }
}

/** This member's groups, as a site that may be another names them in its grants. */
function groupsAsGranted({ site, secrets }: Opener, granting: string): readonly GroupSecret[] {
  return site === granting ? secrets.groups : secrets.groups.map((group) => ({ ...group, name: `${site}/${group.name}` }))
}
