/** `imagegrid pin NAME:VERSION...`: keeps versions of images from being retired by a rule. */
import { imageRef } from "#core/identifiers.ts"
import { pinImages } from "#nodes/retire.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"

type Options = KeyOptions & OutOptions & { readonly undo?: boolean }

export default async function run(context: CommandContext, words: readonly string[], options: Options): Promise<void> {
  const { output } = context
  const undo = options.undo === true
  const made = await pinImages(await siteChangeParts(context, options), words.map(imageRef), !undo)
  if (made === null) {
    output.event("pins-unchanged", {})
    output.say("Nothing to change: they are so already.")
    return
  }
  const done = `${undo ? "Pinned no more" : "Pinned"}: ${made.images.join(", ")}.`
  if (await tellChange(output, made, { done, what: undo ? "unpin" : "pin" }, options))
    output.event(undo ? "unpinned" : "pinned", { images: made.images })
}
