/** `imagegrid images`: what the site has published. */
import { layerOf, refOf } from "#core/documents.ts"
import { formatImageRef } from "#core/identifiers.ts"
import { imageIdentity } from "#client/open-image.ts"
import { Home } from "#member/home.ts"
import { catalogToShow } from "../catalog-view.ts"
import type { CommandContext } from "../command.ts"
import { formatBytes } from "../progress.ts"

export default async function run(context: CommandContext): Promise<void> {
  const { output } = context
  const home = await Home.open(context.home())
  const catalog = await catalogToShow(home, context)
  const secrets = await home.secrets()
  const rows = [...catalog.images.values()]
    .sort((a, b) => (a.name === b.name ? b.publishedAtMs - a.publishedAtMs : a.name < b.name ? -1 : 1))
    .map((manifest) => {
      const { sealedBytes, contentBytes } = layerOf(manifest, "full")
      const mayOpen = imageIdentity(home.site, catalog, manifest, secrets) !== null
      return {
        image: formatImageRef(refOf(manifest)),
        publishedAtMs: manifest.publishedAtMs,
        entries: manifest.entryCount,
        contentBytes,
        sealedBytes,
        mayOpen,
      }
    })
  for (const row of rows) output.event("image", row)
  if (rows.length === 0) output.say(`Site ${home.site} has published no image yet.`)
  else
    output.table(
      ["image", "published", "entries", "tree", "to download", "opens here"],
      rows.map((row) => [
        row.image,
        new Date(row.publishedAtMs).toISOString().slice(0, 19) + "Z",
        String(row.entries),
        formatBytes(row.contentBytes),
        formatBytes(row.sealedBytes),
        row.mayOpen ? "yes" : "no",
      ]),
    )
}
