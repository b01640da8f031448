/** `imagegrid site create NAME`: a new site, and the home of its first server. */
import { randomBytes } from "node:crypto"
import { systemClock } from "#core/clock.ts"
import { formatAddress } from "#core/address.ts"
import { siteName } from "#core/identifiers.ts"
import { createSite } from "#nodes/create-site.ts"
import type { CommandContext } from "../command.ts"
import { defaultPorts, listenAddress } from "../addresses.ts"
import { groupNames } from "../values.ts"

type Options = { readonly api?: string; readonly swarm?: string; readonly dht?: string; readonly groups?: readonly string[] }

export default async function run({ output, home }: CommandContext, [name]: readonly string[], options: Options): Promise<void> {
  const listen = {
    api: listenAddress(options.api, defaultPorts.api),
    swarm: listenAddress(options.swarm, defaultPorts.swarm),
    dht: listenAddress(options.dht, defaultPorts.dht),
  }
  const groups = groupNames(options.groups ?? [])
  const directory = home()
  const created = await createSite({ clock: systemClock, random: randomBytes }, { directory, site: siteName(name ?? ""), groups, listen })
  output.event("site-created", { site: created.site, memberId: created.memberId, rootDigest: created.rootDigest, home: directory })
  output.say(`Site ${created.site} is made; its first server lives in ${directory} (API ${formatAddress(listen.api)}).`)
  output.say(`Root of trust: ${created.rootDigest}`)
  output.say(`${directory}/keys holds every key of the site, unprotected but for file modes: a set-up to try things out with. Back it up.`)
  output.say(`Next: imagegrid server run --home ${directory}`)
}
