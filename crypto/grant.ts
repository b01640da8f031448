/**
 * Grants: an image version's secret key, sealed to a group's key. A grant opens only where its own sealed words say that it
 * belongs: moved to another site, image, version, group or generation it opens nothing.
 */
import { Type } from "typebox"
import { type Grant, type Grants } from "#core/documents.ts"
import type { ImageRef } from "#core/identifiers.ts"
import { GridError } from "#core/errors.ts"
import { parseJson, reader } from "#core/schema.ts"
import { openSealed, sealTo, type RandomBytes } from "./sealed-box.ts"

const PURPOSE = "imagegrid grant"
const PLAIN_BYTES_MAX = 2_000

const GrantPlain = reader(
  Type.Object(
    {
      site: Type.String(),
      name: Type.String(),
      version: Type.String(),
      group: Type.String(),
      generation: Type.Integer(),
      /** The secret half of the manifest's `recipient` (age-encryption.org/v1). */
      imageIdentity: Type.String({ pattern: "^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$" }),
    },
    { additionalProperties: false },
  ),
  "SEALED_INVALID",
  "grant",
)

/** A group as the site document names it. */
export type GroupKey = { readonly name: string; readonly generation: number; readonly publicKey: string }
/** A group that this member is in. */
export type GroupSecret = { readonly name: string; readonly generation: number; readonly secretKey: string }

export type GrantParts = {
  readonly site: string
  readonly ref: ImageRef
  readonly group: GroupKey
  /** `AGE-SECRET-KEY-1…` */
  readonly imageIdentity: string
  readonly random: RandomBytes
}

export function sealGrant({ site, ref, group, imageIdentity, random }: GrantParts): Grant {
  const { name, version } = ref
  const plain = GrantPlain({ site, name, version, group: group.name, generation: group.generation, imageIdentity })
  return {
    group: group.name,
    generation: group.generation,
    sealed: sealTo(group.publicKey, PURPOSE, Buffer.from(JSON.stringify(plain)), random).toString("base64"),
  }
}

/** The image's secret key, or null when none of the groups may open this version. */
export function openGrant(site: string, grants: Grants, groups: readonly GroupSecret[]): string | null {
  if (grants.site !== site) return null
  for (const grant of grants.grants)
    for (const group of groups) {
      if (group.name !== grant.group || group.generation !== grant.generation) continue
      const plain = openSealed({ secretKey: Buffer.from(group.secretKey, "hex") }, PURPOSE, Buffer.from(grant.sealed, "base64"))
      const identity = plain === null ? null : identityFor(plain, grants, grant)
      if (identity !== null) return identity
    }
  return null
}

/** Whether these groups open this version: tried, since a name and a generation prove nothing. */
export function mayOpen(grants: Grants, groups: readonly GroupSecret[]): boolean {
  return openGrant(grants.site, grants, groups) !== null
}

function identityFor(bytes: Buffer, grants: Grants, grant: Grant): string | null {
  try {
    const plain = GrantPlain(parseJson(bytes, PLAIN_BYTES_MAX, "SEALED_INVALID", "grant"))
    const belongs =
      plain.site === grants.site &&
      plain.name === grants.name &&
      plain.version === grants.version &&
      plain.group === grant.group &&
      plain.generation === grant.generation
    return belongs ? plain.imageIdentity : null
  } catch (error) {
    if (error instanceof GridError) return null
    throw error
  }
}
