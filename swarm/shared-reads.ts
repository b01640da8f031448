/**
 * What dialled sockets read goes into one buffer that all of them share, instead of a new one each time: that halves the garbage collector's work.
 * Whoever is given bytes is done with them, or has copied them, when it returns. (Node offers this for sockets that connect, not for those that
 * are accepted.)
 */
import type { OnReadOpts } from "node:net"

/** TLS hands out a record at a time (RFC 8446: 16 KiB at most). */
const shared = Buffer.allocUnsafeSlow(16 * 1024)

/** A part of what `connect` of node:tls takes that its types leave out. */
export type ReadOptions = { readonly onread: OnReadOpts }

export class SharedReads {
  readonly onread: OnReadOpts
  #take: ((bytes: Buffer) => void) | null = null
  /** Came before there was someone to take it: no more than what one read of the socket brought. */
  #early: Buffer[] = []

  constructor() {
    this.onread = { buffer: shared, callback: (count) => this.#read(shared.subarray(0, count)) }
  }

  /** From now on bytes go to `take`. */
  attach(take: (bytes: Buffer) => void): void {
    this.#take = take
    for (const bytes of this.#early.splice(0)) take(bytes)
  }

  #read(bytes: Buffer): boolean {
    if (this.#take === null) this.#early.push(Buffer.from(bytes))
    else this.#take(bytes)
    return this.#take !== null
  }
}
