/** `imagegrid export REF... FILE`: writes images into one file, for sites that no network reaches. */
import { systemClock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import { imageQuery } from "#core/identifiers.ts"
import { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { exportBundle } from "#nodes/export-bundle.ts"
import { requireNoFile } from "../change-file.ts"
import type { CommandContext } from "../command.ts"
import { formatBytes } from "../progress.ts"

export default async function run({ output, home: homeOf, signal }: CommandContext, words: readonly string[]): Promise<void> {
  const images = words.slice(0, -1)
  const file = words.at(-1)
  if (file === undefined || images.length === 0) throw new GridError("USAGE", "name one image or more, and then the file")
  const home = await Home.open(homeOf())
  await requireNoFile(file)
  const progress = output.progress("exporting")
  const parts = { home, clock: systemClock, log: silentLog, signal, onProgress: progress.update.bind(progress) }
  const made = await exportBundle(parts, images.map(imageQuery), file)
  progress.end()
  output.event("exported", { file, ...made })
  output.say(
    `${file}: ${made.images.join(", ")}, ${made.layers} layers, ${formatBytes(made.bytes)}. Whoever may open an image may open it there too; nobody else may.`,
  )
  output.say(`Next, at a server there: imagegrid import ${file} --home HOME`)
}
