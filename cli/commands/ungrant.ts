/** `imagegrid ungrant NAME[:VERSION] --group G`: takes a group's permission to open an image away. */
import { granteeName, ownImageQuery } from "#core/identifiers.ts"
import { GridError } from "#core/errors.ts"
import { ungrantImage } from "#nodes/grants.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"

type Options = KeyOptions & OutOptions & { readonly group?: string }

export default async function run(context: CommandContext, [image]: readonly string[], options: Options): Promise<void> {
  const { output } = context
  if (options.group === undefined) throw new GridError("USAGE", "name the group that is not to open the image any more: --group NAME")
  const group = granteeName(options.group)
  const made = await ungrantImage(await siteChangeParts(context, options), ownImageQuery(image ?? ""), group)
  if (made === null) {
    output.event("grants-unchanged", { group })
    output.say(`Nothing to change: ${image} is not granted to ${group}.`)
    return
  }
  const done =
    `Not granted to ${group} any more: ${made.images.join(", ")}.\n` +
    "Who kept the grant or the image's key from before can open the sealed layers still; only a new version is closed to them."
  if (await tellChange(output, made, { done, what: `ungrant-${group.replace("/", "-")}` }, options))
    output.event("ungranted", { group, images: made.images })
}
