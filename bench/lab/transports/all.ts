/** Every transport that the lab can play, by name. */
import { imagegrid } from "./imagegrid.ts"
import { libtorrent } from "./libtorrent.ts"
import { rsync } from "./rsync.ts"
import type { Transport } from "./transport.ts"
import { udpcast } from "./udpcast.ts"
import { webtorrent } from "./webtorrent.ts"

const transports: ReadonlyMap<string, Transport> = new Map(
  [imagegrid, libtorrent, udpcast, rsync, webtorrent].map((transport) => [transport.name, transport]),
)

export const transportNames: readonly string[] = [...transports.keys()]

/** @throws {RangeError} for a name that is not among them */
export function transportOf(name: string): Transport {
  const transport = transports.get(name)
  if (transport === undefined) throw new RangeError(`no transport ${name}`)
  return transport
}
