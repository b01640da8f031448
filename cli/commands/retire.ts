/** `imagegrid retire NAME:VERSION...`: takes versions of images out of use, or back into it. */
import { imageRef } from "#core/identifiers.ts"
import { retireImages, reviveImages } from "#nodes/retire.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"

type Options = KeyOptions & OutOptions & { readonly undo?: boolean }

export default async function run(context: CommandContext, words: readonly string[], options: Options): Promise<void> {
  const { output } = context
  const undo = options.undo === true
  const refs = words.map(imageRef)
  const made = await (undo ? reviveImages : retireImages)(await siteChangeParts(context, options), refs)
  if (made === null) {
    output.event("retirement-unchanged", {})
    output.say("Nothing to change: they are so already.")
    return
  }
  const done = undo
    ? `In use again: ${made.images.join(", ")}. Servers that have let go of their layers fetch them from whoever holds them still.`
    : `Out of use: ${made.images.join(", ")}. Who deployed one keeps it. Servers let go of its layers after an hour; until then --undo costs nothing.`
  if (await tellChange(output, made, { done, what: undo ? "revive" : "retire" }, options))
    output.event(undo ? "revived" : "retired", { images: made.images })
}
