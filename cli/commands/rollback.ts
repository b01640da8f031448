/** `imagegrid rollback --target DIR`, or `--slots DIR`: makes a tree what it was before its last update, or uses the other tree again. */
import { switchBack } from "#client/slots.ts"
import { rollbackTarget } from "#client/update.ts"
import { systemClock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import { Home } from "#member/home.ts"
import type { CommandContext } from "../command.ts"
import { localOptions, tellUpdate, type LocalOptions } from "./update.ts"

type Options = LocalOptions & { readonly slots?: string }

export default async function run(context: CommandContext, _arguments: readonly string[], options: Options): Promise<void> {
  const { slots } = options
  if (slots !== undefined && (options.target !== undefined || options.local !== undefined || options.dryRun === true))
    throw new GridError("USAGE", "--slots goes without --target, --local and --dry-run: nothing but a link changes")
  const home = await Home.open(context.home())
  using _ = home.lock()
  const parts = { home, clock: systemClock, signal: context.signal, emit: tellUpdate(context, options.dryRun === true) }
  if (slots === undefined) await rollbackTarget(parts, localOptions(options))
  else {
    const record = await switchBack(parts, slots)
    context.output.event("switched", { slots, target: record.target, image: `${record.name}:${record.version}` })
    context.output.say(`${slots}/current leads to ${record.name}:${record.version} again.`)
  }
}
