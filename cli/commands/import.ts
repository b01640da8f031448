/** `imagegrid import FILE`: brings exported images into a server. */
import { systemClock } from "#core/clock.ts"
import { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { importBundle } from "#nodes/import-bundle.ts"
import type { CommandContext } from "../command.ts"

export default async function run({ output, home: homeOf, signal }: CommandContext, [file = ""]: readonly string[]): Promise<void> {
  const home = await Home.open(homeOf())
  const progress = output.progress("importing")
  const parts = { home, clock: systemClock, log: silentLog, signal, onProgress: progress.update.bind(progress) }
  const taken = await importBundle(parts, file)
  progress.end()
  output.event("imported", { file, ...taken })
  for (const { image, why } of taken.passedOver) output.warn(`${image} was not taken: ${why}`)
  output.say(taken.images.length === 0 ? "No image was taken." : `Held whole now: ${taken.images.join(", ")}.`)
  if (taken.newerCatalogs.length > 0) output.say(`Newer catalogs were taken, of: ${taken.newerCatalogs.join(", ")}.`)
}
