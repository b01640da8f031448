/** `imagegrid publisher add NAME`: lets other keys publish under a pattern of names. */
import { addPublisher } from "#nodes/publishers.ts"
import { readPublicKey } from "#nodes/key-ring.ts"
import { GridError } from "#core/errors.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"
import { wholeNumber } from "../values.ts"

type Options = KeyOptions &
  OutOptions & { readonly names?: readonly string[]; readonly keyOf?: readonly string[]; readonly threshold?: string }

export default async function run(context: CommandContext, [name = ""]: readonly string[], options: Options): Promise<void> {
  const { output } = context
  const { names = [], keyOf = [] } = options
  if (names.length === 0 || keyOf.length === 0)
    throw new GridError("USAGE", "say which names it may publish (--names 'hpc/*') and who signs (--key-of anna.pub)")
  const threshold = wholeNumber("--threshold", options.threshold ?? "1", { min: 1, max: 64 })
  const keys = await Promise.all(keyOf.map(readPublicKey))
  const made = await addPublisher(await siteChangeParts(context, options), { name, names, keys, threshold })
  const done = `Publisher ${name} may publish ${names.join(", ")}; ${threshold} of ${keys.length} keys sign${threshold === 1 ? "s" : ""}.`
  if (await tellChange(output, made, { done, what: `publisher-${name}` }, options))
    output.event("publisher-added", { name, names, threshold })
}
