/** What may still be taken here, and whether this server says that it is full: from when something that it should take did not fit until twice that does. */
import type { RepairLimits } from "../repair-limits.ts"

export class Room {
  readonly #limits: RepairLimits
  bytes = Infinity
  isFull = false
  /** Of the image for which there was no room. */
  #unfitBytes = 0

  constructor(limits: RepairLimits) {
    this.#limits = limits
  }

  /** Returns whether the server came to be full, or is not any more. */
  set(bytes: number): boolean {
    this.bytes = bytes
    const isFull = bytes < this.#limits.reserveBytes + (this.isFull ? 2 * this.#unfitBytes : 0)
    const isChanged = isFull !== this.isFull
    this.isFull = isFull
    return isChanged
  }

  isEnoughFor(sealedBytes: number, comingBytes: number): boolean {
    return sealedBytes <= this.bytes - this.#limits.reserveBytes - comingBytes
  }

  fillUp(unfitBytes: number): void {
    this.isFull = true
    this.#unfitBytes = unfitBytes
  }

  isScarce(heldBytes: number): boolean {
    return this.bytes < this.#limits.scarceShare * (heldBytes + this.bytes)
  }
}
