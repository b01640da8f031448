/** `imagegrid trust apply FILE`: puts a change into force at a server of the site; the others hear of it from there. */
import { systemClock } from "#core/clock.ts"
import { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { currentCatalog, submitChange } from "#nodes/own-server.ts"
import { requireFollows } from "#trust/change-file.ts"
import { requirementsOf, requireSignatures } from "#trust/change.ts"
import { describeChange } from "#trust/describe-change.ts"
import { readChange } from "../change-file.ts"
import type { CommandContext } from "../command.ts"

export default async function run({ output, home }: CommandContext, [file = ""]: readonly string[]): Promise<void> {
  const opened = await Home.open(home())
  const carried = await readChange(file, opened)
  const { change, files } = carried
  const parts = { home: opened, clock: systemClock, log: silentLog }
  const current = await currentCatalog(parts)
  if ([...change].every(([path, bytes]) => current.files.get(path)?.equals(bytes) === true)) {
    output.event("change-unchanged", { file })
    output.say(`Nothing to change: ${file} is in force already.`)
    return
  }
  requireFollows(carried, current.files)
  requireSignatures(requirementsOf(files, change))
  await submitChange(parts, change)
  const changes = describeChange(carried)
  output.event("change-applied", { file, changes })
  output.say(`In force now:\n${changes.join("\n")}`)
}
