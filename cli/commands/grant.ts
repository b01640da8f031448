/** `imagegrid grant NAME[:VERSION] --group G`: lets a group open what is published already. */
import { granteeName, ownImageQuery } from "#core/identifiers.ts"
import { GridError } from "#core/errors.ts"
import { grantImage } from "#nodes/grants.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"

type Options = KeyOptions & OutOptions & { readonly group?: string }

export default async function run(context: CommandContext, [image]: readonly string[], options: Options): Promise<void> {
  const { output } = context
  if (options.group === undefined) throw new GridError("USAGE", "name the group that is to open the image: --group NAME")
  const group = granteeName(options.group)
  const made = await grantImage(await siteChangeParts(context, options), ownImageQuery(image ?? ""), group)
  if (made === null) {
    output.event("grants-unchanged", { group })
    output.say(`Nothing to change: ${group} may open ${image} with the newest generation of its key.`)
    return
  }
  const { generation } = made.group
  const done = `Granted to ${group}, generation ${generation} of its key: ${made.images.join(", ")}.`
  if (await tellChange(output, made, { done, what: `grant-${group.replace("/", "-")}` }, options))
    output.event("granted", { group, generation, images: made.images })
}
