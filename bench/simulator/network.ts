/**
 * Links with a rate, a delay and losses. A host's uplink is shared by its connections in turns of a block; on one connection nothing overtakes what was
 * written before. The port in front of a receiver holds a bounded queue: when it is full its senders wait, as TCP makes them.
 */
import type { Random } from "#swarm/core/random.ts"
import type { BlockSpan } from "#swarm/core/messages.ts"
import { kinds } from "./event-kinds.ts"
import type { EventQueue } from "./event-queue.ts"
import type { SmallMessage, WireCosts } from "./network-model.ts"
import type { Cutting } from "./pieces.ts"
import type { Downlink, LinkEnd, Uplink, VirtualHost } from "./virtual-host.ts"

export type Path = {
  /** One way, between any two. */
  readonly delayMs: number
  /** Share of packets that are lost, 0 to 1. */
  readonly loss: number
}

/** Times are sums of many parts: what is this close is the same. */
const ROUNDING_MS = 1e-6

export class Network {
  readonly #queue: EventQueue
  readonly #cutting: Cutting
  readonly #costs: WireCosts
  readonly path: Path
  readonly #random: Random
  /** Whether TCP's window can be what limits a connection: on a path without delay or loss the ports' queues do. */
  readonly #windowed: boolean
  readonly #windowMaxBytes: number
  readonly #fullBlockWireBytes: number
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
    this.#windowed = path.delayMs > 0 || path.loss > 0
    const { segmentBytes, windowBytesMax, lossWindow } = parts.costs.model
    this.#windowMaxBytes = Math.min(windowBytesMax, path.loss === 0 ? windowBytesMax : (lossWindow * segmentBytes) / Math.sqrt(path.loss))
    this.#fullBlockWireBytes = parts.costs.blockBytes(parts.cutting.blockBytes)
  }

  get firstWindowBytes(): number {
    const { segmentBytes, firstWindowSegments } = this.#costs.model
    return Math.min(firstWindowSegments * segmentBytes, this.#windowMaxBytes)
  }

  /** From a small message written by `from` until `to` has it, and back, as links and ports are now. */
  roundTripMs(from: VirtualHost, to: VirtualHost): number {
    return 2 * (this.path.delayMs + this.#costs.model.hostMs) + this.#portWaitMs(from.down) + this.#portWaitMs(to.down)
  }

  /** Takes the time of both links for bytes that wait in no line, one way. Returns when the last of them has left. */
  spend({ up }: VirtualHost, { down }: VirtualHost, bytes: number): number {
    up.freeAtMs = Math.max(up.freeAtMs, this.nowMs) + bytes * up.msPerByte
    up.smallBytes += bytes
    down.freeAtMs = Math.max(down.freeAtMs, this.nowMs) + bytes * down.msPerByte
    return up.freeAtMs
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

  /** There is room in the port in front of the host. */
  portOpened(host: VirtualHost): void {
    const { down } = host
    down.wakes = false
    const end = this.#shift(down)
    if (end === null) return
    // The next one when this one's block would have gone through, though it may have to wait for its turn at the uplink first.
    if (down.first !== null) this.#wakeAtRoom(host, this.nowMs + down.lastBlockMs)
    end.admitted = true
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

  #shift(line: Uplink | Downlink): LinkEnd | null {
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
      if (this.#windowed && !this.#windowTakes(end, bytes)) continue
      const receiver = end.other.host
      // Whoever waits goes first: else a sender in step with the port would have all of it.
      if (!end.admitted && (receiver.down.first !== null || receiver.down.freeAtMs - this.nowMs > receiver.down.queueMs)) {
        end.state = "port-full"
        append(receiver.down, end)
        if (!receiver.down.wakes) this.#wakeAtRoom(receiver)
        continue
      }
      this.#dequeue(end)
      this.#send(end, block, bytes)
    }
  }

  #wakeAtRoom({ index, down }: VirtualHost, notBeforeMs: number = this.nowMs): void {
    down.wakes = true
    this.#queue.push(Math.max(notBeforeMs, down.freeAtMs - down.queueMs) + ROUNDING_MS, kinds.portOpened, index, 0)
  }

  #send(end: LinkEnd, block: number, bytes: number): void {
    const { up } = end.host
    const { down } = end.other.host
    const { delayMs, loss } = this.path
    const wireBytes = (bytes === this.#cutting.blockBytes ? this.#fullBlockWireBytes : this.#costs.blockBytes(bytes)) / (1 - loss)
    const startMs = Math.max(this.nowMs, up.freeAtMs)
    const sentMs = startMs + wireBytes * up.msPerByte
    end.state = "sending"
    end.admitted = false
    up.sending = end
    up.freeAtMs = sentMs
    up.blockBytes += wireBytes
    this.#queue.push(sentMs, kinds.uplinkFree, end.host.index, 0)
    // It streams through: the port is busy with it for as long as its own rate takes, from its first byte on.
    down.lastBlockMs = wireBytes * down.msPerByte
    down.freeAtMs = Math.max(down.freeAtMs, startMs + delayMs) + down.lastBlockMs
    let arrivalMs = Math.max(down.freeAtMs, sentMs + delayMs)
    if (this.#windowed) arrivalMs += this.#windowMs(end, bytes, arrivalMs - startMs)
    arrivalMs = Math.max(arrivalMs, end.lastArrivalMs)
    end.lastArrivalMs = arrivalMs
    if (this.#windowed) {
      end.onTheWayBytes += bytes
      end.acks.push(arrivalMs + delayMs, bytes)
    }
    this.#acknowledge(end, bytes)
    this.#queue.push(arrivalMs + this.#costs.model.hostMs, kinds.block, end.other.number, block)
    end.sentBytes += bytes
    this.#reportUploads(end)
  }

  /** Acknowledgements take their part of both links, the other way. */
  #acknowledge(end: LinkEnd, bytes: number): void {
    const { up } = end.other.host
    const { down } = end.host
    const ackBytes = this.#costs.ackBytes(bytes)
    up.freeAtMs = Math.max(up.freeAtMs, this.nowMs) + ackBytes * up.msPerByte
    down.freeAtMs = Math.max(down.freeAtMs, this.nowMs) + ackBytes * down.msPerByte
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
    const { down } = end.other.host
    const { segmentBytes, frameOverheadBytes, framesQueuedPerSender } = this.#costs.model
    const senders = up.lineLength + (up.sending === null ? 0 : 1)
    const ownQueueMs = senders * framesQueuedPerSender * (segmentBytes + frameOverheadBytes) * up.msPerByte
    const sendMs = wireBytes * up.msPerByte
    const portMs = this.#portWaitMs(down)
    this.spend(end.host, end.other.host, wireBytes)
    let arrivalMs = this.nowMs + (Number.isFinite(ownQueueMs) ? ownQueueMs : 0) + sendMs + this.path.delayMs + portMs
    if (this.path.loss > 0 && this.#isLost(1)) arrivalMs += this.#retransmitMs()
    arrivalMs = Math.max(arrivalMs, end.lastArrivalMs)
    end.lastArrivalMs = arrivalMs
    end.arriving.push(messages)
    this.#queue.push(arrivalMs + this.#costs.model.hostMs, kinds.small, end.other.number, 0)
  }

  /** What is in the port's queue now; the block that streams through at the moment is hardly in it. */
  #portWaitMs(down: Downlink): number {
    return Math.max(0, down.freeAtMs - this.nowMs - down.lastBlockMs)
  }

  // TCP on a path with delay or loss.

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
    this.#queue.push(acks[0] ?? this.nowMs, kinds.windowOpened, end.number, 0)
    return false
  }

  /** Time that a block takes besides: further round trips when it is larger than the window, and one for a loss. */
  #windowMs(end: LinkEnd, bytes: number, tripMs: number): number {
    const roundTripMs = Math.max(2 * this.path.delayMs, tripMs)
    let rounds = 0
    let windowBytes = end.windowBytes
    for (let leftBytes = bytes - windowBytes; leftBytes > 0; leftBytes -= windowBytes) {
      windowBytes = Math.min(this.#windowMaxBytes, 2 * windowBytes)
      rounds += 1
    }
    let ms = rounds * 2 * this.path.delayMs
    if (this.path.loss > 0 && this.#isLost(bytes / this.#costs.model.segmentBytes)) ms += roundTripMs
    return ms
  }

  /** Whether any of so many packets is lost. */
  #isLost(packets: number): boolean {
    return this.#random.below(1 << 24) / (1 << 24) < 1 - (1 - this.path.loss) ** packets
  }

  /** A lost packet that no other follows is sent again after Linux's shortest time. */
  #retransmitMs(): number {
    return this.#costs.model.retransmitMinMs + 2 * this.path.delayMs
  }
}

function append(line: Uplink | Downlink, end: LinkEnd): void {
  if (line.last === null) line.first = end
  else line.last.next = end
  line.last = end
  line.lineLength += 1
}
