/** `imagegrid rollback --target DIR`: makes a tree what it was before its last update. */
import { rollbackTarget } from "#client/update.ts"
import { systemClock } from "#core/clock.ts"
import { Home } from "#member/home.ts"
import type { CommandContext } from "../command.ts"
import { localOptions, tellUpdate, type LocalOptions } from "./update.ts"

export default async function run(context: CommandContext, _arguments: readonly string[], options: LocalOptions): Promise<void> {
  const { target, local, dryRun } = localOptions(options)
  const home = await Home.open(context.home())
  using _ = home.lock()
  await rollbackTarget({ home, clock: systemClock, signal: context.signal, emit: tellUpdate(context, dryRun) }, { target, local, dryRun })
}
