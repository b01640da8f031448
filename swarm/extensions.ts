/** Messages of the extension protocol (BEP 10): its handshake, metadata (BEP 9), peer exchange (BEP 11), pieces forgotten (BEP 54) and news of catalogs, between values and bytes. */
import bencode from "bencode"
import type { Address } from "#core/address.ts"
import { infohash, type Infohash } from "#core/identifiers.ts"
import { readBencoded, type Bencoded } from "#core/strict-bencode.ts"
import type { Whereabouts } from "./core/events.ts"
import { addressAt, ADDRESS_BYTES, compact, dictionary, refuse, wholeNumber } from "./extension-values.ts"

/** The numbers under which we take extended messages (BEP 10 `m`). */
export const EXTENDED_HANDSHAKE = 0
export const PEER_EXCHANGE = 1
export const METADATA = 2
export const NEWS = 3
export const SITE = 4
export const DONT_HAVE = 5

/** Bytes of one part of the metadata (BEP 9). */
export const METADATA_PART_BYTES = 16 * 1024

/** A numbered torrent that a member tells its peers of; what it means is the business of the swarm's owner. */
export type News = { readonly seq: number; readonly infohash: Infohash }

/** What the other end takes: `peerExchange`, `metadata`, `news`, `site` and `dontHave` are the numbers to send under, null where it takes none. */
export type Introduction = {
  readonly peerExchange: number | null
  readonly metadata: number | null
  readonly news: number | null
  readonly site: number | null
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
      m: { ig_catalog: NEWS, ig_site: SITE, lt_donthave: DONT_HAVE, ut_metadata: METADATA, ut_pex: PEER_EXCHANGE },
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
    site: wholeNumber(ids.get("ig_site"), 1, 255),
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

/** Bits of `added.f` beyond those of BEP 11: the peer is of the receiver's own site, of another. */
const OF_YOUR_SITE = 0x80
const OF_ANOTHER_SITE = 0x40

/** Addresses by where they are, as the receiver sees it. */
export type ExchangedPeers = { readonly [where in Whereabouts]: readonly Address[] }

export function encodePeerExchange(near: readonly Address[], far: readonly Address[], dropped: readonly Address[]): Buffer {
  const nearBytes = Buffer.concat(near.map(compact))
  const farBytes = Buffer.concat(far.map(compact))
  return Buffer.from(
    bencode.encode({
      added: Buffer.concat([nearBytes, farBytes]),
      "added.f": Buffer.concat([
        Buffer.alloc(nearBytes.length / ADDRESS_BYTES, OF_YOUR_SITE),
        Buffer.alloc(farBytes.length / ADDRESS_BYTES, OF_ANOTHER_SITE),
      ]),
      dropped: Buffer.concat(dropped.map(compact)),
    }),
  )
}

/**
 * The addresses added; those dropped are of no use to us.
 * @throws {GridError} PEER_MISBEHAVED
 */
export function decodePeerExchange(payload: Buffer): ExchangedPeers {
  const fields = dictionary(readBencoded(payload).value)
  const added = fields.get("added") ?? Buffer.alloc(0)
  if (!Buffer.isBuffer(added) || added.length % ADDRESS_BYTES !== 0) refuse("peer exchange out of form")
  const flags = fields.get("added.f") ?? Buffer.alloc(added.length / ADDRESS_BYTES)
  if (!Buffer.isBuffer(flags) || flags.length * ADDRESS_BYTES !== added.length)
    refuse("peer exchange with flags for other peers than it adds")
  const peers = { near: [] as Address[], far: [] as Address[], unknown: [] as Address[] }
  for (const [index, flag] of flags.entries()) {
    const address = addressAt(added, index * ADDRESS_BYTES)
    const where = (flag & OF_YOUR_SITE) !== 0 ? "near" : (flag & OF_ANOTHER_SITE) !== 0 ? "far" : "unknown"
    if (address !== null) peers[where].push(address)
  }
  return peers
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
