/** `imagegrid join INVITE`: this machine becomes a member. */
import { randomBytes } from "node:crypto"
import { readCertificate } from "#crypto/certificate.ts"
import { decodeInvite } from "#crypto/invite.ts"
import { systemClock } from "#core/clock.ts"
import { joinSite } from "#member/join.ts"
import { clientAddress, defaultPorts, listenAddress } from "../addresses.ts"
import type { CommandContext } from "../command.ts"

type Options = { readonly api?: string; readonly swarm?: string; readonly dht?: string }

export default async function run({ output, home, signal }: CommandContext, [text]: readonly string[], options: Options): Promise<void> {
  const invite = decodeInvite(text ?? "")
  const certificate = readCertificate(invite.certificateDer)
  const listen =
    certificate.role === "server"
      ? {
          api: listenAddress(options.api, defaultPorts.api),
          swarm: listenAddress(options.swarm, defaultPorts.swarm),
          dht: listenAddress(options.dht, defaultPorts.dht),
        }
      : { api: null, swarm: clientAddress(options.swarm), dht: clientAddress(options.dht) }
  const directory = home()
  const joined = await joinSite(invite, { clock: systemClock, random: randomBytes, signal }, { directory, listen })
  output.event("joined", { site: joined.site, role: joined.role, memberId: joined.memberId, home: directory })
  output.say(`Joined ${joined.site} as a ${joined.role}, member ${joined.memberId}. Home: ${directory}`)
  output.say(joined.role === "server" ? `Next: imagegrid server run --home ${directory}` : `Next: imagegrid images --home ${directory}`)
}
