/** `imagegrid group add NAME MEMBER...`: puts members into a group. */
import { groupName } from "#core/identifiers.ts"
import { addToGroup } from "#nodes/groups.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"
import { memberIds } from "../values.ts"

export default async function run(
  context: CommandContext,
  [name, ...ids]: readonly string[],
  options: KeyOptions & OutOptions,
): Promise<void> {
  const { output } = context
  const group = groupName(name ?? "")
  const made = await addToGroup(await siteChangeParts(context, options), group, memberIds(ids))
  if (made === null) {
    output.event("group-unchanged", { group })
    output.say(`Nothing to change: the site says already that they are in ${group}.`)
    return
  }
  const done = `In ${group} now: ${made.members.join(", ")}. They fetch its keys, and may open what it may, when they next reach a server.`
  if (await tellChange(output, made, { done, what: `group-add-${group}` }, options))
    output.event("group-changed", { group, generation: made.group.generation, members: made.members })
}
