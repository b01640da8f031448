/** `imagegrid grid status`: servers, sites, copies against goals, repairs under way, and what is at risk. */
import { systemClock } from "#core/clock.ts"
import { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { gridStatus } from "#nodes/own-server.ts"
import type { CommandContext } from "../command.ts"
import { formatBytes } from "../progress.ts"

export default async function run(context: CommandContext): Promise<void> {
  const { output } = context
  const home = await Home.open(context.home())
  const status = await gridStatus({ home, clock: systemClock, log: silentLog })
  output.event("grid", status)
  const { servers, images, underGoal, atRisk, fetching, wanted, surplus, doubted } = status
  output.table(
    ["server", "site", "is", "holds", "free"],
    servers.map(({ memberId, site, weight, standing, phase, isFull, heldBytes, freeBytes }) => [
      memberId === status.memberId ? `${memberId} (this one)` : memberId,
      site,
      [standing, phase === "draining" && "draining", isFull && "full", weight !== 1 && `weight ${weight}`]
        .filter((word) => word !== false)
        .join(", "),
      heldBytes === null ? "?" : formatBytes(heldBytes),
      freeBytes === null ? "?" : formatBytes(freeBytes),
    ]),
  )
  const sites = new Set(servers.map(({ site }) => site)).size
  const goals = underGoal === 0 ? "all at their goal" : `${underGoal} under their goal`
  output.say(
    `${servers.length} servers on ${sites} ${sites === 1 ? "site" : "sites"}. Images with a number of copies of their own: ${images}, ${goals}.`,
  )
  if (fetching.length > 0 || wanted > 0)
    output.say(`This server fetches ${fetching.join(", ") || "none now"}, and ${wanted} more after that.`)
  if (surplus > 0) output.say(`${surplus} copies here are beyond the goal; they go when others have proved theirs.`)
  for (const { image, liveCopies, sources } of atRisk)
    output.warn(
      `AT RISK: ${image} has ${liveCopies} live ${liveCopies === 1 ? "copy" : "copies"}${sources === 0 ? ", and nobody to get one from" : ""}`,
    )
  for (const server of doubted) output.warn(`${server} did not prove what it says it holds; look at its disk`)
  if (status.isRepairHeld) output.warn("so many servers are out at once that nothing is repaired by itself: look at the network first")
  if (status.draining)
    output.say(
      status.drained
        ? "This server drains, and may leave: nothing depends on it."
        : "This server drains; others are taking over what it holds.",
    )
}
