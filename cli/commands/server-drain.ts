/** `imagegrid server drain`: has others take over what this server holds, so that it may leave. */
import { systemClock } from "#core/clock.ts"
import { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { setDraining } from "#nodes/own-server.ts"
import type { CommandContext } from "../command.ts"

export default async function run(context: CommandContext, _words: readonly string[], options: { readonly undo?: boolean }): Promise<void> {
  const { output } = context
  const home = await Home.open(context.home())
  const draining = options.undo !== true
  const status = await setDraining({ home, clock: systemClock, log: silentLog }, draining)
  output.event("draining", { draining, drained: status?.drained ?? null })
  if (status === null) output.say(`No server runs in ${home.directory}: it ${draining ? "drains" : "takes part"} from its next start on.`)
  else if (!draining) output.say("This server takes part again.")
  else
    output.say(
      "Others take over the copies that a placement rule asks for; meanwhile this server goes on serving. 'imagegrid grid status' says when it may leave. " +
        "Images without a rule are at every server already.",
    )
}
