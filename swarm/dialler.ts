/** Opens connections: TLS with both certificates, then the handshake of BEP 3, each within its time and with a bound on how many are half open. */
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls"
import { formatAddress, type Address } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import type { Infohash } from "#core/identifiers.ts"
import { keepNewest } from "#core/newest.ts"
import { admitPeer, type AdmittedPeer, type SwarmAdmission } from "./admission.ts"
import { Connection } from "./connection.ts"
import { SharedReads, type ReadOptions } from "./shared-reads.ts"
import { peerIdOf } from "./wire.ts"

/** Time for connecting and TLS, and again for the handshake. */
export const HANDSHAKE_TIMEOUT_MS = 10_000
/** Dials under way at a time, of all torrents. */
const HALF_OPEN_MAX = 32
/** Where somebody answered who is not admitted, nobody is dialled for this long: another may have the address by then. */
const REFUSED_REST_MS = 10 * 60_000
const REFUSED_MAX = 10_000

export class Dialler {
  readonly #admission: SwarmAdmission
  readonly #memberId: string
  readonly #waiting: (() => void)[] = []
  readonly #closing = new AbortController()
  readonly #nowMs: () => number
  /** Addresses whose answering end is of no member, such as one that was revoked, and until when. */
  readonly #refusedUntilMs = new Map<string, number>()
  #halfOpen = 0

  constructor(admission: SwarmAdmission, memberId: string, nowMs: () => number) {
    this.#admission = admission
    this.#memberId = memberId
    this.#nowMs = nowMs
  }

  /**
   * A connection to a member that serves this torrent. `wanted` is asked once it is known who answers, before anything is said to it.
   * @throws {GridError} SEEDERS_MISSING, CERTIFICATE_INVALID and its kin, PEER_MISBEHAVED
   */
  async dial(address: Address, infohash: Infohash, wanted: (peer: AdmittedPeer) => boolean): Promise<Connection> {
    const refusedUntilMs = this.#refusedUntilMs.get(formatAddress(address))
    if (refusedUntilMs !== undefined && this.#nowMs() < refusedUntilMs)
      throw new GridError("SEEDERS_MISSING", `${formatAddress(address)} was not admitted a while ago`)
    if (this.#halfOpen >= HALF_OPEN_MAX) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#halfOpen += 1
    try {
      return await this.#open(address, infohash, wanted)
    } finally {
      this.#halfOpen -= 1
      this.#waiting.shift()?.()
    }
  }

  /** Who was refused may be admitted now. */
  admissionChanged(): void {
    this.#refusedUntilMs.clear()
  }

  close(): void {
    this.#closing.abort()
    for (const waiter of this.#waiting.splice(0)) waiter()
  }

  async #open(address: Address, infohash: Infohash, wanted: (peer: AdmittedPeer) => boolean): Promise<Connection> {
    const reads = new SharedReads()
    const socket = await this.#secure(address, reads)
    try {
      const peer = admitPeer(this.#admission, socket)
      if (peer.memberId === this.#memberId) throw new GridError("SEEDERS_MISSING", `${formatAddress(address)} is this member itself`)
      if (!wanted(peer)) throw new GridError("SEEDERS_MISSING", `${formatAddress(address)} is connected already, or may not have this`)
      const connection = new Connection(socket, peer, { address, reads })
      connection.sendHandshake({ infohash, peerId: peerIdOf(this.#memberId) })
      const answer = await connection.readHandshake(HANDSHAKE_TIMEOUT_MS)
      if (answer.infohash !== infohash || !answer.peerId.equals(peerIdOf(peer.memberId)))
        throw new GridError("PEER_MISBEHAVED", `${formatAddress(address)} answered for another torrent or member`)
      return connection
    } catch (error) {
      socket.destroy()
      if (error instanceof GridError) throw error
      throw new GridError("SEEDERS_MISSING", `${formatAddress(address)} broke off`, { cause: error })
    }
  }

  async #secure(address: Address, reads: SharedReads): Promise<TLSSocket> {
    const closing = this.#closing.signal
    if (closing.aborted) throw new GridError("SEEDERS_MISSING", "the swarm is closed")
    const { promise, resolve, reject } = Promise.withResolvers<null>()
    const options: ConnectionOptions & ReadOptions = { ...this.#admission.tlsClientOptions(), ...address, onread: reads.onread }
    const socket = connect(options)
    const fail = (cause: unknown) => {
      if (cause instanceof GridError && cause.code === "CERTIFICATE_INVALID")
        keepNewest(this.#refusedUntilMs, formatAddress(address), this.#nowMs() + REFUSED_REST_MS, REFUSED_MAX)
      reject(new GridError("SEEDERS_MISSING", `${formatAddress(address)} could not be reached`, { cause }))
    }
    const stop = () => socket.destroy(new Error("the swarm is closed"))
    const timer = setTimeout(() => socket.destroy(new Error(`no TLS within ${HANDSHAKE_TIMEOUT_MS} ms`)), HANDSHAKE_TIMEOUT_MS)
    closing.addEventListener("abort", stop)
    socket.once("secureConnect", () => resolve(null))
    socket.on("error", fail)
    socket.once("close", fail)
    try {
      await promise
    } finally {
      clearTimeout(timer)
      closing.removeEventListener("abort", stop)
      socket.off("close", fail)
    }
    return socket
  }
}
