/** Attacks by admitted members: past TLS, on everything that reads the peer protocol. */
import { connect, type ConnectionOptions } from "node:tls"
import type { Address } from "#core/address.ts"
import { infohash as asInfohash } from "#core/identifiers.ts"
import { BLOCK_BYTES, pieceBytesAt, type Torrent } from "#core/torrent.ts"
import type { ControlMessage } from "#swarm/core/messages.ts"
import { defaultLimits } from "#swarm/core/limits.ts"
import { encodeExtended, encodeHandshake, encodeMessages, peerIdOf, writeBlockHeader } from "#swarm/wire.ts"
import { Counts } from "./counts.ts"
import { encoded, hostileBencode, mutated, oddFields, type Dice } from "./dice.ts"
import { attackerHost, HostileSocket, keepBusy } from "./hostile-socket.ts"
import type { Attacker, Identities } from "./identities.ts"

const BUSY = 12
/** Ask for all that may be asked for and read nothing of it. */
const UNREAD = 60
/** Hold a connection and send what is allowed, as fast as it goes. */
const FLOODING = 4
/** Connections after which another identity is taken: some of them find their member banned. */
const CONNECTIONS_OF_ONE = 5
/** Extended messages as a server numbers them (swarm/extensions.ts). */
const PEER_EXCHANGE = 1
const METADATA = 2
const NEWS = 3

type Visit = { readonly peer: HostileSocket; readonly who: Attacker; readonly torrent: Torrent; readonly dice: Dice }

export async function fuzzAsMember(
  at: Address,
  parts: { readonly identities: Identities; readonly torrents: readonly Torrent[] },
  dice: Dice,
  stop: AbortSignal,
): Promise<Counts> {
  const counts = new Counts()
  const largest = parts.torrents.reduce((a, b) => (b.contentBytes > a.contentBytes ? b : a))

  const open = (who: Attacker) => {
    const options: ConnectionOptions & { readonly localAddress: string } = {
      ...who.admission.tlsClientOptions(),
      ...at,
      localAddress: attackerHost(dice),
    }
    return new HostileSocket(connect(options), counts, stop)
  }
  const visitor = async (attack: (visit: Visit) => Promise<void>, choose: (own: Dice) => Torrent, first?: Attacker) => {
    let who = first ?? (await parts.identities.another())
    let connections = 0
    return async () => {
      if ((connections += 1) % CONNECTIONS_OF_ONE === 0) who = await parts.identities.another()
      using peer = open(who)
      const own = dice.fork()
      await attack({ peer, who, torrent: choose(own), dice: own })
    }
  }
  const any = (own: Dice) => (own.chance(0.7) ? largest : own.pick(parts.torrents))
  const busy = async (number: number) =>
    keepBusy(1, stop, await visitor((visit) => visit.dice.pick(attacks)(visit), any, number === 0 ? parts.identities.joined : undefined))
  const unread = async () => keepBusy(1, stop, await visitor(neverRead, () => largest))
  const flooding = async (number: number) =>
    keepBusy(1, stop, await visitor(floods[number % floods.length] ?? floodRequests, () => largest))
  await Promise.all([
    ...Array.from({ length: BUSY }, (_, number) => busy(number)),
    ...Array.from({ length: UNREAD }, unread),
    ...Array.from({ length: FLOODING }, (_, number) => flooding(number)),
  ])
  return counts
}

// How an honest conversation begins.

function handshake({ who, torrent }: Pick<Visit, "who" | "torrent">): Buffer {
  return encodeHandshake({ infohash: torrent.infohash, peerId: peerIdOf(who.memberId) })
}

function introduction(dice: Dice): Buffer {
  const fields = { m: { ut_metadata: 3, ut_pex: 4 }, metadata_size: 1_000, p: 1 + dice.below(65_535), reqq: 500, v: "fuzz" }
  return encodeExtended(0, encoded(fields))
}

async function begin(visit: Visit, pieces: "have-none" | "have-all" = "have-none"): Promise<void> {
  await visit.peer.write("handshakes", Buffer.concat([handshake(visit), introduction(visit.dice), encodeMessages([{ type: pieces }])]))
}

function span(torrent: Torrent, dice: Dice): { piece: number; offset: number; length: number } {
  const piece = dice.below(torrent.pieceCount)
  const pieceBytes = pieceBytesAt(torrent, piece)
  const offset = dice.below(Math.ceil(pieceBytes / BLOCK_BYTES)) * BLOCK_BYTES
  return { piece, offset, length: Math.min(BLOCK_BYTES, pieceBytes - offset) }
}

function requests(torrent: Torrent, count: number, dice: Dice): ControlMessage[] {
  return Array.from({ length: count }, () => ({ type: "request", ...span(torrent, dice) }))
}

function block(at: { piece: number; offset: number }, bytes: Buffer): Buffer {
  const message = Buffer.alloc(13 + bytes.length)
  writeBlockHeader(message, 0, at.piece, at.offset, bytes.length)
  bytes.copy(message, 13)
  return message
}

// One attack a connection.

async function badHandshake(visit: Visit): Promise<void> {
  const { peer, who, torrent, dice } = visit
  const good = handshake(visit)
  const roll = dice.below(6)
  if (roll === 0) await peer.write("random bytes", dice.bytes(1 + dice.below(400_000)))
  else if (roll === 1) await peer.write("mutated handshakes", mutated(good, [good], dice))
  else if (roll === 2)
    await peer.write(
      "unknown infohashes",
      encodeHandshake({ infohash: asInfohash(dice.bytes(20).toString("hex")), peerId: peerIdOf(who.memberId) }),
    )
  else if (roll === 3)
    await peer.write("names of others", encodeHandshake({ infohash: torrent.infohash, peerId: peerIdOf(dice.bytes(16).toString("hex")) }))
  else if (roll === 4) await peer.write("handshakes cut short", good.subarray(0, dice.below(68)))
  else await peer.write("handshakes with much behind", Buffer.concat([good, dice.bytes(300_000)]))
  await peer.pause(dice.chance(0.05) ? 3_000 : 50)
}

async function badLength(visit: Visit): Promise<void> {
  const { peer, dice, torrent } = visit
  await begin(visit)
  const length = Buffer.alloc(4)
  const bitfieldBytes = Math.ceil(torrent.pieceCount / 8)
  length.writeUInt32BE(dice.pick([0xffffffff, 0x80000000, 0x7fffffff, 20 * 1024 + 1, 20 * 1024, bitfieldBytes + 2, dice.below(2 ** 32)]))
  await peer.write("lengths up to 4 GiB", Buffer.concat([length, Buffer.from([dice.below(24)]), dice.bytes(dice.below(30_000))]))
  await peer.pause(50)
}

async function badPieces(visit: Visit): Promise<void> {
  const { peer, dice, torrent } = visit
  await peer.write("handshakes", handshake(visit))
  const right = Math.ceil(torrent.pieceCount / 8)
  const bits = dice.bytes(dice.pick([0, 1, right, right, right - 1, right + 1, dice.below(20_000)]))
  const messages: ControlMessage[] = [{ type: "bitfield", bits }]
  if (dice.chance(0.3)) messages.push({ type: dice.pick(["have-all", "have-none"]) })
  if (dice.chance(0.3)) messages.unshift({ type: "have", piece: dice.below(torrent.pieceCount) })
  await peer.write("wrong bitfields", encodeMessages(messages))
  await peer.pause(50)
}

const ODD = [0xffffffff, 0x80000000, 0x7fffffff, BLOCK_BYTES + 1, BLOCK_BYTES, 1, 0]

async function badIndex(visit: Visit): Promise<void> {
  const { peer, dice, torrent } = visit
  await begin(visit)
  const number = () => dice.pick([...ODD, torrent.pieceCount, torrent.pieceCount - 1, dice.below(2 ** 32)])
  const type = dice.pick(["have", "suggest", "allowed-fast", "request", "cancel", "reject"] as const)
  const message: ControlMessage =
    type === "request" || type === "cancel" || type === "reject"
      ? { type, piece: number(), offset: number(), length: number() }
      : { type, piece: number() }
  await peer.write("pieces and spans out of range", encodeMessages([{ type: "interested" }, message]))
  await peer.pause(50)
}

async function badExtended(visit: Visit): Promise<void> {
  const { peer, dice } = visit
  await peer.write("handshakes", Buffer.concat([handshake(visit), encodeMessages([{ type: "have-none" }])]))
  if (dice.chance(0.6)) await peer.write("introductions", introduction(dice))
  const m = oddFields({ ut_metadata: encoded(3), ut_pex: encoded(4) }, dice)
  const fields = {
    m,
    metadata_size: encoded(1),
    msg_type: encoded(0),
    p: encoded(7),
    piece: encoded(0),
    reqq: encoded(9),
    added: encoded(""),
  }
  const known = Buffer.from(
    dice.pick([
      "d8:msg_typei0e5:piecei-1ee",
      "d8:msg_typei0e5:piecei4294967296ee",
      "d8:msg_typei1e5:piecei0e10:total_sizei4294967296ee",
      "d8:msg_typei255e5:piecei0ee",
      `d5:added${dice.below(3_000)}:`,
      "d5:added7:abcdefge",
      "d5:addedi7ee",
      "d5:addedlee",
      "d2:ih3:abc3:seqi1ee",
      "d2:ih20:aaaaaaaaaaaaaaaaaaaa3:seqi9007199254740991ee",
      "d1:mi7ee",
      "d1:md11:ut_metadatai-1e6:ut_pexi256eee",
      "d1:md11:ut_metadatai0e6:ut_pex1:xe1:pi65536e4:reqqi0ee",
      "de",
      "",
    ]),
  )
  const payload = dice.pick([hostileBencode(dice), oddFields(fields, dice), known])
  const id = dice.pick([0, 0, PEER_EXCHANGE, METADATA, METADATA, NEWS, NEWS, 20, 255])
  await peer.write("hostile bencode", encodeExtended(id, Buffer.concat([payload, dice.bytes(dice.chance(0.3) ? dice.below(17_000) : 0)])))
  await peer.pause(50)
}

/** A conversation in good form but for a few bytes anywhere in it, in chunks of any size. */
async function mutatedTalk(visit: Visit): Promise<void> {
  const { peer, dice, torrent } = visit
  const conversation = Buffer.concat([
    introduction(dice),
    encodeMessages([{ type: "have-none" }, { type: "interested" }]),
    encodeMessages(requests(torrent, 8, dice)),
    encodeExtended(METADATA, encoded({ msg_type: 0, piece: 0 })),
    encodeExtended(PEER_EXCHANGE, encoded({ added: dice.bytes(60), "added.f": dice.bytes(10), dropped: "" })),
    encodeMessages([
      { type: "cancel", ...span(torrent, dice) },
      { type: "have", piece: dice.below(torrent.pieceCount) },
      { type: "keep-alive" },
    ]),
    encodeMessages(requests(torrent, 8, dice)),
  ])
  const bytes = Buffer.concat([handshake(visit), mutated(conversation, [conversation], dice)])
  for (let at = 0; at < bytes.length;) {
    const part = bytes.subarray(at, at + 1 + dice.below(dice.chance(0.5) ? 40 : 400))
    await peer.write("chunks of mutated conversations", part)
    at += part.length
  }
  await peer.pause(50)
}

async function garbageAfterHandshake(visit: Visit): Promise<void> {
  await begin(visit)
  await visit.peer.write("random bytes", visit.dice.bytes(1 + visit.dice.below(100_000)))
  await visit.peer.pause(50)
}

async function unaskedPieces(visit: Visit): Promise<void> {
  const { peer, dice, torrent } = visit
  await begin(visit, dice.pick(["have-all", "have-none"]))
  for (let count = 0; count < 200 && !peer.closed; count += 1) {
    const length = dice.pick([1, BLOCK_BYTES, BLOCK_BYTES, BLOCK_BYTES + 1, dice.below(BLOCK_BYTES) + 1])
    await peer.write("pieces that nobody asked for", block(span(torrent, dice), dice.bytes(length)))
  }
  await peer.pause(50)
}

const attacks = [
  badHandshake,
  badLength,
  badPieces,
  badIndex,
  badExtended,
  badExtended,
  mutatedTalk,
  mutatedTalk,
  garbageAfterHandshake,
  unaskedPieces,
]

// Attacks that last.

/** Asks for as much as may be asked for, of blocks and of metadata, and reads nothing: until it is cut for it. */
async function neverRead(visit: Visit): Promise<void> {
  const { peer, dice, torrent } = visit
  await begin(visit)
  await peer.pause(300)
  peer.socket.pause()
  await peer.write(
    "requests never read",
    encodeMessages([{ type: "interested" }, ...requests(torrent, defaultLimits.requestsQueued - 1, dice)]),
  )
  const ask = encodeExtended(METADATA, encoded({ msg_type: 0, piece: 0 }))
  for (let count = 0; count < 200; count += 1) await peer.write("metadata never read", ask)
  await peer.pause(60_000)
}

async function floodRequests(visit: Visit): Promise<void> {
  const { peer, dice, torrent } = visit
  await begin(visit)
  await peer.write("changes of interest", encodeMessages([{ type: "interested" }]))
  // Read as fast as they come: an honest leecher in all but the amount.
  for (let round = 0; round < 200 && !peer.closed; round += 1) {
    await peer.write("floods of requests", encodeMessages(requests(torrent, 64, dice)))
    await peer.pause(5)
  }
}

async function floodRequestsAtOnce(visit: Visit): Promise<void> {
  await begin(visit)
  await visit.peer.write("floods of requests", encodeMessages([{ type: "interested" }, ...requests(visit.torrent, 20_000, visit.dice)]))
  await visit.peer.pause(100)
}

async function floodSmall(visit: Visit): Promise<void> {
  const { peer, dice, torrent } = visit
  await begin(visit)
  for (let round = 0; round < 40 && !peer.closed; round += 1) {
    const of = (): ControlMessage =>
      dice.pick<ControlMessage>([
        { type: "have", piece: dice.below(torrent.pieceCount) },
        { type: "keep-alive" },
        { type: "interested" },
        { type: "not-interested" },
        { type: "choke" },
        { type: "unchoke" },
        { type: "suggest", piece: dice.below(torrent.pieceCount) },
        { type: "allowed-fast", piece: dice.below(torrent.pieceCount) },
        { type: "cancel", ...span(torrent, dice) },
      ])
    await peer.write("floods of small messages", encodeMessages(Array.from({ length: 500 }, of)))
    await peer.pause(1)
  }
}

async function floodExtended(visit: Visit): Promise<void> {
  const { peer, dice } = visit
  await begin(visit)
  for (let round = 0; round < 40 && !peer.closed; round += 1) {
    const one = () =>
      dice.chance(0.5)
        ? encodeExtended(METADATA, encoded({ msg_type: dice.below(4), piece: dice.below(3), total_size: 1_000 }))
        : encodeExtended(PEER_EXCHANGE, encoded({ added: Buffer.concat(Array.from({ length: 100 }, () => ownAddress(dice))) }))
    await peer.write("floods of extended messages", Buffer.concat(Array.from({ length: 100 }, one)))
    await peer.pause(1)
  }
}

const floods = [floodRequests, floodRequestsAtOnce, floodSmall, floodExtended]

/** Compact addresses that lead back to the attackers' side of loopback. */
function ownAddress(dice: Dice): Buffer {
  return Buffer.from([127, 0, 0, 2 + dice.below(8), dice.below(256), dice.below(256)])
}
