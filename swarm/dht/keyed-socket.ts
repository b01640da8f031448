/**
 * The UDP socket of a grid's DHT. Each packet is a 16-byte MAC and a message: HMAC-SHA256 of the message, cut to 16 bytes, under a
 * key derived from the grid's network key. What does not carry it is dropped unread and gets no answer; what does is bounded in size, in
 * rate and in what it may store, and reaches the library as a message written anew from checked fields.
 *
 * While one network key replaces another there are several. A packet is taken under any of them; one is sent under the key that the addressee
 * was last heard with, and under each of them to an addressee that was not heard yet.
 *
 * Passed to bittorrent-dht as its socket: it has the part of dgram.Socket that k-rpc-socket calls.
 */
import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto"
import { createSocket, type RemoteInfo, type Socket } from "node:dgram"
import { EventEmitter } from "node:events"
import type { Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { keepNewest } from "#core/newest.ts"
import { fitReply, readMessage } from "./krpc-message.ts"
import { SourceLimits } from "./source-limits.ts"

/** Largest packet taken, MAC included: one Ethernet frame's payload. */
export const PACKET_MAX_BYTES = 1_500
export const MAC_BYTES = 16
export const NETWORK_KEY_BYTES = 32
/** Addresses of which the key is remembered; of others it is learnt anew. */
const HEARD_MAX = 4_000
/** Replies are made to fit a packet with room for IP and UDP headers. */
const SEND_MAX_BYTES = 1_400

/** Where packets went, each counted once. */
export type PacketCounts = {
  accepted: number
  /** Too short or too long to be one of ours. */
  sizeWrong: number
  /** Without a network key. */
  unauthenticated: number
  overRate: number
  malformed: number
  /** Asked to store more than one source may. */
  overQuota: number
  /** The library threw: a defect worth reporting. */
  thrown: number
}

export type KeyedSocketParts = {
  /** The first is in force, the others are taken still. */
  readonly networkKeys: readonly Uint8Array[]
  readonly clock: Clock
}

/** Seals and opens packets. */
export class PacketKey {
  readonly #key: Buffer

  /** @throws {RangeError} unless the network key has 32 bytes */
  constructor(networkKey: Uint8Array) {
    if (networkKey.length !== NETWORK_KEY_BYTES)
      throw new RangeError(`a network key has ${NETWORK_KEY_BYTES} bytes, not ${networkKey.length}`)
    this.#key = Buffer.from(hkdfSync("sha256", networkKey, "", "imagegrid dht packet 1", 32))
  }

  seal(message: Uint8Array): Buffer {
    return Buffer.concat([this.#mac(message), message])
  }

  /** The message of a packet, or null when it was not sealed with this key. */
  open(packet: Buffer): Buffer | null {
    if (packet.length <= MAC_BYTES) return null
    const message = packet.subarray(MAC_BYTES)
    return timingSafeEqual(packet.subarray(0, MAC_BYTES), this.#mac(message)) ? message : null
  }

  #mac(message: Uint8Array): Buffer {
    return createHmac("sha256", this.#key).update(message).digest().subarray(0, MAC_BYTES)
  }
}

export class KeyedSocket extends EventEmitter {
  readonly #udp: Socket
  #keys: readonly PacketKey[]
  /** By address, the key of the packet that came from there last. */
  readonly #heard = new Map<string, PacketKey>()
  readonly #limits: SourceLimits
  readonly #counts: PacketCounts = {
    accepted: 0,
    sizeWrong: 0,
    unauthenticated: 0,
    overRate: 0,
    malformed: 0,
    overQuota: 0,
    thrown: 0,
  }
  #closed = false

  private constructor(parts: KeyedSocketParts, udp: Socket) {
    super()
    this.#udp = udp
    this.#keys = packetKeys(parts.networkKeys)
    this.#limits = new SourceLimits(parts.clock)
    udp.on("message", (packet, from) => this.#receive(packet, from))
    // As k-rpc-socket takes it: a warning, and the socket lives on.
    udp.on("error", (error) => this.emit("error", error))
    udp.on("close", () => this.emit("close"))
  }

  /** @throws {GridError} ADDRESS_IN_USE, ADDRESS_INVALID when this machine has no such address */
  static async open(parts: KeyedSocketParts, listen: Address): Promise<KeyedSocket> {
    const udp = createSocket("udp4")
    try {
      await new Promise<void>((resolve, reject) => {
        udp.once("error", reject)
        udp.bind({ address: listen.host, port: listen.port, exclusive: true }, () => {
          udp.off("error", reject)
          resolve()
        })
      })
      return new KeyedSocket(parts, udp)
    } catch (cause) {
      udp.close()
      const code = systemErrorCode(cause)
      const at = `UDP ${listen.host}:${listen.port}`
      if (code === "EADDRINUSE") throw new GridError("ADDRESS_IN_USE", `${at}; stop the other program or choose another port`, { cause })
      if (code === "EADDRNOTAVAIL" || code === "ENOTFOUND")
        throw new GridError("ADDRESS_INVALID", `${at} is no address of this machine; choose one that is, or 0.0.0.0 for all`, { cause })
      throw cause
    }
  }

  get counts(): Readonly<PacketCounts> {
    return this.#counts
  }

  /** Replaces the keys, the one in force first. Who speaks under which is learnt anew. @throws {RangeError} */
  setNetworkKeys(networkKeys: readonly Uint8Array[]): void {
    this.#keys = packetKeys(networkKeys)
    this.#heard.clear()
  }

  /** Called by the library; the socket is bound already. */
  bind(): void {
    process.nextTick(() => {
      if (!this.#closed) this.emit("listening")
    })
  }

  address(): { address: string; port: number; family: string } {
    return this.#udp.address()
  }

  /** As dgram's, with the arguments that k-rpc-socket passes. A send that fails is like a packet lost. */
  send(message: Uint8Array, offset: number, length: number, port: number, host: string, sent: () => void): void {
    if (this.#closed) return sent()
    const fitted = fitReply(Buffer.from(message.buffer, message.byteOffset + offset, length), SEND_MAX_BYTES)
    const heard = this.#heard.get(`${host}:${port}`)
    // The library answers a query before it hears another packet, so an answer goes out under its query's key. The key in force goes last: two
    // nodes that hold both keys then heard it last, and go on with it.
    const keys = heard === undefined ? this.#keys.toReversed() : [heard]
    try {
      for (const [position, key] of keys.entries())
        this.#udp.send(key.seal(fitted), port, host, position === keys.length - 1 ? () => sent() : () => {})
    } catch {
      // A port or address that can't be sent to, learned from another node.
      sent()
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#udp.close()
  }

  #receive(packet: Buffer, from: RemoteInfo): void {
    const counts = this.#counts
    if (this.#closed) return
    if (packet.length > PACKET_MAX_BYTES || packet.length <= MAC_BYTES) counts.sizeWrong += 1
    else {
      const key = this.#keys.find((candidate) => candidate.open(packet) !== null)
      // Only what carries a key counts against its source: a stranger can't use up a member's share.
      if (key === undefined) counts.unauthenticated += 1
      else if (!this.#limits.admitPacket(from.address)) counts.overRate += 1
      else {
        keepNewest(this.#heard, `${from.address}:${from.port}`, key, HEARD_MAX)
        this.#deliver(packet.subarray(MAC_BYTES), from)
      }
    }
  }

  #deliver(opened: Buffer, from: RemoteInfo): void {
    const message = readMessage(opened)
    if (message === null) this.#counts.malformed += 1
    else if (message.stores !== null && !this.#limits.admitStoring(from.address, message.stores)) this.#counts.overQuota += 1
    else {
      try {
        this.emit("message", message.bytes, from)
        this.#counts.accepted += 1
      } catch {
        this.#counts.thrown += 1
      }
    }
  }
}

function packetKeys(networkKeys: readonly Uint8Array[]): PacketKey[] {
  if (networkKeys.length === 0) throw new RangeError("a node of the DHT has at least one network key")
  return networkKeys.map((key) => new PacketKey(key))
}
