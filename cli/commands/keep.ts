/** `imagegrid keep PATTERN... --last N`: how many versions stay in use when a new one is published. */
import { GridError } from "#core/errors.ts"
import { setRetention } from "#nodes/retire.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"
import { wholeNumber } from "../values.ts"

type Options = KeyOptions & OutOptions & { readonly last?: string; readonly all?: boolean }

export default async function run(context: CommandContext, names: readonly string[], options: Options): Promise<void> {
  const { output } = context
  if ((options.last === undefined) === (options.all !== true)) throw new GridError("USAGE", "say how many: --last N, or --all for no rule")
  const keepLast = options.last === undefined ? null : wholeNumber("--last", options.last, { min: 1, max: 10_000 })
  const made = await setRetention(await siteChangeParts(context, options), names, keepLast)
  const done =
    keepLast === null
      ? `All versions of ${names.join(", ")} stay in use.`
      : `Of each image ${names.join(", ")} the last ${keepLast} versions stay in use, and those that are pinned; the others go when the next one is published.`
  if (await tellChange(output, made, { done, what: "keep" }, options)) output.event("retention-changed", { names, keepLast })
}
