import assert from "node:assert/strict"
import { describe, test } from "node:test"
import bencode from "bencode"
import type { Dht } from "#swarm/dht.ts"
import { PacketKey } from "#swarm/dht/keyed-socket.ts"
import { signPointer } from "#swarm/dht/pointer.ts"
import { fuzzDht } from "./dht-fuzz.ts"
import { digestOf, infohashOf, networkKey, openNode, openNodes, RawPeer, signer, until } from "./dht-grid.ts"

const id = digestOf("an attacker").subarray(0, 20)
const target = digestOf("target").subarray(0, 20)
const t = Buffer.from("aa")
const item = signPointer({ signing: signer("alice"), salt: "catalog", seq: 5, infohash: infohashOf("five") })
const put = { id, k: item.publicKey, salt: item.salt, seq: item.seq, sig: item.signature, v: { ih: Buffer.from(item.infohash, "hex") } }

const query = (q: unknown, a: unknown) => bencode.encode({ t, y: "q", q, a })
const reply = (r: unknown) => bencode.encode({ t, y: "r", r })
const raw = (text: string) => Buffer.from(text, "latin1")

/** What ends a bare bittorrent-dht, or might, under a MAC that is right. */
const malformed: Readonly<Record<string, Uint8Array>> = {
  "a get whose target is a number": query("get", { id, target: 5 }),
  "a get whose target is a dictionary": query("get", { id, target: { toString: 1 } }),
  "a get whose target is short": query("get", { id, target: target.subarray(0, 19) }),
  "a find_node whose target is a list": query("find_node", { id, target: [1, 2] }),
  "a find_node without a target": query("find_node", { id }),
  "a get_peers whose info_hash is a number": query("get_peers", { id, info_hash: 7 }),
  "a get_peers whose info_hash is a dictionary": query("get_peers", { id, info_hash: { a: 1 } }),
  "an announce_peer whose token is a number": query("announce_peer", { id, info_hash: target, port: 7_000, token: 1 }),
  "an announce_peer whose port is a string": query("announce_peer", { id, info_hash: target, port: "7000", token: t }),
  "an announce_peer of port 65536": query("announce_peer", { id, info_hash: target, port: 65_536, token: t }),
  "an announce_peer with implied_port": query("announce_peer", { id, info_hash: target, port: 1, implied_port: 1, token: t }),
  "a put whose token is a list": query("put", { ...put, token: [] }),
  "a put whose k is a number": query("put", { ...put, token: t, k: 1 }),
  "a put whose salt is a number": query("put", { ...put, token: t, salt: 1 }),
  "a put whose sig is 63 bytes": query("put", { ...put, token: t, sig: item.signature.subarray(1) }),
  "a put whose seq is a dictionary": query("put", { ...put, token: t, seq: {} }),
  "a put whose v is a number": query("put", { ...put, token: t, v: 1 }),
  "a put whose v is a dictionary over 1,000 bytes": query("put", { ...put, token: t, v: { ih: target, junk: Buffer.alloc(1_001) } }),
  "a put whose v is no pointer": query("put", { ...put, token: t, v: Buffer.from("junk") }),
  "a put that nobody signed": query("put", { id, token: t, v: { ih: target } }),
  "a query without arguments": bencode.encode({ t, y: "q", q: "ping" }),
  "a query whose arguments are a string": query("ping", "id"),
  "a query whose arguments are a list": query("get", [id, target]),
  "a query without an id": query("ping", {}),
  "a query whose id is a dictionary": query("ping", { id: { length: 20 } }),
  "a query whose method is a dictionary": query({ toString: 1 }, { id }),
  "a query of an unknown method": query("toString", { id }),
  "a query without a transaction": bencode.encode({ y: "q", q: "ping", a: { id } }),
  "a query whose transaction is a number": bencode.encode({ t: 1, y: "q", q: "ping", a: { id } }),
  "a y that is a dictionary": bencode.encode({ t, y: { toString: 1 } }),
  "a y that is a number": bencode.encode({ t, y: 1, q: "ping", a: { id } }),
  "a y that is missing": bencode.encode({ t, q: "ping", a: { id } }),
  "a reply without r": bencode.encode({ t, y: "r" }),
  "a reply whose r is a number": reply(1),
  "a reply whose id is a number": reply({ id: 1 }),
  "a reply whose nodes are a list": reply({ id, nodes: [1] }),
  "a reply whose nodes end in the middle of one": reply({ id, nodes: Buffer.alloc(27) }),
  "a reply whose values are a string": reply({ id, values: Buffer.alloc(6) }),
  "a reply whose values are numbers": reply({ id, values: [1, 2] }),
  "a reply whose token is a dictionary": reply({ id, token: {} }),
  "a reply with a value and no signature": reply({ id, v: { ih: target } }),
  "a reply with a one-byte transaction": bencode.encode({ t: Buffer.from("a"), y: "r", r: { id } }),
  "an error that is a dictionary": bencode.encode({ t, y: "e", e: { join: 1 } }),
  "an error that is empty": bencode.encode({ t, y: "e", e: [] }),
  "a list": bencode.encode([1, 2]),
  "a number": bencode.encode(1),
  "a string": bencode.encode("ping"),
  "nesting 600 deep": raw(`${"l".repeat(600)}${"e".repeat(600)}`),
  "nesting that never ends": raw("d1:a".repeat(300)),
  "a dictionary that is cut off": raw("d1:ad2:id20:"),
  "a negative length": raw("d1:a-1:e"),
  "a length of a terabyte": raw("d1:t1099511627776:aae"),
  "a number without digits": raw("d1:tie"),
  "a number beyond 2^53": raw("d1:ti9007199254740993ee"),
  "bytes after the end": Buffer.concat([query("ping", { id }), raw("x")]),
  "a prototype": raw("d1:t2:aa1:y1:q1:q4:ping9:__proto__d1:ad2:id20:aaaaaaaaaaaaaaaaaaaaeee"),
  zeros: Buffer.alloc(400),
}

/** A packet of a given kind reached the node when its counts say so. */
async function counted(node: Dht, kind: keyof Dht["packets"], count: number): Promise<void> {
  await until(() => node.packets[kind] >= count)
}

describe("a DHT node, under packets with the right key,", () => {
  test("drops each malformed message unanswered and goes on serving", async () => {
    const node = await openNode()
    await using attacker = await RawPeer.open()
    const kinds = Object.entries(malformed)
    for (const [index, [kind, message]] of kinds.entries()) {
      await attacker.send(node.address, message)
      await counted(node, "malformed", index + 1).catch((cause: unknown) => {
        throw new Error(`${kind} was not refused: ${JSON.stringify(node.packets)}`, { cause })
      })
    }
    assert.equal(attacker.received, 0)
    assert.equal(node.packets.accepted, 0)
    assert.equal(node.nodeCount(), 0)
    assert.ok(await attacker.ask(node.address, "ping", {}))
    assert.equal(node.packets.thrown, 0)
  })

  test("drops a packet over 1,500 bytes whatever it holds", async () => {
    const node = await openNode()
    await using attacker = await RawPeer.open()
    await attacker.send(node.address, query("ping", { id, junk: Buffer.alloc(1_500) }))
    await counted(node, "sizeWrong", 1)
    assert.equal(attacker.received, 0)
  })

  test("survives unsolicited replies that name nodes which can't be sent to", async () => {
    const node = await openNode()
    await using attacker = await RawPeer.open()
    await attacker.ask(node.address, "find_node", { target })
    // 0.0.0.0:0, 255.255.255.255:65535 and a multicast group.
    const nodes = Buffer.concat([Buffer.alloc(26), Buffer.alloc(26, 255), Buffer.concat([id, Buffer.from([224, 0, 0, 1, 0x1f, 0x90])])])
    for (let tid = 1; tid < 50; tid += 1)
      await attacker.send(node.address, bencode.encode({ t: Buffer.from([0, tid]), y: "r", r: { id, nodes, values: [Buffer.alloc(6)] } }))
    await counted(node, "accepted", 50)
    await node.lookup(infohashOf("a layer"))
    assert.ok(await attacker.ask(node.address, "ping", {}))
  })

  test("does not store a pointer with a forged signature, a stale seq or a false token", async () => {
    const node = await openNode()
    await using attacker = await RawPeer.open()
    const at = (await attacker.ask(node.address, "get", { target }))?.r?.["token"]
    const publicKeyHex = item.publicKey.toString("hex")
    assert.ok(await attacker.ask(node.address, "put", { ...put, token: at }))
    assert.equal(await attacker.seqAt(node.address, publicKeyHex, "catalog"), 5)
    const forged = await attacker.ask(node.address, "put", { ...put, token: at, seq: 6 }, 200)
    assert.equal(forged, null)
    const older = signPointer({ signing: signer("alice"), salt: "catalog", seq: 4, infohash: infohashOf("four") })
    const stale = await attacker.ask(node.address, "put", {
      ...put,
      token: at,
      seq: 4,
      sig: older.signature,
      v: { ih: Buffer.from(older.infohash, "hex") },
    })
    assert.ok(stale?.e !== undefined)
    const tokenless = await attacker.ask(node.address, "put", { ...put, token: Buffer.alloc(20) })
    assert.ok(tokenless?.e !== undefined)
    assert.equal(await attacker.seqAt(node.address, publicKeyHex, "catalog"), 5)
  })

  test("believes no reply with a forged or foreign pointer", async () => {
    // The attacker is the only node that the victim knows, and answers every get.
    await using forger = await RawPeer.open()
    forger.answer = {}
    const victim = await openNode({ bootstrap: [forger.address] })
    await until(() => victim.nodeCount() === 1)
    const answerWith = ({ publicKey, seq, signature, infohash }: typeof item) => {
      forger.answer = { token: t, k: publicKey, sig: signature, seq, v: { ih: Buffer.from(infohash, "hex") } }
    }
    const lies = [
      { ...item, seq: 99 },
      { ...item, infohash: infohashOf("malware") },
      signPointer({ signing: signer("alice"), salt: "another salt", seq: 99, infohash: infohashOf("malware") }),
      signPointer({ signing: signer("mallory"), salt: "catalog", seq: 99, infohash: infohashOf("malware") }),
    ]
    for (const lie of lies) {
      answerWith(lie)
      assert.equal(await victim.getPointer(item.publicKey.toString("hex"), "catalog"), null)
    }
    answerWith(item)
    assert.equal((await victim.getPointer(item.publicKey.toString("hex"), "catalog"))?.seq, 5)
    assert.equal(victim.packets.thrown, 0)
  })

  test("bounds what one source may make it do, and serves again when the flood is over", async () => {
    const node = await openNode()
    await using attacker = await RawPeer.open()
    const ping = query("ping", { id })
    for (let sent = 0; sent < 4_000; sent += 1) {
      await attacker.send(node.address, ping)
      if (sent % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await until(() => node.packets.overRate > 500)
    assert.ok(node.packets.accepted < 3_000, `${node.packets.accepted} of 4,000 accepted`)
    await until(async () => (await attacker.ask(node.address, "ping", {}, 300)) !== null)
  })

  test("bounds how many pointers one source may store, so that junk evicts nobody's", async () => {
    const node = await openNode()
    await using attacker = await RawPeer.open()
    const token = (await attacker.ask(node.address, "get", { target }))?.r?.["token"]
    assert.ok(await attacker.ask(node.address, "put", { ...put, token }))
    for (let junk = 0; junk < 300; junk += 1) {
      const { salt, signature } = signPointer({ signing: signer("alice"), salt: `junk ${junk}`, seq: 5, infohash: item.infohash })
      await attacker.send(node.address, query("put", { ...put, token, salt, sig: signature }))
      // One by one, or the kernel's queue would drop some.
      await until(() => node.packets.accepted + node.packets.overQuota === junk + 3)
    }
    assert.equal(node.packets.overQuota, 300 - 255)
    assert.equal(await attacker.seqAt(node.address, item.publicKey.toString("hex"), "catalog"), 5)
  })

  test("lives through 2 s of random and mutated packets while honest nodes find each other", { timeout: 60_000 }, async (context) => {
    const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 1_000_000)
    context.diagnostic(`FUZZ_SEED=${seed}`)
    const report = await fuzzDht({ seed, durationMs: 2_000 })
    context.diagnostic(JSON.stringify(report))
    assert.ok(report.packets > 500)
    assert.equal(report.victim.thrown, 0, `with FUZZ_SEED=${seed}`)
    assert.ok(report.victim.malformed > 0 && report.victim.accepted > 0)
  })
})

describe("a stranger without the network key", () => {
  test("gets no answer to anything and is no node to anyone", async () => {
    const [first, second] = await openNodes(2)
    assert.ok(first && second)
    await first.announce(infohashOf("a layer"), 7_001)
    await until(() => first.nodeCount() === 1 && second.nodeCount() === 1)
    await using stranger = await RawPeer.open(digestOf("another key"))
    for (const [q, a] of [
      ["ping", {}],
      ["find_node", { target }],
      ["get_peers", { info_hash: Buffer.from(infohashOf("a layer"), "hex") }],
      ["get", { target }],
    ] as const) {
      const message = query(q, { id, ...a })
      await stranger.send(first.address, message)
      // As plain bittorrent-dht would send it, too.
      await stranger.sendPacket(first.address, message)
      await stranger.sendPacket(first.address, Buffer.concat([Buffer.alloc(16), message]))
    }
    await counted(first, "unauthenticated", 12)
    assert.equal(stranger.received, 0)
    assert.equal(first.nodeCount(), 1)
    await using member = await RawPeer.open()
    assert.ok(await member.ask(first.address, "ping", {}))
  })

  test("is whoever holds a key that was dropped, and was a member until then", async () => {
    const [oldKey, newKey] = [digestOf("old key"), digestOf("new key")]
    const node = await openNode({ networkKeys: [newKey, oldKey] })
    await using behind = await RawPeer.open(oldKey)
    assert.ok(await behind.ask(node.address, "ping", {}), "the answer comes under the key of the query")
    await using ahead = await RawPeer.open(newKey)
    assert.ok(await ahead.ask(node.address, "ping", {}))
    node.setNetworkKeys([newKey])
    const answered = behind.received
    assert.equal(await behind.ask(node.address, "ping", {}, 200), null)
    assert.equal(behind.received, answered)
    assert.equal(node.packets.unauthenticated, 1)
    assert.ok(await ahead.ask(node.address, "ping", {}))
  })

  test("can't use up a member's share of packets", async () => {
    const node = await openNode()
    await using stranger = await RawPeer.open(digestOf("another key"))
    for (let sent = 0; sent < 3_000; sent += 1) {
      await stranger.send(node.address, query("ping", { id }))
      if (sent % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await using member = await RawPeer.open()
    // The kernel's queue may drop the first ones.
    await until(async () => (await member.ask(node.address, "ping", {}, 300)) !== null)
    assert.equal(node.packets.overRate, 0)
    assert.ok(node.packets.unauthenticated > 1_000)
  })
})

describe("PacketKey", () => {
  const key = new PacketKey(networkKey)

  test("opens what it sealed and nothing that differs in a bit", () => {
    const message = query("ping", { id })
    const packet = key.seal(message)
    assert.equal(packet.length, message.length + 16)
    assert.deepEqual(key.open(packet), Buffer.from(message))
    for (let bit = 0; bit < packet.length * 8; bit += 1) {
      const changed = Buffer.from(packet)
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      assert.equal(key.open(changed), null)
    }
    assert.equal(key.open(packet.subarray(0, 16)), null)
    assert.equal(new PacketKey(digestOf("another key")).open(packet), null)
  })

  test("makes the same packet in every version: HKDF-SHA256 of the network key, HMAC-SHA256 cut to 16 bytes", () => {
    // Computed with Python's hmac and hashlib.
    assert.equal(new PacketKey(Buffer.alloc(32, 1)).seal(Buffer.from("de")).toString("hex"), "85fe39ae9450b5dba96519ce5982822a6465")
  })
})
