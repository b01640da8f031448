/** `imagegrid group list`: the groups, and what the site says of who is in them. */
import { Home } from "#member/home.ts"
import { catalogToShow } from "../catalog-view.ts"
import type { CommandContext } from "../command.ts"
import { describeMembers } from "../group-members.ts"

export default async function run(context: CommandContext): Promise<void> {
  const { output } = context
  const home = await Home.open(context.home())
  const { site } = await catalogToShow(home, context)
  for (const { name, generation, added, removed } of site.groups) output.event("group", { group: name, generation, added, removed })
  output.table(
    ["group", "generation", "members"],
    site.groups.map((group) => [group.name, String(group.generation), describeMembers(group)]),
  )
}
