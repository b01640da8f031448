/** `imagegrid untag NAME:TAG`: takes a tag away; the version that it named stays. */
import { imageRef } from "#core/identifiers.ts"
import { untagImage } from "#nodes/tag.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"

export default async function run(
  context: CommandContext,
  [word = ""]: readonly string[],
  options: KeyOptions & OutOptions,
): Promise<void> {
  const { output } = context
  const ref = imageRef(word)
  const made = await untagImage(await siteChangeParts(context, options), ref)
  const done = `There is no tag ${word} any more; ${ref.name}:${made.version} stays as it is.`
  if (await tellChange(output, made, { done, what: `untag-${word.replaceAll(/[/:]/g, "-")}` }, options))
    output.event("untagged", { image: `${ref.name}:${made.version}`, tag: ref.version })
}
