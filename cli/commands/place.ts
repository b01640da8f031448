/** `imagegrid place PATTERN...`: how many copies of images there are to be, and where. */
import { GridError } from "#core/errors.ts"
import { setPlacement } from "#nodes/place.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"
import { memberIds, wholeNumber } from "../values.ts"

type Options = KeyOptions &
  OutOptions & {
    readonly copies?: string
    readonly sites?: string
    readonly pin?: readonly string[]
    readonly refuse?: readonly string[]
    readonly everywhere?: boolean
  }

export default async function run(context: CommandContext, names: readonly string[], options: Options): Promise<void> {
  const { output } = context
  if ((options.copies === undefined) === (options.everywhere !== true))
    throw new GridError("USAGE", "say how many: --copies N, or --everywhere for no rule")
  const rule =
    options.copies === undefined
      ? null
      : {
          copies: wholeNumber("--copies", options.copies, { min: 1, max: 1_000 }),
          sites: wholeNumber("--sites", options.sites ?? "1", { min: 1, max: 64 }),
          pins: memberIds(options.pin ?? []),
          refuse: memberIds(options.refuse ?? []),
        }
  const made = await setPlacement(await siteChangeParts(context, options), names, rule)
  const done =
    rule === null
      ? `Every server that may hold ${names.join(", ")} holds them.`
      : `Of ${names.join(", ")} there are to be ${rule.copies} copies, on ${rule.sites} ${rule.sites === 1 ? "site" : "sites"} at least.`
  if (await tellChange(output, made, { done, what: "place" }, options)) output.event("placement-changed", { names, rule })
}
