/** Messages of the extension protocol (BEP 10): its handshake, metadata (BEP 9), peer exchange (BEP 11), pieces forgotten (BEP 54) and news, between values and bytes. */
import bencode from "bencode"
import type { Address } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import { infohash, type Infohash } from "#core/identifiers.ts"
import { readBencoded, type Bencoded } from "#core/strict-bencode.ts"

/** The numbers under which we take extended messages (BEP 10 `m`). */
export const EXTENDED_HANDSHAKE = 0
export const PEER_EXCHANGE = 1
export const METADATA = 2
export const NEWS = 3
export const DONT_HAVE = 4

/** Bytes of one part of the metadata (BEP 9). */
export const METADATA_PART_BYTES = 16 * 1024

/** A numbered torrent that a member tells its peers of; what it means is the business of the swarm's owner. */
export type News = { readonly seq: number; readonly infohash: Infohash }

/** What the other end takes: `peerExchange`, `metadata`, `news` and `dontHave` are the numbers to send under, null where it takes none. */
export type Introduction = {
  readonly peerExchange: number | null
  readonly metadata: number | null
  readonly news: number | null
  readonly dontHave: number | null
  readonly metadataBytes: number | null
  /** Where it listens (BEP 10 `p`). */
  readonly listenPort: number | null
  readonly requestQueueLimit: number
}

export type MetadataMessage =
  | { readonly type: "request" | "reject"; readonly part: number }
  | { readonly type: "data"; readonly part: number; readonly totalBytes: number; readonly bytes: Buffer }

export function encodeIntroduction(own: {
  readonly listenPort: number
  readonly requestQueueLimit: number
  readonly metadataBytes: number | null
}): Buffer {
  return Buffer.from(
    bencode.encode({
      m: { ig_catalog: NEWS, lt_donthave: DONT_HAVE, ut_metadata: METADATA, ut_pex: PEER_EXCHANGE },
      ...(own.metadataBytes === null ? {} : { metadata_size: own.metadataBytes }),
      p: own.listenPort,
      reqq: own.requestQueueLimit,
      v: "imagegrid",
    }),
  )
}

/** @throws {GridError} PEER_MISBEHAVED */
export function decodeIntroduction(payload: Buffer): Introduction {
  const fields = dictionary(readBencoded(payload).value)
  const numbers = fields.get("m")
  const ids = numbers === undefined ? new Map<string, Bencoded>() : dictionary(numbers)
  return {
    peerExchange: wholeNumber(ids.get("ut_pex"), 1, 255),
    metadata: wholeNumber(ids.get("ut_metadata"), 1, 255),
    news: wholeNumber(ids.get("ig_catalog"), 1, 255),
    dontHave: wholeNumber(ids.get("lt_donthave"), 1, 255),
    metadataBytes: wholeNumber(fields.get("metadata_size"), 1, Number.MAX_SAFE_INTEGER),
    listenPort: wholeNumber(fields.get("p"), 1, 65_535),
    requestQueueLimit: wholeNumber(fields.get("reqq"), 1, 65_535) ?? 250,
  }
}

export function encodeMetadataMessage(message: MetadataMessage): Buffer {
  const type = { request: 0, data: 1, reject: 2 }[message.type]
  if (message.type !== "data") return Buffer.from(bencode.encode({ msg_type: type, piece: message.part }))
  const head = bencode.encode({ msg_type: type, piece: message.part, total_size: message.totalBytes })
  return Buffer.concat([head, message.bytes])
}

/**
 * Null for a kind of message that this version does not know (BEP 9 has them ignored).
 * @throws {GridError} PEER_MISBEHAVED
 */
export function decodeMetadataMessage(payload: Buffer): MetadataMessage | null {
  const { value, end } = readBencoded(payload)
  const fields = dictionary(value)
  const part = wholeNumber(fields.get("piece"), 0, 1_000_000)
  const type = wholeNumber(fields.get("msg_type"), 0, 255)
  if (part === null || type === null) refuse("metadata message without its fields")
  if (type === 0) return { type: "request", part }
  if (type === 2) return { type: "reject", part }
  if (type !== 1) return null
  const totalBytes = wholeNumber(fields.get("total_size"), 1, Number.MAX_SAFE_INTEGER)
  const bytes = payload.subarray(end)
  if (totalBytes === null || bytes.length < 1 || bytes.length > METADATA_PART_BYTES) refuse("metadata part out of form")
  return { type: "data", part, totalBytes, bytes }
}

const IPV4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/

export function encodePeerExchange(added: readonly Address[], dropped: readonly Address[]): Buffer {
  const addedCompact = Buffer.concat(added.map(compact))
  return Buffer.from(
    bencode.encode({ added: addedCompact, "added.f": Buffer.alloc(addedCompact.length / 6), dropped: Buffer.concat(dropped.map(compact)) }),
  )
}

/**
 * The addresses added; those dropped are of no use to us.
 * @throws {GridError} PEER_MISBEHAVED
 */
export function decodePeerExchange(payload: Buffer): Address[] {
  const added = dictionary(readBencoded(payload).value).get("added") ?? Buffer.alloc(0)
  if (!Buffer.isBuffer(added) || added.length % 6 !== 0) refuse("peer exchange out of form")
  const addresses: Address[] = []
  for (let at = 0; at < added.length; at += 6) {
    const port = added.readUInt16BE(at + 4)
    if (port > 0) addresses.push({ host: added.subarray(at, at + 4).join("."), port })
  }
  return addresses
}

export function encodeNews(news: News): Buffer {
  return Buffer.from(bencode.encode({ ih: Buffer.from(news.infohash, "hex"), seq: news.seq }))
}

/** @throws {GridError} PEER_MISBEHAVED */
export function decodeNews(payload: Buffer): News {
  const { value, end } = readBencoded(payload)
  const fields = dictionary(value)
  const seq = wholeNumber(fields.get("seq"), 0, Number.MAX_SAFE_INTEGER)
  const ih = fields.get("ih")
  if (seq === null || !Buffer.isBuffer(ih) || ih.length !== 20 || end !== payload.length) refuse("news out of form")
  return { seq, infohash: infohash(ih.toString("hex")) }
}

/** The number of a piece that is held no more (BEP 54). */
export function encodeDontHave(piece: number): Buffer {
  const payload = Buffer.alloc(4)
  payload.writeUInt32BE(piece)
  return payload
}

/** @throws {GridError} PEER_MISBEHAVED */
export function decodeDontHave(payload: Buffer): number {
  if (payload.length !== 4) refuse(`word of a forgotten piece in ${payload.length} bytes`)
  return payload.readUInt32BE()
}

/** IPv4 alone has a compact form here; other addresses are left out. */
function compact(address: Address): Buffer {
  const parts = IPV4.exec(address.host)
  if (parts === null) return Buffer.alloc(0)
  const bytes = Buffer.from([...parts.slice(1).map(Number), 0, 0])
  bytes.writeUInt16BE(address.port, 4)
  return bytes
}

function dictionary(value: Bencoded): ReadonlyMap<string, Bencoded> {
  if (!(value instanceof Map)) refuse("expected a dictionary")
  return value as ReadonlyMap<string, Bencoded>
}

function wholeNumber(value: Bencoded | undefined, lowest: number, highest: number): number | null {
  return typeof value === "number" && value >= lowest && value <= highest ? value : null
}

function refuse(detail: string): never {
  throw new GridError("PEER_MISBEHAVED", detail)
}
