/** Takes versions of images out of use, and back, and keeps rules from doing so. What is out of use no server keeps and no client deploys. */
import { refOf, type Grants } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, type ImageRef } from "#core/identifiers.ts"
import { namePattern } from "#core/name-patterns.ts"
import { resolveImage, type Catalog } from "#trust/catalog.ts"
import { tagsNaming } from "#trust/tags.ts"
import { changeGrants, type GrantChange } from "./grants.ts"
import { makeChange, type MadeChange, type MakeChangeParts } from "./make-change.ts"
import { currentCatalog } from "./own-server.ts"

/** Null when they are so already. @throws {GridError} IMAGE_TAGGED while a tag names one of them; IMAGE_UNKNOWN, KEY_MISSING; as makeChange */
export function retireImages(parts: MakeChangeParts, refs: readonly ImageRef[]): Promise<GrantChange | null> {
  const atMs = parts.clock.nowMs()
  return changeEach(parts, refs, (grants, catalog) => {
    if (grants.retiredAtMs !== null) return null
    const [tag] = tagsNaming(catalog, grants)
    if (tag !== undefined)
      throw new GridError(
        "IMAGE_TAGGED",
        `${formatImageRef(refOf(grants))} is what the tag ${tag} names; move it first with 'imagegrid tag ${grants.name}:${tag} VERSION', or take it away with 'imagegrid untag ${grants.name}:${tag}'`,
      )
    return { ...grants, retiredAtMs: atMs }
  })
}

/** Brings versions back into use. Servers whose copies are gone fetch them from whoever has them still, if anybody has. As `retireImages`. */
export function reviveImages(parts: MakeChangeParts, refs: readonly ImageRef[]): Promise<GrantChange | null> {
  return changeEach(parts, refs, (grants) => (grants.retiredAtMs === null ? null : { ...grants, retiredAtMs: null }))
}

/** As `retireImages`. */
export function pinImages(parts: MakeChangeParts, refs: readonly ImageRef[], pinned: boolean): Promise<GrantChange | null> {
  return changeEach(parts, refs, (grants) => (grants.pinned === pinned ? null : { ...grants, pinned }))
}

/** Sets or, with null, takes away the rule for these names, before all others. @throws {GridError} NAME_INVALID; as makeChange */
export function setRetention(parts: MakeChangeParts, names: readonly string[], keepLast: number | null): Promise<MadeChange> {
  for (const pattern of names) namePattern(pattern)
  return makeChange(parts, () => ({
    site: (document) => {
      const others = document.retention
        .map((rule) => ({ ...rule, names: rule.names.filter((pattern) => !names.includes(pattern)) }))
        .filter((rule) => rule.names.length > 0)
      return { ...document, retention: keepLast === null ? others : [{ names: [...names], keepLast }, ...others] }
    },
  }))
}

async function changeEach(
  parts: MakeChangeParts,
  refs: readonly ImageRef[],
  change: (grants: Grants, catalog: Catalog) => Grants | null,
): Promise<GrantChange | null> {
  const catalog = await currentCatalog(parts)
  const changed = refs.flatMap((ref) => {
    const grants = catalog.grants.get(formatImageRef(refOf(resolveImage(catalog, ref, { retired: "show" }))))
    return grants === undefined ? [] : (change(grants, catalog) ?? [])
  })
  return changeGrants(parts, catalog, changed)
}
