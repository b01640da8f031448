/** Nodes on loopback that all end with the test, a clock that the test moves, and signers. */
import { createHash, createPrivateKey, sign } from "node:crypto"
import { createSocket } from "node:dgram"
import { after } from "node:test"
import { setTimeout as delay } from "node:timers/promises"
import bencode from "bencode"
import type { Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import { infohash, type Infohash } from "#core/identifiers.ts"
import { Dht, type DhtOptions } from "#swarm/dht.ts"
import { PacketKey } from "#swarm/dht/keyed-socket.ts"
import { pointerTarget, type PointerSigner } from "#swarm/dht/pointer.ts"

export const loopback: Address = { host: "127.0.0.1", port: 0 }

/** The real time plus what the test added to it. */
export class MovableClock implements Clock {
  #aheadMs = 0

  nowMs(): number {
    return Date.now() + this.#aheadMs
  }

  advance(byMs: number): void {
    this.#aheadMs += byMs
  }
}

export function digestOf(text: string): Buffer {
  return createHash("sha256").update(text).digest()
}

export function infohashOf(text: string): Infohash {
  return infohash(digestOf(text).subarray(0, 20).toString("hex"))
}

export const networkKey = digestOf("a network key")

const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex")

export function signer(name: string): PointerSigner {
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, digestOf(name)]), format: "der", type: "pkcs8" })
  const { x } = key.export({ format: "jwk" })
  return { publicKeyHex: Buffer.from(x ?? "", "base64url").toString("hex"), sign: (message) => sign(null, message, key) }
}

const opened = new Set<Dht>()
after(async () => {
  await Promise.all([...opened].map((dht) => dht.close()))
})

export type NodeOptions = Partial<DhtOptions> & {
  readonly clock?: Clock
  readonly networkKeys?: readonly Uint8Array[]
  readonly random?: () => number
  readonly log?: { info(fields: object, message: string): void; warn(fields: object, message: string): void }
}

export async function openNode({ clock, networkKeys, random, log, ...options }: NodeOptions = {}): Promise<Dht> {
  const dht = await Dht.open(
    { networkKeys: networkKeys ?? [networkKey], clock: clock ?? new MovableClock(), ...(random && { random }), ...(log && { log }) },
    { listen: loopback, bootstrap: [], ...options },
  )
  opened.add(dht)
  return dht
}

/** `count` nodes, each told of the first. */
export async function openNodes(count: number, options: NodeOptions = {}): Promise<Dht[]> {
  const first = await openNode(options)
  const others = Array.from({ length: count - 1 }, () => openNode({ ...options, bootstrap: [first.address] }))
  return [first, ...(await Promise.all(others))]
}

type Reply = {
  readonly t?: Uint8Array
  readonly y?: Uint8Array
  readonly q?: Uint8Array
  readonly r?: Readonly<Record<string, unknown>>
  readonly e?: unknown
}

/** A member that speaks to nodes by hand: packets of its own making, sealed with a key of its own choice. */
export class RawPeer {
  readonly id: Buffer
  readonly #socket = createSocket("udp4")
  readonly #key: PacketKey
  readonly #waiting = new Map<string, (reply: Reply) => void>()
  #transaction = 0
  /** Packets that came back, whatever they hold. */
  received = 0
  /** With this set it answers every query with its id and these fields. */
  answer: object | null = null
  /** Methods of the queries that it was asked. */
  readonly asked: string[] = []

  private constructor(key: Uint8Array, id: Buffer) {
    this.id = id
    this.#key = new PacketKey(key)
    this.#socket.on("message", (packet, from) => {
      this.received += 1
      const message = this.#key.open(packet)
      if (message === null) return
      const reply = bencode.decode(message) as Reply
      this.#waiting.get(Buffer.from(reply.t ?? []).toString("hex"))?.(reply)
      if (Buffer.from(reply.y ?? []).toString() !== "q") return
      this.asked.push(Buffer.from(reply.q ?? []).toString())
      if (this.answer !== null)
        void this.send({ host: from.address, port: from.port }, bencode.encode({ t: reply.t, y: "r", r: { id: this.id, ...this.answer } }))
    })
  }

  static async open(key: Uint8Array = networkKey, options: { readonly host?: string; readonly id?: Buffer } = {}): Promise<RawPeer> {
    const peer = new RawPeer(key, options.id ?? digestOf("a raw peer").subarray(0, 20))
    await new Promise<void>((resolve) => peer.#socket.bind(0, options.host ?? "127.0.0.1", resolve))
    return peer
  }

  get address(): Address {
    const { address: host, port } = this.#socket.address()
    return { host, port }
  }

  /** Sends a message under the key. */
  send(to: Address, message: Uint8Array): Promise<void> {
    return this.sendPacket(to, this.#key.seal(message))
  }

  sendPacket(to: Address, packet: Uint8Array): Promise<void> {
    return new Promise((resolve) => this.#socket.send(packet, to.port, to.host, () => resolve()))
  }

  /** The reply to a query, or null when none came in time. */
  async ask(to: Address, method: string, fields: object, timeoutMs = 2_000): Promise<Reply | null> {
    this.#transaction += 1
    const t = Buffer.from([0x61, this.#transaction >> 8, this.#transaction & 255])
    const replied = new Promise<Reply>((resolve) => this.#waiting.set(t.toString("hex"), resolve))
    await this.send(to, bencode.encode({ t, y: "q", q: method, a: { id: this.id, ...fields } }))
    const ended = new AbortController()
    const late = delay(timeoutMs, null, { signal: ended.signal, ref: false }).catch(() => null)
    const reply = await Promise.race([replied, late])
    ended.abort()
    this.#waiting.delete(t.toString("hex"))
    return reply
  }

  /** How many peers of a layer this one node answers with. */
  async peersAt(node: Address, layer: Infohash): Promise<number> {
    const values = (await this.ask(node, "get_peers", { info_hash: Buffer.from(layer, "hex") }))?.r?.["values"]
    return Array.isArray(values) ? values.length : 0
  }

  /** The seq of the pointer that this one node answers with, or null. */
  async seqAt(node: Address, publicKeyHex: string, salt: string): Promise<number | null> {
    const target = pointerTarget(Buffer.from(publicKeyHex, "hex"), Buffer.from(salt))
    const seq = (await this.ask(node, "get", { target }))?.r?.["seq"]
    return typeof seq === "number" ? seq : null
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#socket.close(resolve))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** Asks until the answer is yes; the test's own timeout ends it. */
export async function until(holds: () => boolean | Promise<boolean>, timeoutMs = 15_000): Promise<void> {
  const deadline = AbortSignal.timeout(timeoutMs)
  while (!(await holds())) {
    if (deadline.aborted) throw new Error(`not within ${timeoutMs} ms: ${holds.toString()}`)
    await delay(5)
  }
}
