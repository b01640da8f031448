/**
 * The messages of the DHT (BEP 5, BEP 44), read strictly. bittorrent-dht trusts the type of every field, so nothing of a packet
 * reaches it: a packet is read into checked fields, and the library gets a message that was written anew from those.
 *
 * Off-spec: BEP 44 stores any value; here `put` takes signed BEP 46 pointers with a salt and nothing else, so that no value is
 * larger than 26 bytes. BEP 5's implied_port is refused: a swarm never shares the DHT's port.
 */
import bencode from "bencode"
import { type Bencoded, readBencoded } from "#core/strict-bencode.ts"
import { SALT_MAX_BYTES } from "./pointer.ts"

export type KrpcMessage = {
  readonly kind: "query" | "reply" | "error"
  /** What a query asks to be stored, as one key to count by; null for all else. */
  readonly stores: { readonly kind: "peer" | "pointer"; readonly key: string } | null
  /** The message, bencoded anew. */
  readonly bytes: Buffer
}

type Fields = ReadonlyMap<string, Bencoded>
type Plain = Record<string, unknown>

const ID_BYTES = 20
/** A node in its compact form: id, IPv4 address, port (BEP 5). */
const NODE_BYTES = ID_BYTES + 6
const PEER_BYTES = 6
const TOKEN_MAX_BYTES = 64
const TRANSACTION_MAX_BYTES = 16
const ERROR_TEXT_MAX_BYTES = 200
/** Nodes and peers in one of our replies: 20 nodes (BEP 5 asks for 8) or 100 peers, so that it fits one packet. */
const REPLY_NODES_MAX = 20
export const REPLY_PEERS_MAX = 100

/** The message in a packet, or null for whatever is not one. */
export function readMessage(packet: Buffer): KrpcMessage | null {
  const message = dictionary(packet)
  if (message === null) return null
  const transaction = bytes(message, "t", 1, TRANSACTION_MAX_BYTES)
  if (transaction === null) return null
  const type = bytes(message, "y", 1, 1)?.toString("latin1")
  if (type === "q") return readQuery(message, transaction)
  // Transactions that we begin have two bytes.
  if (transaction.length < 2) return null
  if (type === "r") return readReply(message, transaction)
  return type === "e" ? readError(message, transaction) : null
}

/**
 * A reply of bittorrent-dht, made to fit a packet. It answers with its whole table and with every peer it knows: beyond some 50 nodes or
 * 170 peers that is more than 1,500 bytes. Nodes come nearest first and peers in random order, so the first ones are kept.
 */
export function fitReply(packet: Buffer, maxBytes: number): Buffer {
  if (packet.length <= maxBytes) return packet
  const message = dictionary(packet)
  const reply = message?.get("r")
  if (message === null || !(reply instanceof Map)) return packet
  const fitted = new Map<string, Bencoded>(reply as Fields)
  const nodes = fitted.get("nodes")
  const values = fitted.get("values")
  if (Buffer.isBuffer(nodes)) fitted.set("nodes", nodes.subarray(0, REPLY_NODES_MAX * NODE_BYTES))
  if (Array.isArray(values)) fitted.set("values", (values as readonly Bencoded[]).slice(0, REPLY_PEERS_MAX))
  return Buffer.from(bencode.encode(new Map([...message, ["r", fitted]])))
}

function readQuery(message: Fields, transaction: Buffer): KrpcMessage | null {
  const method = bytes(message, "q", 1, 20)?.toString("latin1")
  const given = message.get("a")
  if (method === undefined || !(given instanceof Map)) return null
  const fields = given as Fields
  const id = bytes(fields, "id", ID_BYTES, ID_BYTES)
  const asked = argumentsOf(method, fields)
  if (id === null || asked === null) return null
  return {
    kind: "query",
    stores: asked.stores,
    bytes: Buffer.from(bencode.encode({ t: transaction, y: "q", q: method, a: { id, ...asked.plain } })),
  }
}

function argumentsOf(method: string, fields: Fields): { readonly plain: Plain; readonly stores: KrpcMessage["stores"] } | null {
  switch (method) {
    case "ping":
      return { plain: {}, stores: null }
    case "find_node":
    case "get": {
      const target = bytes(fields, "target", ID_BYTES, ID_BYTES)
      return target === null ? null : { plain: { target }, stores: null }
    }
    case "get_peers": {
      const sought = bytes(fields, "info_hash", ID_BYTES, ID_BYTES)
      return sought === null ? null : { plain: { info_hash: sought }, stores: null }
    }
    case "announce_peer": {
      const announced = bytes(fields, "info_hash", ID_BYTES, ID_BYTES)
      const port = whole(fields, "port", 1, 65_535)
      const token = bytes(fields, "token", 1, TOKEN_MAX_BYTES)
      if (announced === null || port === null || token === null || (fields.get("implied_port") ?? 0) !== 0) return null
      return { plain: { info_hash: announced, port, token }, stores: { kind: "peer", key: `${announced.toString("latin1")}${port}` } }
    }
    case "put": {
      const token = bytes(fields, "token", 1, TOKEN_MAX_BYTES)
      const salt = bytes(fields, "salt", 1, SALT_MAX_BYTES)
      const item = signedValue(fields)
      if (token === null || salt === null || item === null) return null
      return { plain: { token, salt, ...item }, stores: { kind: "pointer", key: `${item.k.toString("latin1")}${salt.toString("latin1")}` } }
    }
    default:
      return null
  }
}

function readReply(message: Fields, transaction: Buffer): KrpcMessage | null {
  const given = message.get("r")
  if (!(given instanceof Map)) return null
  const fields = given as Fields
  const id = bytes(fields, "id", ID_BYTES, ID_BYTES)
  if (id === null) return null
  const reply: Plain = { id }
  if (fields.has("token")) {
    const token = bytes(fields, "token", 1, TOKEN_MAX_BYTES)
    if (token === null) return null
    reply["token"] = token
  }
  if (fields.has("nodes")) {
    const nodes = bytes(fields, "nodes", 0, Infinity)
    if (nodes === null || nodes.length % NODE_BYTES !== 0) return null
    reply["nodes"] = nodes
  }
  if (fields.has("values")) {
    const values = fields.get("values")
    if (!Array.isArray(values) || !values.every((peer: unknown) => Buffer.isBuffer(peer) && peer.length === PEER_BYTES)) return null
    reply["values"] = values
  }
  if (fields.has("v") || fields.has("k") || fields.has("sig")) {
    const item = signedValue(fields)
    if (item === null) return null
    Object.assign(reply, item)
  }
  return { kind: "reply", stores: null, bytes: Buffer.from(bencode.encode({ t: transaction, y: "r", r: reply })) }
}

function readError(message: Fields, transaction: Buffer): KrpcMessage | null {
  const error = message.get("e")
  if (!Array.isArray(error)) return null
  const [code, text] = error as readonly Bencoded[]
  if (typeof code !== "number" || !Buffer.isBuffer(text) || text.length > ERROR_TEXT_MAX_BYTES) return null
  return { kind: "error", stores: null, bytes: Buffer.from(bencode.encode({ t: transaction, y: "e", e: [code, text] })) }
}

/** The signed part of a put or of a reply to get, with `{ ih: 20 bytes }` as its value (BEP 46). */
function signedValue(fields: Fields): { k: Buffer; sig: Buffer; seq: number; v: { ih: Buffer } } | null {
  const k = bytes(fields, "k", 32, 32)
  const sig = bytes(fields, "sig", 64, 64)
  const seq = whole(fields, "seq", 0, Number.MAX_SAFE_INTEGER)
  const value = fields.get("v")
  if (k === null || sig === null || seq === null || !(value instanceof Map) || value.size !== 1) return null
  const ih = bytes(value as Fields, "ih", 20, 20)
  return ih === null ? null : { k, sig, seq, v: { ih } }
}

function dictionary(packet: Buffer): Fields | null {
  try {
    const { value, end } = readBencoded(packet)
    return value instanceof Map && end === packet.length ? (value as Fields) : null
  } catch {
    return null
  }
}

function bytes(fields: Fields, name: string, minBytes: number, maxBytes: number): Buffer | null {
  const value = fields.get(name)
  return Buffer.isBuffer(value) && value.length >= minBytes && value.length <= maxBytes ? value : null
}

function whole(fields: Fields, name: string, min: number, max: number): number | null {
  const value = fields.get(name)
  return typeof value === "number" && value >= min && value <= max ? value : null
}
