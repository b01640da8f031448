/** Random and mutated packets against one node that has the right key to open them; used by the suite and by bench/fuzz-dht.ts. */
import bencode from "bencode"
import type { Dht } from "#swarm/dht.ts"
import { digestOf, infohashOf, openNode, openNodes, RawPeer, signer } from "./dht-grid.ts"
import { signPointer } from "#swarm/dht/pointer.ts"

export type FuzzReport = {
  readonly packets: number
  /** Announces and lookups between honest nodes, done while the packets came in. */
  readonly honestRounds: number
  readonly residentBytesBefore: number
  readonly residentBytesAfter: number
  readonly victim: Dht["packets"]
}

/** Mulberry32: uniform in [0, 1), the same for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Attacks for `durationMs`; answers when the last packet was sent and honest nodes found each other after it.
 * @throws when honest traffic fails
 */
export async function fuzzDht(options: { readonly seed: number; readonly durationMs: number }): Promise<FuzzReport> {
  const random = seeded(options.seed)
  const honest = await openNodes(3)
  const victim = honest[0]
  if (victim === undefined) throw new Error("no victim")
  await using attacker = await RawPeer.open()
  const corpus = await honestMessages(attacker, victim)
  const residentBytesBefore = process.memoryUsage.rss()
  const endsAtMs = Date.now() + options.durationMs
  let packets = 0
  let honestRounds = 0
  while (Date.now() < endsAtMs) {
    // Some above what one source may send, so that both what is read and what is refused is exercised.
    for (let count = 0; count < 20; count += 1) {
      await attack(attacker, victim, corpus, random)
      packets += 1
    }
    // A breath, as the victim shares this thread.
    await new Promise((resolve) => setImmediate(resolve))
    if (packets % 2_000 === 0) await honestRound(honest, (honestRounds += 1))
  }
  await recovered(honest, victim)
  const report = {
    packets,
    honestRounds: honestRounds + 1,
    residentBytesBefore,
    residentBytesAfter: process.memoryUsage.rss(),
    victim: { ...victim.packets },
  }
  await Promise.all(honest.map((node) => node.close()))
  return report
}

async function attack(attacker: RawPeer, victim: Dht, corpus: readonly Buffer[], random: () => number): Promise<void> {
  const roll = random()
  if (roll < 0.1) return attacker.sendPacket(victim.address, randomBytes(random, 1 + Math.floor(random() * 1_600)))
  if (roll < 0.3) return attacker.send(victim.address, randomBytes(random, Math.floor(random() * 1_400)))
  if (roll < 0.5) return attacker.send(victim.address, bencode.encode(randomMessage(random)))
  return attacker.send(victim.address, mutated(corpus, random))
}

/** Pairs of honest nodes still find each other through the victim's network. */
async function honestRound(honest: readonly Dht[], round: number): Promise<void> {
  const [, announcing, looking] = honest
  const layer = infohashOf(`round ${round}`)
  await announcing?.announce(layer, 7_001)
  if ((await looking?.lookup(layer))?.length !== 1) throw new Error(`honest round ${round}: the announce was not found`)
}

/** The victim still answers a newcomer that knows nobody else. */
async function recovered(honest: readonly Dht[], victim: Dht): Promise<void> {
  const layer = infohashOf("after the attack")
  await victim.announce(layer, 7_002)
  const newcomer = await openNode({ bootstrap: [victim.address] })
  try {
    // One source is all of loopback here: its share of packets fills up within seconds.
    for (let attempt = 0; (await newcomer.lookup(layer)).length === 0; attempt += 1)
      if (attempt > 20) throw new Error(`after the attack the victim gives no answer (${honest.length} honest nodes)`)
  } finally {
    await newcomer.close()
  }
}

/** One of each message that members send, with tokens of the victim. */
async function honestMessages(attacker: RawPeer, victim: Dht): Promise<Buffer[]> {
  const target = digestOf("target").subarray(0, 20)
  const token = (await attacker.ask(victim.address, "get", { target }))?.r?.["token"]
  const item = signPointer({ signing: signer("fuzz"), salt: "catalog", seq: 1, infohash: infohashOf("fuzz") })
  const queries: readonly (readonly [string, object])[] = [
    ["ping", {}],
    ["find_node", { target }],
    ["get_peers", { info_hash: target }],
    ["announce_peer", { info_hash: target, port: 7_000, token }],
    ["get", { target }],
    ["put", { token, k: item.publicKey, salt: item.salt, seq: 1, sig: item.signature, v: { ih: Buffer.from(item.infohash, "hex") } }],
  ]
  const t = Buffer.from("aa")
  const messages = queries.map(([q, a]) => ({ t, y: "q", q, a: { id: attacker.id, ...a } }))
  const reply = { id: attacker.id, token, nodes: Buffer.alloc(52, 7), values: [Buffer.alloc(6, 9)] }
  return [...messages, { t, y: "r", r: reply }, { t, y: "e", e: [203, "no"] }].map((message) => Buffer.from(bencode.encode(message)))
}

function randomBytes(random: () => number, count: number): Buffer {
  return Buffer.from(Array.from({ length: count }, () => Math.floor(random() * 256)))
}

/** An honest message with bytes changed, cut out, doubled or spliced with another's. */
function mutated(corpus: readonly Buffer[], random: () => number): Buffer {
  const pick = () => corpus[Math.floor(random() * corpus.length)] ?? Buffer.alloc(0)
  let message = Buffer.from(pick())
  for (let changes = 1 + Math.floor(random() * 4); changes > 0; changes -= 1) {
    const at = Math.floor(random() * (message.length + 1))
    const other = pick()
    const kind = Math.floor(random() * 5)
    if (kind === 0 && at < message.length) message[at] = Math.floor(random() * 256)
    else if (kind === 1) message = Buffer.concat([message.subarray(0, at), message.subarray(at + 1 + Math.floor(random() * 8))])
    else if (kind === 2) message = Buffer.concat([message.subarray(0, at), other.subarray(Math.floor(random() * other.length))])
    else if (kind === 3) message = Buffer.concat([message.subarray(0, at), Buffer.from("deli0e1:x"[at % 9] ?? "e"), message.subarray(at)])
    else message = Buffer.concat([message.subarray(0, at), message.subarray(Math.floor(at / 2))])
    message = message.subarray(0, 1_480)
  }
  return message
}

/** A message with the right field names and values of any type. */
function randomMessage(random: () => number): Record<string, unknown> {
  const value = (depth: number): unknown => {
    const roll = random()
    if (roll < 0.25) return Math.floor((random() - 0.5) * 2 ** 33)
    if (roll < 0.7) return randomBytes(random, [0, 1, 2, 4, 20, 26, 32, 64, 100][Math.floor(random() * 9)] ?? 0)
    if (roll < 0.85 || depth > 4) return Array.from({ length: Math.floor(random() * 4) }, () => value(depth + 1))
    return fields(["id", "ih", "v", "toString", "__proto__", "length"], depth + 1)
  }
  const fields = (names: readonly string[], depth: number): Record<string, unknown> =>
    Object.fromEntries(names.filter(() => random() < 0.7).map((name) => [name, value(depth)]))
  const one = (choices: readonly string[]) => choices[Math.floor(random() * choices.length)]
  const inner = fields(["id", "target", "info_hash", "port", "token", "k", "sig", "seq", "salt", "v", "nodes", "values", "implied_port"], 1)
  return {
    t: random() < 0.8 ? randomBytes(random, 2) : value(0),
    y: random() < 0.8 ? one(["q", "r", "e"]) : value(0),
    q: random() < 0.8 ? one(["ping", "find_node", "get_peers", "announce_peer", "get", "put"]) : value(0),
    a: random() < 0.9 ? inner : value(0),
    r: random() < 0.9 ? inner : value(0),
    e: value(0),
  }
}
