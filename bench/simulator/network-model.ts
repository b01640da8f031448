/** What links, TCP and TLS cost: every constant of the model, with where it comes from. */
import type { Address } from "#core/address.ts"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { SiteNews } from "#swarm/core/events.ts"
import type { ControlMessage } from "#swarm/core/messages.ts"
import { shapingOf } from "../lab/shaping.ts"

export const networkDefaults = {
  /** Payload of a full TCP segment with timestamps: 1,500 bytes of IP less 20 (IP), 20 (TCP) and 12 (timestamps). */
  segmentBytes: 1_448,
  /** What a segment costs besides: those 52 bytes and 14 of Ethernet. What the lab's shaping counts. */
  frameOverheadBytes: 66,
  /** An acknowledgement is a frame without payload, for every second segment. */
  ackBytes: 66,
  segmentsPerAck: 2,
  /** TLS 1.3: header 5, content type 1, tag 16, for each 16 KiB or each write. */
  recordBytes: 22,
  /** Bytes before a block's own in a `piece` message (BEP 3). */
  blockHeaderBytes: 13,
  /**
   * From the write at one end to the event at the other, besides queues and the path: two system calls, two cipher passes and half a turn of an event loop
   * at each end.
   */
  hostMs: 0.3,
  /** A mutual TLS handshake takes 2.5 ms of CPU, half at each end (FACTS.md); those of one host follow one another. */
  handshakeMs: 1.25,
  /**
   * What it costs on the wire each way: 2,650 to 2,750 bytes of TLS 1.3 with two Ed25519 certificates and session tickets (measured with test members),
   * the handshake of BEP 3 in its record, and eight frames' headers.
   */
  handshakeBytes: 3_300,
  /** Round trips until both are connected: TCP, TLS 1.3, handshake of BEP 3. */
  handshakeRoundTrips: 3,
  /** As `HANDSHAKE_TIMEOUT_MS` of swarm/dialler.ts. */
  handshakeTimeoutMs: 10_000,
  /** Incoming connections that have not finished their handshakes: a new one takes the place of the oldest (swarm/swarm.ts). */
  halfOpenMax: 256,
  /** SHA-1 of 1.2 GB/s and a copy into the store. */
  verifyBytesPerMs: 900_000,
  /** A piece's way through the store besides: a turn of the event loop. */
  verifyMs: 0.2,
  /** What the kernel takes of one connection beyond what is on its way: its buffer begins with room for some 20 segments and grows with the rate. */
  sendBufferMs: 5,
  sendBufferBytesMin: 32 * 1024,
  /** A read from the store, and the turn of the event loop until the write is reported. */
  uploadMs: 0.3,
  /** Frames that each sending connection keeps in the host's own queue (TCP small queues): a small message waits behind them. */
  framesQueuedPerSender: 2,
  /** First congestion window (RFC 6928), and what Linux lets a receive window grow to. */
  firstWindowSegments: 10,
  windowBytesMax: 3 * 1024 * 1024,
  /** Window under random loss, in segments: 1.22 / sqrt(loss) (Mathis et al. 1997), which CUBIC keeps to on paths as short as ours. */
  lossWindow: 1.22,
  /** Shortest time after which Linux sends a lost packet again that no other follows (with its tail loss probe). */
  retransmitMinMs: 10,
  /** BEP 10 handshake, BEP 11 message: what they are without addresses. */
  introductionBytes: 80,
  peerExchangeBytes: 50,
  /** `ig_site` (docs/protocol.md): the same, and each member that it names. */
  siteNewsBytes: 25,
  siteMemberBytes: 32,
} as const

export type NetworkModel = { readonly [name in keyof typeof networkDefaults]: number }

/** Port queue of a link in the time it takes to empty it: as the lab's shaping. */
export function portQueueMs(bytesPerSecond: number): number {
  return Number.isFinite(bytesPerSecond) ? (shapingOf(bytesPerSecond).queueBytes * 1_000) / bytesPerSecond : 0
}

/** A message of the extension protocol, as the simulator passes it on. */
export type Extended =
  | { readonly type: "introduction" }
  | {
      readonly type: "peer-exchange"
      readonly near: readonly Address[]
      readonly far: readonly Address[]
      readonly droppedCount: number
    }
  | { readonly type: "site-news"; readonly news: SiteNews }
export type SmallMessage = ControlMessage | Extended

export class WireCosts {
  readonly model: NetworkModel
  /** A block stands for this many of those that the wire would carry. */
  readonly #blockRatio: number

  constructor(model: NetworkModel, blockBytes: number) {
    this.model = model
    this.#blockRatio = Math.max(1, blockBytes / BLOCK_BYTES)
  }

  /** Frames and all of a block: part of a stream, so that nothing is rounded up. */
  blockBytes(payloadBytes: number): number {
    const { blockHeaderBytes, recordBytes, segmentBytes, frameOverheadBytes } = this.model
    const streamBytes = payloadBytes + (payloadBytes / BLOCK_BYTES) * (blockHeaderBytes + recordBytes)
    return streamBytes * (1 + frameOverheadBytes / segmentBytes)
  }

  /** What the receiver sends back for a block. */
  ackBytes(payloadBytes: number): number {
    const { segmentBytes, segmentsPerAck, ackBytes } = this.model
    return (payloadBytes / segmentBytes / segmentsPerAck) * ackBytes
  }

  /** Frames and all of small messages that go out as one write. */
  smallBytes(messageBytes: number): number {
    const streamBytes = messageBytes + this.model.recordBytes
    return streamBytes + Math.ceil(streamBytes / this.model.segmentBytes) * this.model.frameOverheadBytes
  }

  /** Of one small message alone, with its length prefix. */
  messageBytes(message: SmallMessage): number {
    switch (message.type) {
      case "keep-alive":
        return 4
      case "have":
      case "suggest":
      case "allowed-fast":
        return 9
      case "bitfield":
        return 5 + message.bits.length
      case "request":
      case "cancel":
      case "reject":
        return 17 * this.#blockRatio
      case "introduction":
        return this.model.introductionBytes
      case "peer-exchange":
        return this.model.peerExchangeBytes + 7 * (message.near.length + message.far.length) + 6 * message.droppedCount
      case "site-news":
        return (
          this.model.siteNewsBytes + this.model.siteMemberBytes * (message.news.members?.length ?? 0) + 4 * message.news.crossing.length
        )
      default:
        return 5
    }
  }
}
