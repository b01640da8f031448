/** `imagegrid join INVITE`: this machine becomes a member. */
import { randomBytes } from "node:crypto"
import { readCertificate } from "#crypto/certificate.ts"
import { decodeInvite } from "#crypto/invite.ts"
import { systemClock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import { joinSite } from "#member/join.ts"
import { clientAddress, defaultPorts, listenAddress } from "../addresses.ts"
import type { CommandContext } from "../command.ts"

type Options = { readonly api?: string; readonly swarm?: string; readonly dht?: string }

export default async function run({ output, home, signal }: CommandContext, [text]: readonly string[], options: Options): Promise<void> {
  // The invite is a secret until it was used: other users of this machine see command lines, so it does not stay in ours.
  process.title = "imagegrid join"
  const invite = decodeInvite(text === "-" ? await readLine(process.stdin) : (text ?? ""))
  const certificate = readCertificate(invite.certificateDer)
  const listen =
    certificate.role !== "client"
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
  output.say(joined.role !== "client" ? `Next: imagegrid server run --home ${directory}` : `Next: imagegrid images --home ${directory}`)
}

const INVITE_BYTES_MAX = 16 * 1024

/** Everything that a pipe or a person gives, within bounds. */
async function readLine(stdin: NodeJS.ReadableStream): Promise<string> {
  let text = ""
  for await (const chunk of stdin) {
    text += chunk.toString()
    if (text.length > INVITE_BYTES_MAX)
      throw new GridError("INVITE_INVALID", `more than ${INVITE_BYTES_MAX} bytes; pass the one string that 'imagegrid invite' printed`)
  }
  return text.trim()
}
