/** A digest of everything that happened: two runs are the same when it is. */
import { createHash, type Hash } from "node:crypto"

const NUMBERS = 8_192

export class Trace {
  readonly #hash: Hash = createHash("sha256")
  readonly #numbers = new Float64Array(NUMBERS)
  #at = 0
  eventCount = 0

  add(atMs: number, kind: number, a: number, b: number): void {
    const numbers = this.#numbers
    numbers[this.#at] = atMs
    numbers[this.#at + 1] = kind
    numbers[this.#at + 2] = a
    numbers[this.#at + 3] = b
    this.#at += 4
    this.eventCount += 1
    if (this.#at === NUMBERS) this.#flush()
  }

  /** Hexadecimal; nothing can be added after. */
  digest(): string {
    this.#flush()
    return this.#hash.digest("hex")
  }

  #flush(): void {
    this.#hash.update(new Uint8Array(this.#numbers.buffer, 0, this.#at * 8))
    this.#at = 0
  }
}
