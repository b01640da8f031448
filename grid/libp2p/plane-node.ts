/**
 * The libp2p node of one server: connections to the other servers of the roster, streams for exchanges, and gossip. Everything that knows libp2p stands in
 * this folder, and is loaded when a plane is opened.
 */
import { generateKeyPairFromSeed } from "@libp2p/crypto/keys"
import { gossipsub, TopicValidatorResult, type GossipSub } from "@libp2p/gossipsub"
import { identify } from "@libp2p/identify"
import type { Connection, Libp2p, PeerId, Stream } from "@libp2p/interface"
import { ping } from "@libp2p/ping"
import { tcp } from "@libp2p/tcp"
import { getNetConfig } from "@libp2p/utils"
import { yamux } from "@libp2p/yamux"
import { createLibp2p } from "libp2p"
import { seedOf } from "#crypto/identity.ts"
import { formatAddress, type Address } from "#core/address.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import type { MemberId } from "#core/identifiers.ts"
import { keepNewest } from "#core/newest.ts"
import type { End } from "../core/connection-choice.ts"
import { HINT_BYTES_MAX } from "../core/messages.ts"
import { EXCHANGE_TIMEOUT_MS, type Channel } from "../exchange.ts"
import type { PlaneParts, PlaneServer } from "../plane.ts"
import { DialLoop } from "./dial-loop.ts"
import { makeGate } from "./gate.ts"
import { keyedNoise } from "./keyed-noise.ts"
import { Roster } from "./roster.ts"
import { silentLogger } from "./silent-logger.ts"
import { STREAM_BUFFER_BYTES_MAX, streamChannel } from "./stream-channel.ts"

const DOCUMENTS_PROTOCOL = "/imagegrid/documents/1"
/** One topic for the whole grid. */
const HINTS_TOPIC = "imagegrid/hints/1"

/** A server that says nothing is given up after at most both together: within 5 s, with half a second for a machine that is busy. */
const PING_INTERVAL_MS = 2_500
const PING_TIMEOUT_MS = 2_000
const UPGRADE_TIMEOUT_MS = 5_000
const CLOSE_TIMEOUT_MS = 1_000
const PARALLEL_DIALS_MAX = 16
/** Of one connection: those of libp2p's own protocols come and go beside the exchanges. */
const STREAMS_MAX = 32
/** Exchanges that one peer has open here. */
const EXCHANGES_OF_PEER_MAX = 2
/** A server that broke the protocol is not spoken to for so long. */
const REST_MS = 60_000
const RESTING_MAX = 1_000
/** Of one frame of gossip. */
const GOSSIP_BYTES_MAX = 64 * 1024

/** What the node tells its owner. Members are servers of the roster. */
export type NodeEvents = {
  up(memberId: MemberId, dialledBy: End): void
  down(memberId: MemberId, lastHeardMs: number): void
  /** The exchange ends when this settles. It breaks the connection off where it rejects with PEER_MISBEHAVED. */
  exchange(memberId: MemberId, channel: Channel): Promise<void>
  /** `author` signed it; `via` brought it. Whether others are to hear of it. */
  hinted(author: MemberId, via: MemberId, hint: Uint8Array): "pass on" | "keep"
}

export type NodeParts = Pick<PlaneParts, "signing" | "memberId" | "clock" | "log" | "planeKeysOf" | "site"> & {
  readonly random: () => number
  /** Time that does not leap. */
  readonly nowMs: () => number
}

type Services = { pubsub: GossipSub }

export class PlaneNode {
  readonly #parts: NodeParts
  readonly #events: NodeEvents
  readonly #dials: DialLoop
  readonly #connections = new Map<MemberId, Connection>()
  readonly #lastHeardMs = new Map<MemberId, number>()
  readonly #restsUntilMs = new Map<MemberId, number>()
  readonly #closing = new AbortController()
  #roster = new Roster([], null)
  #node: Libp2p<Services> | null = null

  private constructor(parts: NodeParts, events: NodeEvents) {
    this.#parts = parts
    this.#events = events
    this.#dials = new DialLoop({
      self: parts.memberId,
      nowMs: parts.nowMs,
      random: parts.random,
      dial: (memberId, signal) => this.#dial(memberId, signal),
      failed: (memberId, error) => parts.log.debug({ memberId, reason: reasonOf(error) }, "dial failed"),
    })
  }

  /** Lets nobody in before `setRoster`. @throws {GridError} ADDRESS_IN_USE */
  static async open(parts: NodeParts, events: NodeEvents, listen: Address): Promise<PlaneNode> {
    const opened = new PlaneNode(parts, events)
    const node = await opened.#create(listen)
    opened.#node = node
    try {
      await node.start()
      node.services.pubsub.subscribe(HINTS_TOPIC)
    } catch (cause) {
      if (!reasonOf(cause).includes("EADDRINUSE")) throw cause
      throw new GridError("ADDRESS_IN_USE", `${formatAddress(listen)}; choose another for the control plane, or stop what uses it`, {
        cause,
      })
    }
    return opened
  }

  /** Where it listens. */
  get address(): Address {
    const [at] = this.#open.getMultiaddrs()
    if (at === undefined) throw new TypeError("the plane listens nowhere")
    const { host, port } = getNetConfig(at)
    return { host, port: port ?? 0 }
  }

  /** Servers that are connected. */
  connected(): MemberId[] {
    return [...this.#connections.keys()]
  }

  isConnected(memberId: MemberId): boolean {
    return this.#connections.has(memberId)
  }

  /** When the last bytes of this server came; null where none did. */
  lastHeardMs(memberId: MemberId): number | null {
    return this.#lastHeardMs.get(memberId) ?? null
  }

  /** Cuts the connections of those who are not among them, and dials the others from now on. The own one is not among them. */
  setRoster(servers: readonly PlaneServer[]): void {
    const before = this.#roster
    this.#roster = new Roster(servers, before)
    for (const [memberId, connection] of this.#connections)
      if (this.#roster.ofMember(memberId) === null) connection.abort(new Error("this server has left the roster"))
    for (const memberId of this.#lastHeardMs.keys()) if (this.#roster.ofMember(memberId) === null) this.#lastHeardMs.delete(memberId)
    const moved = servers.filter((server) => addressesOf(before.ofMember(server.memberId)?.server) !== addressesOf(server))
    this.#dials.setRoster(
      servers.map(({ memberId }) => memberId),
      new Set(moved.map(({ memberId }) => memberId)),
    )
  }

  /** Runs `talk` over a new stream; all of it ends with `signal`. Rejects as `talk` does, and when the server is not connected or breaks off. */
  async exchange<Result>(memberId: MemberId, signal: AbortSignal, talk: (channel: Channel) => Promise<Result>): Promise<Result> {
    const connection = this.#connections.get(memberId)
    if (connection === undefined) throw new GridError("SERVERS_UNREACHABLE", `${memberId} is not connected`)
    const until = AbortSignal.any([signal, this.#closing.signal])
    const stream = await connection.newStream(DOCUMENTS_PROTOCOL, { signal: until })
    return this.#talk(memberId, stream, until, talk)
  }

  /** To all who are connected; whom it does not reach is not told. */
  async gossip(hint: Uint8Array): Promise<void> {
    await this.#open.services.pubsub.publish(HINTS_TOPIC, hint)
  }

  /** It broke the protocol: it is cut off, and is not spoken to for a while. */
  misbehaved(memberId: MemberId, why: string): void {
    if (this.#isResting(memberId)) return
    this.#parts.log.warn({ memberId, reason: why }, "server of the grid breaks the protocol")
    keepNewest(this.#restsUntilMs, memberId, this.#parts.nowMs() + REST_MS, RESTING_MAX)
    this.#dials.giveUp(memberId)
    this.#connections.get(memberId)?.abort(new Error(why))
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#dials.close()
    await this.#node?.stop()
  }

  get #open(): Libp2p<Services> {
    if (this.#node === null) throw new TypeError("the node is not open")
    return this.#node
  }

  async #create(listen: Address): Promise<Libp2p<Services>> {
    const { signing, planeKeysOf, site } = this.#parts
    const node = await createLibp2p({
      start: false,
      privateKey: await generateKeyPairFromSeed("Ed25519", seedOf(signing)),
      nodeInfo: { name: "imagegrid", version: "1", userAgent: "imagegrid" },
      logger: silentLogger,
      addresses: { listen: [`/ip4/${listen.host}/tcp/${listen.port}`] },
      transports: [tcp()],
      connectionEncrypters: [
        keyedNoise({
          own: () => planeKeysOf(site),
          of: (peerId) => planeKeysOf(this.#roster.ofPeer(peerId)?.server.site ?? ""),
        }),
      ],
      streamMuxers: [
        yamux({
          maxInboundStreams: STREAMS_MAX,
          maxOutboundStreams: STREAMS_MAX,
          // Pings go through streams, and tell of silence sooner.
          enableKeepAlive: false,
          streamOptions: { maxReadBufferLength: STREAM_BUFFER_BYTES_MAX, maxStreamWindowSize: STREAM_BUFFER_BYTES_MAX },
        }),
      ],
      connectionGater: makeGate({
        self: this.#parts.memberId,
        admitted: (peerId) => this.#admitted(peerId),
        isRosterHost: (host) => this.#roster.hasHost(host),
        existing: (memberId) => this.#connections.get(memberId) ?? null,
        isDialling: (memberId) => this.#dials.isDialling(memberId),
        giveUpDial: (memberId) => this.#dials.giveUp(memberId),
        refused: (peerId, why) => this.#parts.log.debug({ peerId, why }, "connection refused"),
        proven: (memberId, connection) => {
          this.#heard(memberId)
          connection.addEventListener("message", () => this.#heard(memberId))
        },
      }),
      connectionManager: {
        // How many wait, and who is let in, the gate decides.
        allow: ["/ip4/0.0.0.0/ipcidr/0"],
        inboundUpgradeTimeout: UPGRADE_TIMEOUT_MS,
        connectionCloseTimeout: CLOSE_TIMEOUT_MS,
        maxParallelDials: PARALLEL_DIALS_MAX,
        reconnectRetries: 0,
        addressSorter: () => 0,
      },
      connectionMonitor: {
        pingInterval: PING_INTERVAL_MS,
        pingTimeout: { minTimeout: PING_TIMEOUT_MS, maxTimeout: PING_TIMEOUT_MS },
      },
      services: {
        identify: identify(),
        ping: ping(),
        pubsub: gossipsub({
          allowedTopics: [HINTS_TOPIC],
          allowPublishToZeroTopicPeers: true,
          floodPublish: true,
          tagMeshPeers: false,
          maxInboundDataLength: GOSSIP_BYTES_MAX,
          maxOutboundBufferSize: 4 * GOSSIP_BYTES_MAX,
          // Servers of one site may well come from one address.
          scoreParams: { IPColocationFactorWeight: 0 },
        }),
      },
    })
    node.addEventListener("connection:open", ({ detail }) => this.#opened(detail))
    node.addEventListener("connection:close", ({ detail }) => this.#closed(detail))
    await node.handle(DOCUMENTS_PROTOCOL, (stream, connection) => this.#answer(stream, connection), {
      maxInboundStreams: EXCHANGES_OF_PEER_MAX,
      maxOutboundStreams: EXCHANGES_OF_PEER_MAX,
    })
    const { pubsub } = node.services
    pubsub.topicValidators.set(HINTS_TOPIC, (via, message) => {
      const author = message.type === "signed" ? this.#memberOf(message.from) : null
      const bringer = this.#memberOf(via)
      if (author === null || bringer === null || message.data.length > HINT_BYTES_MAX) return TopicValidatorResult.Ignore
      return this.#events.hinted(author, bringer, message.data) === "pass on" ? TopicValidatorResult.Accept : TopicValidatorResult.Ignore
    })
    return node
  }

  async #dial(memberId: MemberId, signal: AbortSignal): Promise<void> {
    const entry = this.#roster.ofMember(memberId)
    if (entry === null || entry.multiaddrs.length === 0 || this.#parts.planeKeysOf(entry.server.site).length === 0)
      throw new GridError("SERVERS_UNREACHABLE", `${memberId} can't be dialled: no address or no key of its site is known`)
    await this.#open.dial([...entry.multiaddrs], { signal })
  }

  #admitted(peerId: string): PlaneServer | null {
    const server = this.#roster.ofPeer(peerId)?.server ?? null
    return server === null || this.#isResting(server.memberId) ? null : server
  }

  #isResting(memberId: MemberId): boolean {
    return (this.#restsUntilMs.get(memberId) ?? 0) > this.#parts.nowMs()
  }

  #memberOf(peerId: PeerId): MemberId | null {
    return this.#roster.ofPeer(peerId.toString())?.server.memberId ?? null
  }

  #heard(memberId: MemberId): void {
    this.#lastHeardMs.set(memberId, this.#parts.clock.nowMs())
  }

  #opened(connection: Connection): void {
    const memberId = this.#memberOf(connection.remotePeer)
    // It may have left the roster between the gate and here.
    if (memberId === null) return connection.abort(new Error("this server is not in the roster"))
    this.#connections.set(memberId, connection)
    this.#dials.connected(memberId)
    const dialledBy = connection.direction === "outbound" ? "self" : "peer"
    this.#parts.log.debug({ memberId, dialledBy }, "server of the grid connected")
    this.#events.up(memberId, dialledBy)
  }

  #closed(connection: Connection): void {
    for (const [memberId, open] of this.#connections) {
      if (open !== connection) continue
      this.#connections.delete(memberId)
      this.#dials.disconnected(memberId)
      const lastHeardMs = this.#lastHeardMs.get(memberId) ?? this.#parts.clock.nowMs()
      this.#parts.log.debug({ memberId, lastHeardMs }, "server of the grid is gone")
      this.#events.down(memberId, lastHeardMs)
    }
  }

  async #answer(stream: Stream, connection: Connection): Promise<void> {
    const memberId = this.#memberOf(connection.remotePeer)
    if (memberId === null) return stream.abort(new Error("this server is not in the roster"))
    const until = AbortSignal.any([AbortSignal.timeout(EXCHANGE_TIMEOUT_MS), this.#closing.signal])
    await this.#talk(memberId, stream, until, (channel) => this.#events.exchange(memberId, channel)).catch((error: unknown) => {
      this.#parts.log.debug({ memberId, reason: reasonOf(error) }, "an exchange that another server opened broke off")
    })
  }

  async #talk<Result>(
    memberId: MemberId,
    stream: Stream,
    signal: AbortSignal,
    talk: (channel: Channel) => Promise<Result>,
  ): Promise<Result> {
    try {
      const result = await talk(streamChannel(stream, signal))
      await stream.close({ signal })
      return result
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(reasonOf(error)))
      if (error instanceof GridError && error.code === "PEER_MISBEHAVED") this.misbehaved(memberId, error.message)
      throw error
    }
  }
}

function addressesOf(server: PlaneServer | undefined): string {
  return (server?.addresses ?? []).map(formatAddress).join(" ")
}
