/** Attacks on the DHT's port: by strangers, whose packets lack the network key, and by members, whose packets carry it. */
import { createSocket, type Socket } from "node:dgram"
import { once } from "node:events"
import { setTimeout as delay } from "node:timers/promises"
import type { Address } from "#core/address.ts"
import { infohash as asInfohash } from "#core/identifiers.ts"
import { sign, signingKeyFromSeed } from "#crypto/identity.ts"
import { PacketKey } from "#swarm/dht/keyed-socket.ts"
import { signPointer } from "#swarm/dht/pointer.ts"
import { readBencoded } from "#core/strict-bencode.ts"
import { Counts } from "./counts.ts"
import { encoded, hostileBencode, mutated, oddFields, type Dice } from "./dice.ts"

/** Sources, each on an address of its own: a node bounds what it takes of each, and honest members keep their share. */
const SOURCES = 3
/** Of each: twice what a node takes of one source, and as much again without the key. */
const KEYED_PER_SECOND = 1_000
const UNKEYED_PER_SECOND = 1_000
const TURN_MS = 10

export async function fuzzDht(at: Address, networkKey: Uint8Array, dice: Dice, stop: AbortSignal): Promise<Counts> {
  const counts = new Counts()
  await Promise.all(
    Array.from({ length: SOURCES }, (_, index) => new Source(at, networkKey, dice.fork(), counts).attack(`127.0.0.${2 + index}`, stop)),
  )
  return counts
}

class Source {
  readonly #at: Address
  readonly #key: PacketKey
  readonly #dice: Dice
  readonly #counts: Counts
  readonly #id: Buffer
  readonly #udp: Socket = createSocket("udp4")
  /** Of the node's own making, for announces and puts that it takes. */
  #token = Buffer.alloc(20)
  #closed = false

  constructor(at: Address, networkKey: Uint8Array, dice: Dice, counts: Counts) {
    this.#at = at
    this.#key = new PacketKey(networkKey)
    this.#dice = dice
    this.#counts = counts
    this.#id = dice.bytes(20)
  }

  async attack(host: string, stop: AbortSignal): Promise<void> {
    this.#udp.on("error", () => {})
    this.#udp.on("message", (packet) => this.#answer(packet))
    this.#udp.bind(0, host)
    await once(this.#udp, "listening")
    let atMs = performance.now()
    let owed = 0
    let turns = 0
    while (!stop.aborted) {
      if (turns % 500 === 0) this.#send("queries in good form", this.#query("get_peers", { info_hash: this.#dice.bytes(20) }))
      turns += 1
      await delay(TURN_MS)
      const nowMs = performance.now()
      owed = Math.min(200, owed + nowMs - atMs)
      atMs = nowMs
      for (; owed >= 1; owed -= 1) {
        for (let count = 0; count < KEYED_PER_SECOND / 1_000; count += 1) this.#sendKeyed()
        for (let count = 0; count < UNKEYED_PER_SECOND / 1_000; count += 1)
          this.#sendPacket("packets without the key", this.#dice.bytes(this.#dice.below(this.#dice.chance(0.05) ? 9_000 : 1_500)))
      }
    }
    this.#closed = true
    this.#udp.close()
  }

  #sendKeyed(): void {
    const dice = this.#dice
    const roll = dice.below(10)
    const seeds = this.#seeds()
    if (roll === 0) this.#send("random bytes", dice.bytes(dice.below(1_480)))
    else if (roll === 1) this.#send("hostile bencode", hostileBencode(dice).subarray(0, 1_480))
    else if (roll === 2) this.#send("announces", this.#query("announce_peer", this.#announce()))
    else if (roll === 3) this.#send("puts", this.#query("put", this.#put()))
    else if (roll === 4) this.#send("queries and replies in good form", dice.pick(seeds))
    else if (roll === 5) {
      // The MAC itself, wrong by little.
      this.#sendPacket("packets changed after sealing", mutated(this.#key.seal(dice.pick(seeds)), seeds, dice).subarray(0, 1_600))
    } else if (roll < 8) this.#send("messages with fields of other types", this.#oddMessage())
    else this.#send("mutated messages", mutated(dice.pick(seeds), seeds, dice).subarray(0, 1_480))
  }

  /** One of each message of the DHT, in good form. */
  #seeds(): Buffer[] {
    const dice = this.#dice
    const target = dice.bytes(20)
    return [
      this.#query("ping", {}),
      this.#query("find_node", { target }),
      this.#query("get_peers", { info_hash: target }),
      this.#query("get", { target }),
      this.#query("announce_peer", { info_hash: target, port: 1 + dice.below(65_535), token: this.#token }),
      this.#reply(dice.bytes(2), { nodes: this.#nodes(), token: dice.bytes(20), values: [dice.bytes(6)] }),
      encoded({ t: dice.bytes(2), y: "e", e: [203, "no"] }),
    ]
  }

  /** The right names, and under them values of any type. */
  #oddMessage(): Buffer {
    const dice = this.#dice
    const fixed = { id: this.#id, target: dice.bytes(20), info_hash: dice.bytes(20), port: 7_000 }
    const given = { ...fixed, ...this.#put(), nodes: this.#nodes(), values: [dice.bytes(6)] }
    const inner = () => oddFields(Object.fromEntries(Object.entries(given).map(([name, plain]) => [name, encoded(plain)])), dice)
    const method = dice.pick(["ping", "find_node", "get_peers", "announce_peer", "get", "put", "vote"])
    const kind = dice.pick(["q", "q", "q", "r", "e"])
    const fields = { a: inner(), e: encoded([203, "no"]), q: encoded(method), r: inner(), t: encoded(dice.bytes(2)), y: encoded(kind) }
    return oddFields(fields, dice).subarray(0, 1_480)
  }

  #query(method: string, fields: object): Buffer {
    return encoded({ t: this.#dice.bytes(2), y: "q", q: method, a: { id: this.#id, ...fields } })
  }

  #reply(transaction: Uint8Array, fields: object): Buffer {
    return encoded({ t: transaction, y: "r", r: { id: this.#id, ...fields } })
  }

  #announce(): object {
    return { info_hash: this.#dice.bytes(20), port: 1 + this.#dice.below(65_535), token: this.#token }
  }

  #put(): object {
    const key = signingKeyFromSeed(this.#dice.bytes(32))
    const item = signPointer({
      signing: { publicKeyHex: key.publicKeyHex, sign: (message) => sign(key, message) },
      salt: "catalog",
      seq: this.#dice.below(1_000_000),
      infohash: asInfohash(this.#dice.bytes(20).toString("hex")),
    })
    const { publicKey, salt, seq, signature, infohash } = item
    return { token: this.#token, k: publicKey, salt, seq, sig: signature, v: { ih: Buffer.from(infohash, "hex") } }
  }

  /** Nodes that do not exist, on the attackers' side of loopback. */
  #nodes(): Buffer {
    const dice = this.#dice
    return Buffer.concat(
      Array.from({ length: dice.below(20) }, () =>
        Buffer.concat([dice.bytes(20), Buffer.from([127, 0, 0, 9, dice.below(256), dice.below(256)])]),
      ),
    )
  }

  /** Takes tokens from replies, and answers what the node asks with lies and worse. */
  #answer(packet: Buffer): void {
    const opened = this.#key.open(packet)
    if (opened === null || this.#closed) return
    const { value } = readBencoded(opened)
    if (!(value instanceof Map)) return
    const message = value as ReadonlyMap<string, unknown>
    const reply = message.get("r")
    const token = reply instanceof Map ? (reply as ReadonlyMap<string, unknown>).get("token") : null
    if (Buffer.isBuffer(token)) this.#token = Buffer.from(token)
    const transaction = message.get("t")
    if (!message.has("q") || !Buffer.isBuffer(transaction)) return
    const answer = this.#reply(transaction, {
      nodes: this.#nodes(),
      token: this.#dice.bytes(20),
      values: [Buffer.from([127, 0, 0, 9, this.#dice.below(256), this.#dice.below(256)])],
      ...(this.#dice.chance(0.3) ? this.#put() : {}),
    })
    this.#send("answers that lie", this.#dice.chance(0.5) ? answer : mutated(answer, [answer], this.#dice).subarray(0, 1_480))
  }

  #send(kind: string, message: Uint8Array): void {
    this.#sendPacket(kind, this.#key.seal(message))
  }

  #sendPacket(kind: string, packet: Uint8Array): void {
    this.#counts.add(kind, packet.length)
    this.#udp.send(packet, this.#at.port, this.#at.host, () => {})
  }
}
