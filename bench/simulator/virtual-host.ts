/** A host that exists only in memory: the core that decides for it, its link, its processor, what it keeps, and its ends of connections. */
import type { Address } from "#core/address.ts"
import type { DisconnectReason, PeerRole } from "#swarm/core/events.ts"
import type { Limits } from "#swarm/core/limits.ts"
import type { TorrentCore } from "#swarm/core/torrent-core.ts"
import type { HostBooks } from "./host-books.ts"
import type { SmallMessage } from "./network-model.ts"
import type { VirtualSite } from "./virtual-site.ts"

/** Where every host listens. */
export const HOST_PORT = 7_000

/** What carries a block here: whether it is as it should be. */
export type VirtualBlock = "true" | "false"

/** What a swarm needs of a core. */
export type HostCore = Pick<
  TorrentCore<VirtualBlock>,
  "step" | "census" | "complete" | "held" | "statistics" | "demand" | "hasRoomFor" | "isBanned"
>

export type VirtualHostOptions = {
  readonly name: string
  readonly role: PeerRole
  readonly holds: "all" | "nothing"
  /** Both directions, unless told apart; without a rate, bytes take no time. */
  readonly bytesPerSecond?: number
  readonly upBytesPerSecond?: number
  readonly downBytesPerSecond?: number
  readonly host?: string
  /** What it is told that its site may send to others. */
  readonly wanBytesPerSecondLimit?: number
  /** Number of its site (0). */
  readonly site?: number
  readonly limits?: Partial<Limits>
  /** Sends wrong bytes. */
  readonly lies?: boolean
}

/** How an end stands with its host's uplink. */
export type EndState =
  /** Has no block to send. */
  | "idle"
  /** Has its place among those that take turns. */
  | "in-line"
  | "sending"
  /** A port on the way to the receiver is full. */
  | "port-full"
  /** As much is on its way as TCP lets be. */
  | "window-full"

/** One end of a connection: what its host sends over it. Its number is what the core knows the peer by. */
export class LinkEnd {
  readonly number: number
  readonly host: VirtualHost
  /** Bounded queues that a block passes on its way, in order; set when the connection is made. */
  ports: readonly Port[] = []
  /** Of those, how many it has waited for and has room in. */
  admitted = 0
  /** Its host dialled. */
  readonly dialled: boolean
  other: LinkEnd = this
  open = true
  /** Its core was told that it is gone. */
  isForgotten = false

  /** Written by one event and not yet sent off: one write, as the shell's. */
  gathered: SmallMessage[] | null = null
  /** Blocks by their number, and small messages that were written after a block, in order. */
  readonly queue: (number | SmallMessage[])[] = []
  queueAt = 0
  state: EndState = "idle"
  next: LinkEnd | null = null
  /** What travels is not overtaken by what was written after it. */
  lastArrivalMs = 0
  readonly arriving: SmallMessage[][] = []
  arrivingAt = 0

  // Payload bytes, since the connection was made.
  writtenBytes = 0
  sentBytes = 0
  arrivedBytes = 0
  /** Of uploads that the core was told the end of, and of each of the others, in order. */
  reportedBytes = 0
  readonly uploads: number[] = []

  /** TCP's congestion window, what it has on its way, and of each unit of that: when its acknowledgement comes, and its bytes. */
  windowBytes: number
  onTheWayBytes = 0
  readonly acks: number[] = []
  /** It is to send when the next acknowledgement comes, and it is not known yet when that is. */
  awaitsAck = false

  /** Requests that this end's host sent and that were not answered. */
  unanswered = 0
  /** The same, by block and with their time, where the books are kept exactly. */
  readonly asked: Map<number, number> | null

  constructor(number: number, host: VirtualHost, options: { dialled: boolean; windowBytes: number; exact: boolean }) {
    this.number = number
    this.host = host
    this.dialled = options.dialled
    this.windowBytes = options.windowBytes
    this.asked = options.exact ? new Map() : null
  }
}

export class Uplink {
  readonly msPerByte: number
  /** What the kernel takes of each connection beyond what is on its way. */
  readonly sendBufferBytes: number
  freeAtMs = 0
  sending: LinkEnd | null = null
  /** Ends that take turns, and how many. */
  first: LinkEnd | null = null
  last: LinkEnd | null = null
  lineLength = 0
  /** Wire bytes. */
  blockBytes = 0
  smallBytes = 0

  constructor(bytesPerSecond: number, sendBufferBytes: number) {
    this.msPerByte = 1_000 / bytesPerSecond
    this.sendBufferBytes = sendBufferBytes
  }
}

/** What stands in front of a link: its bytes go through at the link's rate, and few wait. A host receives through one, a site sends and receives through one. */
export class Port {
  readonly msPerByte: number
  /** Time that a full port queue takes to empty. */
  readonly queueMs: number
  freeAtMs = 0
  /** Time that the last block took. */
  lastBlockMs = 0
  /** Ends of senders that wait for room in the port's queue, in order. */
  first: LinkEnd | null = null
  last: LinkEnd | null = null
  lineLength = 0
  wakes = false
  /** The event that tells of room. */
  readonly opened: { readonly kind: number; readonly number: number }

  constructor(bytesPerSecond: number, queueMs: number, opened: { readonly kind: number; readonly number: number }) {
    this.msPerByte = 1_000 / bytesPerSecond
    this.queueMs = queueMs
    this.opened = opened
  }
}

export class VirtualHost {
  readonly index: number
  readonly name: string
  readonly role: PeerRole
  readonly address: Address
  readonly core: HostCore
  /** Has not everything from the start. */
  readonly wanted: boolean
  readonly site: VirtualSite
  readonly up: Uplink
  readonly down: Port
  readonly books: HostBooks
  lies: boolean
  /** By the other host's index. */
  readonly links = new Map<number, LinkEnd>()
  readonly disconnects: { readonly key: string; readonly reason: DisconnectReason; readonly detail: string }[] = []
  readonly startedAtMs: number
  doneAtMs: number | null = null
  /** Does nothing more, though its kernel still answers. */
  frozen = false
  gone = false
  cpuFreeAtMs = 0
  /** Attempts to connect that wait for its processor, oldest first. */
  readonly greeting: number[] = []
  /** First missing piece of a host that reads in order; null of others. */
  readingAt: number | null = null

  constructor(
    index: number,
    options: VirtualHostOptions,
    parts: {
      core: HostCore
      site: VirtualSite
      up: Uplink
      down: Port
      books: HostBooks
      nowMs: number
    },
  ) {
    this.index = index
    this.name = options.name
    this.role = options.role
    this.address = { host: options.host ?? `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`, port: HOST_PORT }
    this.core = parts.core
    this.site = parts.site
    this.wanted = options.holds === "nothing"
    this.up = parts.up
    this.down = parts.down
    this.books = parts.books
    this.lies = options.lies ?? false
    this.startedAtMs = parts.nowMs
  }
}
