/** `imagegrid group create NAME`: a group of members who share what they may open. */
import { groupName } from "#core/identifiers.ts"
import { createGroup } from "#nodes/groups.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"

export default async function run(context: CommandContext, [name]: readonly string[], options: KeyOptions & OutOptions): Promise<void> {
  const { output } = context
  const group = groupName(name ?? "")
  const made = await createGroup(await siteChangeParts(context, options), group)
  const done = `The site has a group ${group} now. 'imagegrid invite --group ${group}' lets clients join it, 'imagegrid group add ${group}' puts members into it.`
  if (await tellChange(output, made, { done, what: `group-create-${group}` }, options))
    output.event("group-changed", { group, generation: 1, members: [] })
}
