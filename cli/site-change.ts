/** What the commands that change a site's groups, grants and members are wired to. */
import { randomBytes } from "node:crypto"
import { systemClock } from "#core/clock.ts"
import { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import type { GroupParts } from "#nodes/groups.ts"
import type { CommandContext } from "./command.ts"
import { openKeyRing, type KeyOptions } from "./keys.ts"

export async function siteChangeParts(context: Pick<CommandContext, "home">, options: KeyOptions): Promise<GroupParts> {
  const home = await Home.open(context.home())
  return { home, clock: systemClock, log: silentLog, random: randomBytes, keys: await openKeyRing(home, options) }
}
