/** `imagegrid show NAME[:VERSION]`: one image: its layers, digests, and who may open it. */
import { retiredAtMs } from "#trust/retention.ts"
import { tagsNaming } from "#trust/tags.ts"
import { imageQuery } from "#core/identifiers.ts"
import { formatAppliesTo } from "#core/overrides.ts"
import { granteesOf, imageIdentity } from "#client/open-image.ts"
import { Home } from "#member/home.ts"
import { findImage, formatImage } from "#member/image-sources.ts"
import { imagesToShow } from "../catalog-view.ts"
import type { CommandContext } from "../command.ts"
import { describeMembers } from "../group-members.ts"
import { formatBytes } from "../progress.ts"

export default async function run(context: CommandContext, [image]: readonly string[]): Promise<void> {
  const { output } = context
  const query = imageQuery(image ?? "")
  const home = await Home.open(context.home())
  const found = findImage(await imagesToShow(home, context), query, { retired: "show" })
  const { manifest } = found
  const ref = formatImage(manifest, home.site)
  const grantees = granteesOf(found)
  const mayOpen = imageIdentity(found, { site: home.site, secrets: await home.secrets() }) !== null
  const retired = retiredAtMs(found.catalog, manifest)
  const tags = tagsNaming(found.catalog, manifest)
  output.event("image", { image: ref, ...manifest, grantedTo: grantees, mayOpen, retiredAtMs: retired, tags })
  output.say(`${ref} of site ${manifest.site}, published ${new Date(manifest.publishedAtMs).toISOString()}, ${manifest.entryCount} entries`)
  if (found.tag !== null) output.say(`${query.name}:${found.tag} is a tag, which names this version now.`)
  if (tags.length > 0) output.say(`Tags: ${tags.join(", ")}.`)
  if (retired !== null) output.say(`OUT OF USE since ${new Date(retired).toISOString()}.`)
  output.say(`Sealed to ${manifest.recipient}; this member ${mayOpen ? "may" : "may not"} open it.`)
  for (const grantee of grantees) {
    if (grantee.current === null) {
      output.say(`May open it: ${grantee.group}, by generation ${grantee.generation} of its key. Who is in it its own site says.`)
      continue
    }
    const key = grantee.current
      ? `its newest key, generation ${grantee.generation}`
      : `a former key, generation ${grantee.generation}, which those who were removed since have too`
    output.say(`May open it: ${grantee.group}, by ${key}. Members: ${describeMembers(grantee)}`)
  }
  if (manifest.lineage !== null)
    output.say(
      `Made from ${manifest.lineage.versions.map(({ version }) => version).join(", ")}: whoever may open it can open what these held, too.`,
    )
  if (manifest.exclude.length > 0) output.say(`Updates never touch: ${manifest.exclude.join(", ")}.`)
  output.table(
    ["layer", "infohash", "content", "sealed", "pieces of", "SHA-256 of the sealed file"],
    manifest.layers.map((layer) => [
      layer.appliesTo !== undefined
        ? `${layer.kind} for ${formatAppliesTo(layer.appliesTo)}`
        : layer.version === undefined
          ? layer.kind
          : `${layer.kind} of ${layer.version}`,
      layer.infohash,
      formatBytes(layer.contentBytes),
      formatBytes(layer.sealedBytes),
      formatBytes(layer.pieceBytes),
      layer.sealedSha256,
    ]),
  )
}
