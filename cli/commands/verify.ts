/** `imagegrid verify --target DIR`: compares a deployed tree with the signed index of its image. */
import { describeDifferences, verifyTarget } from "#client/verify.ts"
import { systemClock } from "#core/clock.ts"
import { refOf } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef } from "#core/identifiers.ts"
import { Home } from "#member/home.ts"
import type { CommandContext } from "../command.ts"

type Options = { readonly target?: string }

export default async function run(context: CommandContext, _arguments: readonly string[], options: Options): Promise<void> {
  const { output, signal } = context
  if (options.target === undefined) throw new GridError("USAGE", "name the directory to verify: --target DIR")
  const home = await Home.open(context.home())
  const progress = output.progress("verifying")
  const {
    image: deployed,
    entries,
    differences,
    differenceCount,
  } = await verifyTarget({ home, clock: systemClock, signal, onProgress: (now) => progress.update(now) }, options.target)
  progress.end()
  const image = formatImageRef(refOf(deployed))
  for (const difference of differences) output.event("difference", { ...difference })
  output.event("verified", { image, entries, differences: differenceCount })
  if (differenceCount > 0)
    throw new GridError(
      "TREE_DIFFERS",
      `${options.target} is not ${image}: ${describeDifferences(differences, differenceCount)}. Deploy it anew to an empty directory`,
    )
  output.say(`${options.target} is ${image}: all ${entries} entries are as signed.`)
}
