/** `imagegrid images`: what the site has published, and what sites that it federates with share with it. */
import { retiredAtMs } from "#trust/retention.ts"
import { tagsNaming } from "#trust/tags.ts"
import { layerOf, refOf, type Manifest } from "#core/documents.ts"
import { formatImageRef } from "#core/identifiers.ts"
import { freshDelivery } from "#core/versions.ts"
import { imageIdentity } from "#client/open-image.ts"
import { Home } from "#member/home.ts"
import { formatImage } from "#member/image-sources.ts"
import { imagesToShow } from "../catalog-view.ts"
import type { CommandContext } from "../command.ts"
import { formatBytes } from "../progress.ts"

/** The own site's images come first. */
function placeOf({ site, name }: Manifest, ownSite: string): string {
  return `${site === ownSite ? "" : site} ${name}`
}

type Options = { readonly all?: boolean }

export default async function run(context: CommandContext, _words: readonly string[], options: Options): Promise<void> {
  const { output } = context
  const home = await Home.open(context.home())
  const { own, federated } = await imagesToShow(home, context)
  const opener = { site: home.site, secrets: await home.secrets() }
  const others = federated.sites().flatMap(({ inForce, catalog }) => (inForce && catalog !== null ? [catalog] : []))
  const found = [own, ...others].flatMap((catalog) => [...catalog.images.values()].map((manifest) => ({ catalog, manifest })))
  const rows = found
    .filter(({ manifest }) => federated.mayHave(manifest.site, manifest.name, home.site))
    .filter(({ catalog, manifest }) => options.all === true || retiredAtMs(catalog, manifest) === null)
    .sort(
      ({ manifest: a }, { manifest: b }) => placeOf(a, home.site).localeCompare(placeOf(b, home.site)) || b.publishedAtMs - a.publishedAtMs,
    )
    .map((one) => {
      const { manifest } = one
      const { contentBytes } = layerOf(manifest, "full")
      const { sealedBytes } = freshDelivery(manifest)
      const mayOpen = imageIdentity(one, opener) !== null
      return {
        image: formatImage(manifest, home.site),
        publishedAtMs: manifest.publishedAtMs,
        entries: manifest.entryCount,
        contentBytes,
        sealedBytes,
        mayOpen,
        retiredAtMs: retiredAtMs(one.catalog, manifest),
        tags: tagsNaming(one.catalog, manifest),
        pinned: one.catalog.grants.get(formatImageRef(refOf(manifest)))?.pinned === true,
      }
    })
  for (const row of rows) output.event("image", row)
  if (rows.length === 0) output.say(`Site ${home.site} has published no image yet.`)
  else
    output.table(
      ["image", "published", "entries", "tree", "to download", "opens here", "tags", ""],
      rows.map((row) => [
        row.image,
        new Date(row.publishedAtMs).toISOString().slice(0, 19) + "Z",
        String(row.entries),
        formatBytes(row.contentBytes),
        formatBytes(row.sealedBytes),
        row.mayOpen ? "yes" : "no",
        row.tags.join(" "),
        row.retiredAtMs !== null ? "retired" : row.pinned ? "pinned" : "",
      ]),
    )
}
