/** `imagegrid publisher remove NAME`: takes a publisher's right away, and its images out of the catalog. */
import { imagesOf, removePublisher } from "#nodes/publishers.ts"
import { GridError } from "#core/errors.ts"
import { ask } from "../ask.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"

type Options = KeyOptions & OutOptions & { readonly yes?: boolean }

export default async function run(context: CommandContext, [name = ""]: readonly string[], options: Options): Promise<void> {
  const { output } = context
  const parts = await siteChangeParts(context, options)
  const images = await imagesOf(parts, name)
  if (images.length > 0 && options.yes !== true) {
    const lost = `${images.length} image${images.length === 1 ? "" : "s"} that ${name} signed can't be deployed any more: ${images.slice(0, 10).join(", ")}`
    const answer = await ask(`${lost}${images.length > 10 ? " ..." : ""}. Remove it? [y/N] `)
    if (answer === null) throw new GridError("USAGE", `${lost}; add --yes if that is meant, since there is no terminal to ask at`)
    if (!/^y(es)?$/i.test(answer.trim())) throw new GridError("DECLINED", "nothing was changed")
  }
  const made = await removePublisher(parts, name)
  const done = `Publisher ${name} is none any more; ${images.length} of its images left the catalog. What was deployed stays where it is.`
  if (await tellChange(output, made, { done, what: `remove-publisher-${name}` }, options))
    output.event("publisher-removed", { name, images })
}
