/**
 * Links with a rate, a delay and losses. A host's uplink is shared by its connections in turns of a block; on one connection nothing overtakes what was
 * written before. The port in front of a receiver holds a bounded queue: when it is full its senders wait, as TCP makes them. Between sites there are two more
 * such ports, those of the sender's and of the receiver's site.
 */
import type { Random } from "#swarm/core/random.ts"
import type { BlockSpan } from "#swarm/core/messages.ts"
import { kinds } from "./event-kinds.ts"
import type { EventQueue } from "./event-queue.ts"
import type { SmallMessage, WireCosts } from "./network-model.ts"
import type { Cutting } from "./pieces.ts"
import type { LinkEnd, Port, Uplink, VirtualHost } from "./virtual-host.ts"

export type Path = {
  /** One way, between any two. */
  readonly delayMs: number
  /** Share of packets that are lost, 0 to 1. */
  readonly loss: number
  /** One way, between two of different sites, besides (0). */
  readonly wideAreaDelayMs?: number
}

/** A block, or small messages that were one write, on the way from one site to another. */
type Crossing = {
  readonly end: LinkEnd
  /** null: small messages. */
  readonly block: number | null
  readonly wireBytes: number
  readonly startMs: number
  /** Position of the port that it comes to next among those of its way. */
  hop: number
  /** Its last byte can't be there before. */
  lastByteMs: number
}

/** Times are sums of many parts: what is this close is the same. */
const ROUNDING_MS = 1e-6

export class Network {
  readonly #queue: EventQueue
  readonly #cutting: Cutting
  readonly #costs: WireCosts
  readonly path: Path
  readonly #random: Random
  readonly #windowMaxBytes: number
  readonly #fullBlockWireBytes: number
  readonly #crossings: (Crossing | null)[] = []
  readonly #freeCrossings: number[] = []
  /** Payload that was written, that arrived, and that was lost with a connection. */
  writtenBytes = 0
  arrivedBytes = 0
  lostBytes = 0
  nowMs = 0

  constructor(parts: { queue: EventQueue; cutting: Cutting; costs: WireCosts; random: Random }, path: Path) {
    this.#queue = parts.queue
    this.#cutting = parts.cutting
    this.#costs = parts.costs
    this.#random = parts.random
    this.path = path
    const { segmentBytes, windowBytesMax, lossWindow } = parts.costs.model
    this.#windowMaxBytes = Math.min(windowBytesMax, path.loss === 0 ? windowBytesMax : (lossWindow * segmentBytes) / Math.sqrt(path.loss))
    this.#fullBlockWireBytes = parts.costs.blockBytes(parts.cutting.blockBytes)
  }

  get firstWindowBytes(): number {
    const { segmentBytes, firstWindowSegments } = this.#costs.model
    return Math.min(firstWindowSegments * segmentBytes, this.#windowMaxBytes)
  }

  /** One way. */
  delayMs(from: VirtualHost, to: VirtualHost): number {
    return this.path.delayMs + (from.site === to.site ? 0 : (this.path.wideAreaDelayMs ?? 0))
  }

  /** From a small message written by `from` until `to` has it, and back, as links and ports are now. */
  roundTripMs(from: VirtualHost, to: VirtualHost): number {
    const ports = [...portsBetween(to, from), ...portsBetween(from, to)]
    return ports.reduce((sum, port) => sum + this.#portWaitMs(port), 2 * (this.delayMs(from, to) + this.#costs.model.hostMs))
  }

  /** Takes the time of the links for bytes that wait in no line, one way. Returns when the last of them has left. */
  spend(from: VirtualHost, to: VirtualHost, bytes: number): number {
    from.up.smallBytes += bytes
    this.#occupy(from, to, bytes)
    return from.up.freeAtMs
  }

  #occupy(from: VirtualHost, to: VirtualHost, bytes: number): void {
    const { up } = from
    up.freeAtMs = Math.max(up.freeAtMs, this.nowMs) + bytes * up.msPerByte
    for (const port of portsBetween(from, to)) port.freeAtMs = Math.max(port.freeAtMs, this.nowMs) + bytes * port.msPerByte
    if (from.site !== to.site) countCrossing(from, to, bytes, 0)
  }

  /** One write of blocks. */
  write(end: LinkEnd, blocks: readonly BlockSpan[]): void {
    let bytes = 0
    for (const block of blocks) {
      bytes += block.length
      end.queue.push(this.#cutting.blockOf(block))
    }
    this.writtenBytes += bytes
    end.writtenBytes += bytes
    end.uploads.push(bytes)
    this.#reportUploads(end)
    if (end.state === "idle") this.#lineUp(end)
    this.#serve(end.host)
  }

  /** One write of small messages: behind the blocks that this connection was given before, and nobody else's. */
  writeSmall(end: LinkEnd, messages: SmallMessage[]): void {
    if (end.state === "idle") this.#sendSmall(end, messages)
    else end.queue.push(messages)
  }

  /** The block that the host was sending has left. */
  uplinkFree(host: VirtualHost): void {
    const end = host.up.sending
    host.up.sending = null
    if (end !== null && end.open) {
      end.state = "idle"
      this.#sendSmallAtHead(end)
      if (end.queueAt < end.queue.length) this.#lineUp(end)
    }
    this.#serve(host)
  }

  /** There is room in the port. */
  portOpened(port: Port): void {
    port.wakes = false
    const end = this.#shift(port)
    if (end === null) return
    // The next one when this one's block would have gone through, though it may have to wait for its turn at the uplink first.
    if (port.first !== null) this.#wakeAtRoom(port, this.nowMs + port.lastBlockMs)
    end.admitted = end.ports.indexOf(port) + 1
    this.#lineUp(end)
    this.#serve(end.host)
  }

  /** An acknowledgement came to an end that waited for it. */
  windowOpened(end: LinkEnd): void {
    if (!end.open) return
    end.state = "idle"
    this.#lineUp(end)
    this.#serve(end.host)
  }

  blockArrived(from: LinkEnd, payloadBytes: number): void {
    from.arrivedBytes += payloadBytes
    this.arrivedBytes += payloadBytes
  }

  /** The connection is gone, with all that is on its way in this direction. */
  close(end: LinkEnd): void {
    end.open = false
    this.lostBytes += end.writtenBytes - end.arrivedBytes
    end.queue.length = 0
    end.queueAt = 0
    end.arriving.length = 0
    end.gathered = null
  }

  #lineUp(end: LinkEnd): void {
    end.state = "in-line"
    append(end.host.up, end)
  }

  #shift(line: Uplink | Port): LinkEnd | null {
    for (;;) {
      const end = line.first
      if (end === null) return null
      line.first = end.next
      if (line.first === null) line.last = null
      end.next = null
      line.lineLength -= 1
      if (end.open) return end
    }
  }

  /** Starts the next block, if the uplink is free. */
  #serve(host: VirtualHost): void {
    const { up } = host
    while (up.sending === null) {
      const end = this.#shift(up)
      if (end === null) return
      this.#sendSmallAtHead(end)
      const block = end.queue[end.queueAt]
      if (typeof block !== "number") {
        end.state = "idle"
        continue
      }
      const bytes = this.#cutting.bytesOf(block)
      if (this.#isWindowed(end) && !this.#windowTakes(end, bytes)) continue
      const full = this.#fullPort(end)
      if (full !== null) {
        end.state = "port-full"
        append(full, end)
        if (!full.wakes) this.#wakeAtRoom(full)
        continue
      }
      this.#dequeue(end)
      this.#send(end, block, bytes)
    }
  }

  /** The first port on the way that has no room for the end's next block, or lets others go first; null when there is none. */
  #fullPort({ ports, admitted }: LinkEnd): Port | null {
    for (let at = admitted; at < ports.length; at += 1) {
      const port = ports[at]
      // Whoever waits goes first: else a sender in step with the port would have all of it.
      if (port !== undefined && (port.first !== null || port.freeAtMs - this.nowMs > port.queueMs)) return port
    }
    return null
  }

  #wakeAtRoom(port: Port, notBeforeMs: number = this.nowMs): void {
    port.wakes = true
    const { kind, number } = port.opened
    this.#queue.push(Math.max(notBeforeMs, port.freeAtMs - port.queueMs) + ROUNDING_MS, kind, number, 0)
  }

  #send(end: LinkEnd, block: number, bytes: number): void {
    const { up } = end.host
    const { loss } = this.path
    const wireBytes = (bytes === this.#cutting.blockBytes ? this.#fullBlockWireBytes : this.#costs.blockBytes(bytes)) / (1 - loss)
    const startMs = Math.max(this.nowMs, up.freeAtMs)
    const sentMs = startMs + wireBytes * up.msPerByte
    end.state = "sending"
    end.admitted = 0
    up.sending = end
    up.freeAtMs = sentMs
    up.blockBytes += wireBytes
    this.#queue.push(sentMs, kinds.uplinkFree, end.host.index, 0)
    if (this.#isWindowed(end)) end.onTheWayBytes += bytes
    if (end.ports.length === 1)
      this.#blockAtReceiver(end, {
        block,
        wireBytes,
        startMs,
        firstByteMs: startMs + this.path.delayMs,
        lastByteMs: sentMs + this.path.delayMs,
      })
    else {
      countCrossing(end.host, end.other.host, wireBytes, bytes)
      this.#cross({ end, block, wireBytes, startMs, hop: 0, lastByteMs: sentMs }, startMs)
    }
    this.#acknowledge(end, bytes)
    end.sentBytes += bytes
    this.#reportUploads(end)
  }

  /** The block comes to the port in front of its receiver. */
  #blockAtReceiver(
    end: LinkEnd,
    parts: {
      readonly block: number
      readonly wireBytes: number
      readonly startMs: number
      readonly firstByteMs: number
      readonly lastByteMs: number
    },
  ): void {
    const { block, wireBytes, startMs, firstByteMs, lastByteMs } = parts
    const { down } = end.other.host
    // It streams through: the port is busy with it for as long as its own rate takes, from its first byte on.
    down.lastBlockMs = wireBytes * down.msPerByte
    down.freeAtMs = Math.max(down.freeAtMs, firstByteMs) + down.lastBlockMs
    let arrivalMs = Math.max(down.freeAtMs, lastByteMs)
    const bytes = this.#cutting.bytesOf(block)
    const windowed = this.#isWindowed(end)
    if (windowed) arrivalMs += this.#windowMs(end, bytes, arrivalMs - startMs)
    arrivalMs = Math.max(arrivalMs, end.lastArrivalMs)
    end.lastArrivalMs = arrivalMs
    if (windowed) this.#expectAck(end, arrivalMs + this.delayMs(end.host, end.other.host), bytes)
    this.#queue.push(arrivalMs + this.#costs.model.hostMs, kinds.block, end.other.number, block)
  }

  // From site to site: each port on the way takes what comes when it comes.

  #cross(crossing: Crossing, atMs: number): void {
    const number = this.#freeCrossings.pop() ?? this.#crossings.length
    this.#crossings[number] = crossing
    this.#queue.push(atMs, kinds.crossing, number, 0)
  }

  /** A crossing has come to its next port. */
  crossed(number: number): void {
    const crossing = this.#crossings[number] ?? null
    if (crossing === null) return
    const { end, hop, wireBytes, block, startMs } = crossing
    const port = end.ports[hop]
    if (!end.open || port === undefined || hop === end.ports.length - 1) {
      this.#crossings[number] = null
      this.#freeCrossings.push(number)
      if (!end.open) return
      if (block === null) this.#smallAtReceiver(end, wireBytes)
      else this.#blockAtReceiver(end, { block, wireBytes, startMs, firstByteMs: this.nowMs, lastByteMs: crossing.lastByteMs })
      return
    }
    const beginMs = Math.max(port.freeAtMs, this.nowMs)
    port.lastBlockMs = wireBytes * port.msPerByte
    port.freeAtMs = beginMs + port.lastBlockMs
    // Between the two sites.
    const delayMs = hop === 0 ? this.delayMs(end.host, end.other.host) : 0
    crossing.lastByteMs = Math.max(crossing.lastByteMs, port.freeAtMs) + delayMs
    crossing.hop += 1
    // Small messages are one frame or few: what follows waits for the last of them.
    this.#queue.push((block === null ? port.freeAtMs : beginMs) + delayMs, kinds.crossing, number, 0)
  }

  /** Acknowledgements take their part of the links, the other way. */
  #acknowledge(end: LinkEnd, bytes: number): void {
    this.#occupy(end.other.host, end.host, this.#costs.ackBytes(bytes))
  }

  /** The core hears that an upload is done when the kernel has taken all of it. */
  #reportUploads(end: LinkEnd): void {
    const { uploads } = end
    while (uploads.length > 0) {
      const bytes = uploads[0] ?? 0
      const unsentBytes = end.reportedBytes + bytes - end.sentBytes
      if (unsentBytes > end.host.up.sendBufferBytes) return
      uploads.shift()
      end.reportedBytes += bytes
      this.#queue.push(this.nowMs + this.#costs.model.uploadMs, kinds.uploaded, end.number, bytes)
    }
  }

  #dequeue(end: LinkEnd): number | SmallMessage[] | undefined {
    const item = end.queue[end.queueAt]
    end.queueAt += 1
    if (end.queueAt === end.queue.length) {
      end.queue.length = 0
      end.queueAt = 0
    } else if (end.queueAt >= 64) {
      end.queue.splice(0, end.queueAt)
      end.queueAt = 0
    }
    return item
  }

  #sendSmallAtHead(end: LinkEnd): void {
    while (end.queueAt < end.queue.length && typeof end.queue[end.queueAt] !== "number") {
      const messages = this.#dequeue(end)
      if (typeof messages === "object") this.#sendSmall(end, messages)
    }
  }

  #sendSmall(end: LinkEnd, messages: SmallMessage[]): void {
    let messageBytes = 0
    for (const message of messages) messageBytes += this.#costs.messageBytes(message)
    const wireBytes = this.#costs.smallBytes(messageBytes) / (1 - this.path.loss)
    const { up } = end.host
    const { segmentBytes, frameOverheadBytes, framesQueuedPerSender } = this.#costs.model
    const senders = up.lineLength + (up.sending === null ? 0 : 1)
    const queuedMs = senders * framesQueuedPerSender * (segmentBytes + frameOverheadBytes) * up.msPerByte
    const leftMs = this.nowMs + (Number.isFinite(queuedMs) ? queuedMs : 0) + wireBytes * up.msPerByte
    end.arriving.push(messages)
    if (end.ports.length === 1) {
      const portMs = this.#portWaitMs(end.other.host.down)
      this.spend(end.host, end.other.host, wireBytes)
      return this.#expectSmall(end, leftMs + this.path.delayMs + portMs)
    }
    up.freeAtMs = Math.max(up.freeAtMs, this.nowMs) + wireBytes * up.msPerByte
    up.smallBytes += wireBytes
    countCrossing(end.host, end.other.host, wireBytes, 0)
    this.#cross({ end, block: null, wireBytes, startMs: this.nowMs, hop: 0, lastByteMs: leftMs }, leftMs)
  }

  #smallAtReceiver(end: LinkEnd, wireBytes: number): void {
    const { down } = end.other.host
    const portMs = this.#portWaitMs(down)
    down.freeAtMs = Math.max(down.freeAtMs, this.nowMs) + wireBytes * down.msPerByte
    this.#expectSmall(end, this.nowMs + portMs)
  }

  #expectSmall(end: LinkEnd, atMs: number): void {
    const lostMs = this.path.loss > 0 && this.#isLost(1) ? this.#retransmitMs(end) : 0
    end.lastArrivalMs = Math.max(atMs + lostMs, end.lastArrivalMs)
    this.#queue.push(end.lastArrivalMs + this.#costs.model.hostMs, kinds.small, end.other.number, 0)
  }

  /** What is in the port's queue now; the block that streams through at the moment is hardly in it. */
  #portWaitMs(port: Port): number {
    return Math.max(0, port.freeAtMs - this.nowMs - port.lastBlockMs)
  }

  // TCP on a path with delay or loss.

  /** Whether TCP's window can be what limits the connection: on a path without delay or loss the ports' queues do. */
  #isWindowed({ host, other }: LinkEnd): boolean {
    return this.path.loss > 0 || this.delayMs(host, other.host) > 0
  }

  #expectAck(end: LinkEnd, atMs: number, bytes: number): void {
    end.acks.push(atMs, bytes)
    if (!end.awaitsAck) return
    end.awaitsAck = false
    this.#queue.push(atMs, kinds.windowOpened, end.number, 0)
  }

  /** Whether the window has room; when not, the end waits for the next acknowledgement. */
  #windowTakes(end: LinkEnd, bytes: number): boolean {
    const { acks } = end
    let taken = 0
    while (taken < acks.length && (acks[taken] ?? 0) <= this.nowMs) {
      const ackedBytes = acks[taken + 1] ?? 0
      end.onTheWayBytes -= ackedBytes
      end.windowBytes = Math.min(this.#windowMaxBytes, end.windowBytes + ackedBytes)
      taken += 2
    }
    if (taken > 0) acks.splice(0, taken)
    // A block is sent when half of it fits: on the average the window is what it should be.
    if (end.onTheWayBytes === 0 || end.onTheWayBytes + bytes / 2 <= end.windowBytes) return true
    end.state = "window-full"
    const [ackedAtMs] = acks
    // What is on its way between two sites has yet to come to its receiver's port.
    if (ackedAtMs === undefined) end.awaitsAck = true
    else this.#queue.push(ackedAtMs, kinds.windowOpened, end.number, 0)
    return false
  }

  /** Time that a block takes besides: further round trips when it is larger than the window, and one for a loss. */
  #windowMs(end: LinkEnd, bytes: number, tripMs: number): number {
    const pathMs = 2 * this.delayMs(end.host, end.other.host)
    const roundTripMs = Math.max(pathMs, tripMs)
    let rounds = 0
    let windowBytes = end.windowBytes
    for (let leftBytes = bytes - windowBytes; leftBytes > 0; leftBytes -= windowBytes) {
      windowBytes = Math.min(this.#windowMaxBytes, 2 * windowBytes)
      rounds += 1
    }
    let ms = rounds * pathMs
    if (this.path.loss > 0 && this.#isLost(bytes / this.#costs.model.segmentBytes)) ms += roundTripMs
    return ms
  }

  /** Whether any of so many packets is lost. */
  #isLost(packets: number): boolean {
    return this.#random.below(1 << 24) / (1 << 24) < 1 - (1 - this.path.loss) ** packets
  }

  /** A lost packet that no other follows is sent again after Linux's shortest time. */
  #retransmitMs(end: LinkEnd): number {
    return this.#costs.model.retransmitMinMs + 2 * this.delayMs(end.host, end.other.host)
  }
}

/** Makes two ends one connection. */
export function joinEnds(end: LinkEnd, other: LinkEnd): void {
  end.other = other
  other.other = end
  for (const each of [end, other]) each.ports = portsBetween(each.host, each.other.host)
}

/** What bytes pass on the way, besides the sender's own uplink. */
function portsBetween(from: VirtualHost, to: VirtualHost): readonly Port[] {
  return from.site === to.site ? [to.down] : [from.site.up, to.site.down, to.down]
}

function countCrossing(from: VirtualHost, to: VirtualHost, wireBytes: number, payloadBytes: number): void {
  from.site.sentBytes += wireBytes
  from.site.sentPayloadBytes += payloadBytes
  to.site.receivedBytes += wireBytes
  to.site.receivedPayloadBytes += payloadBytes
}

function append(line: Uplink | Port, end: LinkEnd): void {
  if (line.last === null) line.first = end
  else line.last.next = end
  line.last = end
  line.lineLength += 1
}
