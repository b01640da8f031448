/** `imagegrid history NAME`: the versions of an image in the order in which they were published. */
import { resolveImage } from "#trust/catalog.ts"
import { retiredAtMs } from "#trust/retention.ts"
import { tagsNaming } from "#trust/tags.ts"
import { systemClock } from "#core/clock.ts"
import { refOf } from "#core/documents.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import { ownLayers } from "#core/versions.ts"
import { formatImageRef, imageQuery } from "#core/identifiers.ts"
import { granteesOf } from "#client/open-image.ts"
import { Home } from "#member/home.ts"
import { findCatalog, formatImage } from "#member/image-sources.ts"
import { AuditLog } from "#nodes/audit-log.ts"
import { imagesToShow } from "../catalog-view.ts"
import type { CommandContext } from "../command.ts"
import type { Output } from "../output.ts"
import { formatBytes } from "../progress.ts"

export default async function run(context: CommandContext, [word = ""]: readonly string[]): Promise<void> {
  const { output } = context
  const query = imageQuery(word)
  if (query.version !== null) throw new GridError("USAGE", "name the image without a version: its history is that of all versions")
  const home = await Home.open(context.home())
  const { catalog, name } = findCatalog(await imagesToShow(home, context), query.name)
  const versions = [...catalog.images.values()]
    .filter((manifest) => manifest.name === name)
    .sort((a, b) => a.publishedAtMs - b.publishedAtMs || (a.version < b.version ? -1 : 1))
  // Says which names are near.
  if (versions.length === 0) resolveImage(catalog, { name, version: null })
  const signers = catalog.site.site === home.site ? await signersOf(home, name, output) : new Map<string, readonly string[]>()
  const rows = versions.map((manifest) => {
    const ref = formatImageRef(refOf(manifest))
    return {
      image: formatImage(manifest, home.site),
      version: manifest.version,
      publishedAtMs: manifest.publishedAtMs,
      publisher: catalog.publishers.get(ref) ?? null,
      keys: signers.get(ref) ?? null,
      entries: manifest.entryCount,
      from: manifest.lineage?.versions.at(-1)?.version ?? null,
      // Those that it took over of earlier versions stand there.
      layers: ownLayers(manifest).map(({ kind, sealedBytes, contentBytes }) => ({ kind, sealedBytes, contentBytes })),
      tags: tagsNaming(catalog, manifest),
      retiredAtMs: retiredAtMs(catalog, manifest),
      pinned: catalog.grants.get(ref)?.pinned === true,
      grantedTo: [...new Set(granteesOf({ catalog, manifest }).map(({ group }) => group))],
    }
  })
  for (const row of rows) output.event("version", row)
  const kinds = [...new Set(rows.flatMap(({ layers }) => layers.map((layer): string => layer.kind)))]
  output.table(
    ["version", "from", "published", "by", "keys", "entries", ...kinds, "tags", "opens for", ""],
    rows.map((row) => {
      const published = `${new Date(row.publishedAtMs).toISOString().slice(0, 19)}Z`
      const keys = row.keys === null ? "" : row.keys.map((id) => id.slice(0, SHORT_ID)).join(" ")
      const sizes = kinds.map((kind) => {
        const ofKind = row.layers.filter((layer) => layer.kind === kind)
        return ofKind.length === 0 ? "" : formatBytes(ofKind.reduce((sum, { sealedBytes }) => sum + sealedBytes, 0))
      })
      const states = [row.retiredAtMs === null ? "" : "retired", row.pinned ? "pinned" : ""].filter((state) => state !== "")
      const last = [row.tags.join(" "), row.grantedTo.join(" "), states.join(" ")]
      return [row.version, row.from ?? "", published, row.publisher ?? "", keys, String(row.entries)].concat(sizes, last)
    }),
  )
}

/** As many digits of a key's id as 'imagegrid audit' shows. */
const SHORT_ID = 12

/** Whose keys signed each version into the catalog, by `NAME:VERSION`, as this server's audit log has it; a client keeps none. */
async function signersOf(home: Home, name: string, output: Output): Promise<Map<string, readonly string[]>> {
  const signers = new Map<string, readonly string[]>()
  if (home.role === "client") return signers
  try {
    await new AuditLog({ home, clock: systemClock }).check(({ event, actor, what }) => {
      const { image } = what
      if (event === "published" && typeof image === "string" && image.startsWith(`${name}:`)) signers.set(image, actor.ids)
    })
  } catch (error) {
    output.warn(`the audit log of this home can't be read, so whose keys signed is left out: ${reasonOf(error)}`)
  }
  return signers
}
