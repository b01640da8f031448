/** A site: hosts that reach one another over their own links alone, and every other host over the site's two wide-area links besides. */
import { kinds } from "./event-kinds.ts"
import { portQueueMs } from "./network-model.ts"
import { Port } from "./virtual-host.ts"

export class VirtualSite {
  readonly number: number
  readonly name: string
  readonly up: Port
  readonly down: Port
  /** A member of it was told how much all may send to other sites. */
  budgeted = false
  /** Over its wide-area links, frames and all. */
  sentBytes = 0
  receivedBytes = 0
  /** Of that, payload of blocks. */
  sentPayloadBytes = 0
  receivedPayloadBytes = 0

  /** Of both links. */
  constructor(number: number, bytesPerSecond: number) {
    const queueMs = Number.isFinite(bytesPerSecond) ? portQueueMs(bytesPerSecond) : bytesPerSecond
    this.number = number
    this.name = `site-${number + 1}`
    this.up = new Port(bytesPerSecond, queueMs, { kind: kinds.wideAreaOpened, number: 2 * number })
    this.down = new Port(bytesPerSecond, queueMs, { kind: kinds.wideAreaOpened, number: 2 * number + 1 })
  }
}
