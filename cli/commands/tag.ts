/** `imagegrid tag NAME:TAG VERSION`: has a tag name a version of its image. */
import { imageRef, imageVersion } from "#core/identifiers.ts"
import { tagImage } from "#nodes/tag.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"

export default async function run(
  context: CommandContext,
  [word = "", version = ""]: readonly string[],
  options: KeyOptions & OutOptions,
): Promise<void> {
  const { output } = context
  const ref = imageRef(word)
  const made = await tagImage(await siteChangeParts(context, options), ref, imageVersion(version))
  if (made === null) {
    output.event("tags-unchanged", {})
    output.say(`Nothing to change: ${word} names version ${version} already.`)
    return
  }
  const done = `${word} names version ${made.version} now${made.was === null ? "" : `, and no longer ${made.was}`}.`
  if (await tellChange(output, made, { done, what: `tag-${word.replaceAll(/[/:]/g, "-")}` }, options))
    output.event("tagged", { image: `${ref.name}:${made.version}`, tag: ref.version, was: made.was })
}
