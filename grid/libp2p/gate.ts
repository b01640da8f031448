/**
 * Who may connect. Before anything is proven, so many connections wait and no more; as soon as it is proven who the other end is, whoever is not in the
 * roster is turned away, and of two connections between the same servers one.
 */
import type { Connection, ConnectionGater, MultiaddrConnection, PeerId } from "@libp2p/interface"
import { getNetConfig } from "@libp2p/utils"
import type { MemberId } from "#core/identifiers.ts"
import { chooseConnection, type End } from "../core/connection-choice.ts"
import { WaitingRoom } from "../core/waiting-room.ts"
import type { PlaneServer } from "../plane.ts"

/** A connection that is to go is waited for so long, before the one in its place is opened. */
const CLOSE_TIMEOUT_MS = 500

export type GateParts = {
  readonly self: MemberId
  /** Null when it is not to be spoken to: not in the roster, or it broke the protocol a while ago. */
  admitted(peerId: string): PlaneServer | null
  isRosterHost(host: string): boolean
  /** The open connection to this server. */
  existing(memberId: MemberId): Connection | null
  isDialling(memberId: MemberId): boolean
  /** Its dial has come; the own one is of no use. */
  giveUpDial(memberId: MemberId): void
  /** Whoever this is has proven to be it, and is turned away. */
  refused(peerId: string, why: "not admitted" | "another connection stays"): void
  /** It has proven who it is over this connection. */
  proven(memberId: MemberId, connection: MultiaddrConnection): void
}

/** Accepts as `denyInboundConnection` and its kin say: every `true` turns away. */
export function makeGate(parts: GateParts): ConnectionGater {
  const waiting = new WaitingRoom<MultiaddrConnection>()

  async function isRefused(peerId: PeerId, connection: MultiaddrConnection, dialledBy: End): Promise<boolean> {
    waiting.leave(connection)
    const server = parts.admitted(peerId.toString())
    if (server === null) {
      parts.refused(peerId.toString(), "not admitted")
      return true
    }
    const peer = server.memberId
    const existing = parts.existing(peer)
    const choice = chooseConnection(
      {
        self: parts.self,
        peer,
        existing: existing === null ? null : existing.direction === "outbound" ? "self" : "peer",
        isDialling: parts.isDialling(peer),
      },
      dialledBy,
    )
    if (choice === "refuse") {
      parts.refused(peerId.toString(), "another connection stays")
      return true
    }
    if (dialledBy === "peer") parts.giveUpDial(peer)
    if (choice === "replace" && existing !== null) {
      // All that hangs on it is to hear of its end before the next one opens.
      await closed(existing)
      if (parts.admitted(peerId.toString()) === null) return true
    }
    parts.proven(peer, connection)
    return false
  }

  return {
    denyDialPeer: (peerId) => parts.admitted(peerId.toString()) === null,
    denyInboundConnection: (connection) => {
      const { host } = getNetConfig(connection.remoteAddr)
      waiting.enter(connection, host, parts.isRosterHost(host))?.abort(new Error("too many connections wait to prove who they are"))
      connection.addEventListener("close", () => waiting.leave(connection), { once: true })
      return false
    },
    denyInboundEncryptedConnection: (peerId, connection) => isRefused(peerId, connection, "peer"),
    denyOutboundEncryptedConnection: (peerId, connection) => isRefused(peerId, connection, "self"),
  }
}

async function closed(connection: Connection): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<null>()
  const timer = setTimeout(() => resolve(null), CLOSE_TIMEOUT_MS)
  connection.addEventListener("close", () => resolve(null), { once: true })
  connection.abort(new Error("another connection takes its place"))
  await promise
  clearTimeout(timer)
}
