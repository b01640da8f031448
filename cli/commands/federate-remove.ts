/** `imagegrid federate remove SITE`: ends an agreement, and says what stays behind. */
import { siteName } from "#core/identifiers.ts"
import { endAgreement } from "#nodes/federate.ts"
import { currentCatalog } from "#nodes/own-server.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"

type Options = KeyOptions & OutOptions & { readonly forget?: boolean }

export default async function run(context: CommandContext, [name = ""]: readonly string[], options: Options): Promise<void> {
  const { output } = context
  const site = siteName(name)
  const forget = options.forget === true
  const parts = await siteChangeParts(context, options)
  const { grants } = await currentCatalog(parts)
  const granted = [...grants].filter(([, { grants: of }]) => of.some(({ group }) => group.startsWith(`${site}/`))).map(([image]) => image)
  const made = await endAgreement(parts, site, { forget })
  const done =
    `The agreement with ${site} has ended: its members get nothing of this site any more, nor this site's of theirs, once their servers have heard.\n` +
    `What stays: sealed copies that were made there of this site's images, and here of theirs; what was opened; grants to its groups of ${granted.length === 0 ? "no image" : granted.join(", ")}` +
    `${granted.length === 0 ? "" : " ('imagegrid ungrant' takes them out of the newest catalog)"}.` +
    (forget
      ? ""
      : `\nIts servers may still come to read that it has ended; 'imagegrid federate remove ${site} --forget' shuts them out as well.`)
  if (await tellChange(output, made, { done, what: `unfederate-${site}` }, options))
    output.event("federation-ended", { site, forget, grantedStill: granted })
}
