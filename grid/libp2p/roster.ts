/** The servers of the roster by the names that libp2p has for them. */
import type { PeerId } from "@libp2p/interface"
import { publicKeyFromRaw } from "@libp2p/crypto/keys"
import { peerIdFromPublicKey } from "@libp2p/peer-id"
import { multiaddr, type Multiaddr } from "@multiformats/multiaddr"
import { isIPv4 } from "node:net"
import type { MemberId } from "#core/identifiers.ts"
import type { PlaneServer } from "../plane.ts"

export type RosterEntry = { readonly server: PlaneServer; readonly peerId: PeerId; readonly multiaddrs: readonly Multiaddr[] }

export class Roster {
  readonly #byPeer = new Map<string, RosterEntry>()
  readonly #byMember = new Map<MemberId, RosterEntry>()
  readonly #hosts = new Set<string>()

  /** Entries of servers that are as in `before` are taken from there. */
  constructor(servers: readonly PlaneServer[], before: Roster | null) {
    for (const server of servers) {
      const peerId = before?.ofMember(server.memberId)?.peerId ?? peerIdOf(server.signingKeyHex)
      const multiaddrs = server.addresses.map(({ host, port }) =>
        multiaddr(`/${isIPv4(host) ? "ip4" : "dns4"}/${host}/tcp/${port}/p2p/${peerId.toString()}`),
      )
      const entry = { server, peerId, multiaddrs }
      this.#byPeer.set(peerId.toString(), entry)
      this.#byMember.set(server.memberId, entry)
      for (const { host } of server.addresses) this.#hosts.add(host)
    }
  }

  ofPeer(peerId: string): RosterEntry | null {
    return this.#byPeer.get(peerId) ?? null
  }

  ofMember(memberId: MemberId): RosterEntry | null {
    return this.#byMember.get(memberId) ?? null
  }

  /** Whether a server of the roster is said to be at this address. */
  hasHost(host: string): boolean {
    return this.#hosts.has(host)
  }
}

function peerIdOf(signingKeyHex: string): PeerId {
  return peerIdFromPublicKey(publicKeyFromRaw(Buffer.from(signingKeyHex, "hex")))
}
