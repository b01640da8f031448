/**
 * One admitted connection: handshake first, then messages. What waits to be sent is bounded; small messages of one turn of the event loop go out as
 * one write. A connection closes once, and says so once.
 */
import type { TLSSocket } from "node:tls"
import type { Address } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import { INFO_BYTES_MAX } from "#core/torrent.ts"
import type { AdmittedPeer } from "./admission.ts"
import type { ControlMessage } from "./core/messages.ts"
import type { SharedReads } from "./shared-reads.ts"
import { decodeHandshake, encodeExtended, encodeHandshake, encodeMessages, HANDSHAKE_BYTES, MessageDecoder } from "./wire.ts"
import type { Handshake, WireMessage } from "./wire.ts"

/** Bytes of small messages that may wait; a peer that leaves more unread is cut. */
const UNSENT_BYTES_MAX = 4 * 1024 * 1024
/** Bitfield of the largest torrent there can be. */
const BITFIELD_BYTES_MAX = Math.ceil(INFO_BYTES_MAX / 20 / 8)

export interface ConnectionHandler {
  message(message: WireMessage): void
  /** `error` is null when the other end, or we, just closed. */
  closed(error: Error | null): void
}

export class Connection {
  readonly socket: TLSSocket
  readonly peer: AdmittedPeer
  /** The address that we dialled; null for a connection that came in. */
  readonly dialled: Address | null
  #handler: ConnectionHandler | null = null
  #decoder: MessageDecoder | null = null
  /** Bytes that came before there was someone to take them. */
  #early: Buffer[] = []
  #earlyBytes = 0
  #onHandshake: ((error: Error | null) => void) | null = null
  #unsent: ControlMessage[] = []
  #error: Error | null = null
  #closed = false

  /** `dial`: the address that was dialled, and what the socket reads into; null for a connection that came in. */
  constructor(socket: TLSSocket, peer: AdmittedPeer, dial: { readonly address: Address; readonly reads: SharedReads } | null) {
    this.socket = socket
    this.peer = peer
    this.dialled = dial?.address ?? null
    socket.setNoDelay(true)
    socket.setTimeout(0)
    if (dial === null) socket.on("data", (chunk: Buffer) => this.#data(chunk))
    else {
      dial.reads.attach((bytes) => this.#data(bytes))
      socket.resume()
    }
    socket.on("error", (error) => (this.#error ??= error))
    socket.on("close", () => this.#wasClosed())
  }

  get closed(): boolean {
    return this.#closed || this.socket.destroyed
  }

  /** IPv4 address of the other end in its usual form. */
  get remoteHost(): string | null {
    return this.socket.remoteAddress?.replace(/^::ffff:/, "") ?? null
  }

  /** Bytes that wait to be sent. */
  get unsentBytes(): number {
    return this.socket.writableLength
  }

  sendHandshake(handshake: Handshake): void {
    this.socket.write(encodeHandshake(handshake))
  }

  /**
   * The other end's handshake; what follows it waits for `start`.
   * @throws {GridError} PEER_MISBEHAVED when it is none, SEEDERS_MISSING when it does not come in time or the connection ends
   */
  async readHandshake(timeoutMs: number): Promise<Handshake> {
    const { promise, resolve, reject } = Promise.withResolvers<null>()
    const timer = setTimeout(() => reject(new GridError("SEEDERS_MISSING", `no handshake within ${timeoutMs} ms`)), timeoutMs)
    this.#onHandshake = (error) => (error === null ? resolve(null) : reject(error))
    try {
      if (this.closed) throw new GridError("SEEDERS_MISSING", "the connection was closed")
      if (this.#earlyBytes < HANDSHAKE_BYTES) await promise
    } finally {
      clearTimeout(timer)
      this.#onHandshake = null
    }
    const early = Buffer.concat(this.#early)
    this.#early = [early.subarray(HANDSHAKE_BYTES)]
    return decodeHandshake(early.subarray(0, HANDSHAKE_BYTES))
  }

  /** From now on messages go to `handler`. `bitfieldBytes`: of the torrent, where it is known. */
  start(handler: ConnectionHandler, bitfieldBytes: number = BITFIELD_BYTES_MAX): void {
    this.#handler = handler
    this.#decoder = new MessageDecoder(bitfieldBytes)
    const early = this.#early
    this.#early = []
    for (const chunk of early) this.#data(chunk)
    this.socket.resume()
    if (this.closed) queueMicrotask(() => this.#wasClosed())
  }

  send(message: ControlMessage): void {
    this.#unsent.push(message)
    if (this.#unsent.length === 1) queueMicrotask(() => this.#flush())
  }

  sendExtended(id: number, payload: Buffer): void {
    this.#flush()
    this.#write(encodeExtended(id, payload))
  }

  /** Sends `bytes`, which must not change until this resolves: they are with the operating system then, or the connection has ended. */
  upload(bytes: Buffer): Promise<void> {
    return new Promise((resolve) => {
      if (this.closed) resolve()
      else this.socket.write(bytes, () => resolve())
    })
  }

  close(error: Error | null = null): void {
    this.#error ??= error
    this.socket.destroy()
  }

  #data(chunk: Buffer): void {
    if (this.closed || chunk.length === 0) return
    if (this.#decoder === null) return this.#keepEarly(chunk)
    try {
      this.#decoder.push(chunk, (message) => {
        if (!this.closed) this.#handler?.message(message)
      })
    } catch (error) {
      // A defect of ours that a peer can provoke costs that peer its connection, not everyone the process.
      this.close(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #keepEarly(chunk: Buffer): void {
    this.#early.push(Buffer.from(chunk))
    this.#earlyBytes += chunk.length
    if (this.#earlyBytes < HANDSHAKE_BYTES) return
    this.socket.pause()
    this.#onHandshake?.(null)
  }

  #flush(): void {
    if (this.#unsent.length === 0) return
    const bytes = encodeMessages(this.#unsent)
    this.#unsent = []
    this.#write(bytes)
  }

  #write(bytes: Buffer): void {
    if (this.closed) return
    if (this.socket.writableLength > UNSENT_BYTES_MAX)
      return this.close(new GridError("PEER_MISBEHAVED", `left ${this.socket.writableLength} bytes unread`))
    this.socket.write(bytes)
  }

  #wasClosed(): void {
    this.#onHandshake?.(this.#error ?? new GridError("SEEDERS_MISSING", "the connection was closed"))
    if (this.#closed) return
    this.#closed = true
    this.#handler?.closed(this.#error)
  }
}
