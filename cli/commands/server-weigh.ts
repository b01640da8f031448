/** `imagegrid server weigh MEMBER WEIGHT`: how many copies a server holds beside others. */
import { GridError } from "#core/errors.ts"
import { memberId } from "#core/identifiers.ts"
import { setWeight } from "#nodes/place.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"

export default async function run(
  context: CommandContext,
  [server = "", text = ""]: readonly string[],
  options: KeyOptions & OutOptions,
): Promise<void> {
  const { output } = context
  const weight = /^\d{1,6}(\.\d{1,3})?$/.test(text) ? Number(text) : 0
  if (weight <= 0) throw new GridError("USAGE", `a weight is a number above 0, such as 2 or 0.5, not ${JSON.stringify(text.slice(0, 40))}`)
  const id = memberId(server)
  const made = await setWeight(await siteChangeParts(context, options), id, weight)
  const done = `Server ${id} holds ${weight === 1 ? "as many copies as" : `${weight} times the copies of`} one that no weight was set for.`
  if (await tellChange(output, made, { done, what: "weigh" }, options)) output.event("weight-changed", { memberId: id, weight })
}
