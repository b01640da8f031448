/** `imagegrid group remove NAME MEMBER...`: takes members out of a group, which gets a new key. */
import { groupName } from "#core/identifiers.ts"
import { removeFromGroup } from "#nodes/groups.ts"
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
  const made = await removeFromGroup(await siteChangeParts(context, options), group, memberIds(ids))
  if (made === null) {
    output.event("group-unchanged", { group })
    output.say(`Nothing to change: they were removed from ${group} before.`)
    return
  }
  const { generation } = made.group
  const done =
    `Out of ${group}: ${made.members.join(", ")}. What is granted to ${group} from now on is sealed to generation ${generation} of its key, which they don't get.\n` +
    "What was granted before they can open still, with the keys that they have; and they are members of the site until 'imagegrid revoke'."
  if (await tellChange(output, made, { done, what: `group-remove-${group}` }, options))
    output.event("group-changed", { group, generation, members: made.members })
}
