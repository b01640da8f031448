/** Moves the names that versions are deployed by: a tag names one version of its image at a time. */
import { targetPath, type Tag, type Tags } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, type ImageName, type ImageRef, type ImageVersion } from "#core/identifiers.ts"
import { resolveImage, type Catalog } from "#trust/catalog.ts"
import { draftChange } from "#trust/change.ts"
import { requireNoVersion, tagNamed, taggerOf } from "#trust/tags.ts"
import { finishChange, unlessOvertaken, type MadeChange, type MakeChangeParts } from "./make-change.ts"
import { currentCatalog } from "./own-server.ts"

export type TagChange = MadeChange & {
  /** The version that the tag names from now on, or named last. */
  readonly version: string
  /** The one that it named before; null for a new tag. */
  readonly was: string | null
}

/**
 * Has a tag name this version, or the one that another tag names. Null when it does so already.
 * @param ref the image, and the tag in the place of a version
 * @throws {GridError} IMAGE_EXISTS when a version has the tag's name; IMAGE_UNKNOWN, IMAGE_RETIRED; KEY_MISSING; as makeChange
 */
export function tagImage(parts: MakeChangeParts, ref: ImageRef, version: ImageVersion): Promise<TagChange | null> {
  return unlessOvertaken(async () => {
    const catalog = await currentCatalog(parts)
    const { name, version: tag } = ref
    requireNoVersion(catalog, name, tag)
    const wanted = resolveImage(catalog, { name, version })
    const before = tagNamed(catalog, name, tag)
    if (before?.version === wanted.version) return null
    const moved: Tag = { tag, version: wanted.version, movedAtMs: parts.clock.nowMs() }
    const tags = [...others(catalog, ref), moved].sort((a, b) => (a.tag < b.tag ? -1 : 1))
    return { ...(await change(parts, catalog, name, tags)), version: wanted.version, was: before?.version ?? null }
  })
}

/** Takes a tag away. The version stays. @throws {GridError} TAG_UNKNOWN, KEY_MISSING; as makeChange */
export function untagImage(parts: MakeChangeParts, ref: ImageRef): Promise<TagChange> {
  return unlessOvertaken(async () => {
    const catalog = await currentCatalog(parts)
    const { name, version: tag } = ref
    const before = tagNamed(catalog, name, tag)
    if (before === null) {
      const tags = others(catalog, ref).map((one) => one.tag)
      throw new GridError("TAG_UNKNOWN", `${formatImageRef(ref)}; ${name} has ${tags.length === 0 ? "no tag" : tags.join(", ")}`)
    }
    return { ...(await change(parts, catalog, name, others(catalog, ref))), version: before.version, was: before.version }
  })
}

function others({ tags }: Pick<Catalog, "tags">, { name, version }: ImageRef): Tag[] {
  return tags.get(name)?.document.tags.filter(({ tag }) => tag !== version) ?? []
}

function change(parts: MakeChangeParts, catalog: Catalog, name: ImageName, tags: Tag[]): Promise<MadeChange> {
  const { files } = catalog
  const { name: role } = taggerOf(files, parts.keys.keyIds, name)
  const document: Tags = { format: "imagegrid-tags-1", site: parts.home.site, name, tags }
  const publishers = new Map([[role, { documents: new Map([[targetPath.tags(name), document]]) }]])
  return finishChange(parts, files, draftChange(files, { publishers }, parts.clock.nowMs()))
}
