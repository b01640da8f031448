/** `imagegrid federate accept FILE`: agrees with another site on what each may have of the other. */
import { systemClock } from "#core/clock.ts"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { acceptOffer } from "#nodes/federate.ts"
import { OFFER_BYTES_MAX, readOffer } from "#nodes/offer.ts"
import { readBounded } from "#store/atomic-file.ts"
import { ask } from "../ask.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"

type Options = KeyOptions &
  OutOptions & { readonly shares?: readonly string[]; readonly mirrors?: readonly string[]; readonly yes?: boolean }

export default async function run(context: CommandContext, [file = ""]: readonly string[], options: Options): Promise<void> {
  const { output } = context
  const { shares = [], mirrors = [] } = options
  const parts = await siteChangeParts(context, options)
  const offer = await readOffer(await bytesOf(file), systemClock.nowMs())
  const { site } = offer.catalog.site
  output.event("offered", { file, site, rootDigest: offer.rootDigest, servers: offer.servers })
  output.say(`${file} is of site ${site}, root digest ${offer.rootDigest}, servers ${offer.servers.map(({ api }) => api).join(", ")}.`)
  output.say(`Its members may have of this site's images: ${shares.join(", ") || "none"}`)
  output.say(`This site's servers keep copies of its images: ${mirrors.join(", ") || "none"}, where it shares them.`)
  if (options.yes !== true) await requireConsent(output.json, site)
  const made = await acceptOffer(parts, offer, { shares, mirrors })
  const done =
    `This site has agreed with ${site}. The agreement counts once ${site} has agreed too: 'imagegrid federate invite FILE' here, and ` +
    "'imagegrid federate accept FILE' there."
  if (await tellChange(output, made, { done, what: `federate-${site}` }, options)) output.event("federated", { site, shares, mirrors })
}

/** @throws {GridError} DECLINED; USAGE where nobody can be asked */
async function requireConsent(json: boolean, site: string): Promise<void> {
  const answer = json ? null : await ask(`Is that the root digest that ${site} told you? [y/N] `)
  if (answer === null) throw new GridError("USAGE", "there is nobody to ask; compare the root digest with the other site, and add --yes")
  if (!/^y(es)?$/i.test(answer.trim())) throw new GridError("DECLINED", "nothing was agreed")
}

async function bytesOf(file: string): Promise<Buffer> {
  try {
    return await readBounded(file, OFFER_BYTES_MAX)
  } catch (cause) {
    if (systemErrorCode(cause) !== "ENOENT") throw cause
    throw new GridError("CHANGE_MISSING", `${file}; name the file that 'imagegrid federate invite' wrote at the other site`, { cause })
  }
}
