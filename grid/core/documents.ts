/**
 * What each server says of itself to all others: signed documents, each a full snapshot of its kind, of which the newest counts. Anyone may pass them
 * on: a document proves by itself whose it is, and which of two is newer.
 */
import { hash } from "node:crypto"
import { Type, type Static } from "typebox"
import { sign, verify, type SigningKey } from "#crypto/identity.ts"
import { Hex16, Hex20, WholeNumber } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { infohash, type Infohash, type MemberId } from "#core/identifiers.ts"
import { parseJson, reader } from "#core/schema.ts"

/** `holdings/D`: the layers held whole whose infohash begins with the hex digit D. `state`: how the server is. */
export type DocumentKind = "state" | `holdings/${string}`

/** In the order by which they are numbered on the wire. */
export const documentKinds: readonly DocumentKind[] = [
  ..."0123456789abcdef".split("").map((digit): DocumentKind => `holdings/${digit}`),
  "state",
]
const numbers: ReadonlyMap<string, number> = new Map(documentKinds.map((kind, number) => [kind, number]))

const INFOHASH_BYTES = 20
/** 13,107 infohashes: with sixteen such documents 104,857 images of two layers each. */
const HOLDINGS_BYTES_MAX = 256 * 1024
const STATE_BYTES_MAX = 64 * 1024
export const SIGNATURE_BYTES = 64
/** Of `data`, whichever kind it is. */
export const DATA_BYTES_MAX = Math.max(HOLDINGS_BYTES_MAX, STATE_BYTES_MAX)
/** How many repairs a server tells of, and how many servers that it doubts. */
const REPAIRING_MAX = 256
const DOUBTS_MAX = 1_000

export type ServerDocument = {
  readonly memberId: MemberId
  readonly kind: DocumentKind
  /** Unix ms of the signing, and at least one more than the last of its kind. */
  readonly seq: number
  readonly data: Uint8Array
  /** Ed25519 by the member's key. */
  readonly signature: Uint8Array
}

/** What a `state` document says. */
export const StateData = Type.Object(
  {
    /** `draining`: serves what it has, takes no more, and its copies do not count. */
    phase: Type.Union([Type.Literal("serving"), Type.Literal("draining")]),
    /** Takes no more; what it has counts. */
    isFull: Type.Boolean(),
    heldBytes: WholeNumber,
    freeBytes: WholeNumber,
    /** Layers that it is fetching. */
    repairing: Type.Array(Hex20, { maxItems: REPAIRING_MAX }),
    /** Servers that failed its audits and have not passed since. */
    doubts: Type.Array(Hex16, { maxItems: DOUBTS_MAX }),
  },
  { additionalProperties: false },
)
export type StateData = Static<typeof StateData>

const readStateShape = reader(StateData, "PEER_MISBEHAVED", "state of a server")

/** The number of a kind on the wire. */
export function kindNumber(kind: DocumentKind): number {
  const number = numbers.get(kind)
  if (number === undefined) throw new TypeError(`there is no kind ${kind}`)
  return number
}

/** The `seq` of the next document of a kind; `previous` is null when there was none. */
export function nextSeq(previous: number | null, nowMs: number): number {
  return Math.max((previous ?? 0) + 1, Math.floor(nowMs))
}

export function signDocument(fields: Omit<ServerDocument, "signature">, key: Pick<SigningKey, "privateKey">): ServerDocument {
  return { ...fields, signature: sign(key, signedBytes(fields)) }
}

export function isSignedBy(document: ServerDocument, signingKeyHex: string): boolean {
  return verify(signingKeyHex, signedBytes(document), document.signature)
}

/** Of everything that is signed; the signature is not in it. */
export function documentDigest(document: Omit<ServerDocument, "signature">): Buffer {
  return hash("sha256", signedBytes(document), "buffer")
}

/** All but the data is of fixed length, so that no two documents have the same bytes. */
function signedBytes({ memberId, kind, seq, data }: Omit<ServerDocument, "signature">): Buffer {
  const fixed = Buffer.alloc(9)
  fixed.writeUInt8(kindNumber(kind))
  fixed.writeBigUInt64BE(BigInt(seq), 1)
  return Buffer.concat([Buffer.from("imagegrid server document\0"), Buffer.from(memberId, "hex"), fixed, data])
}

/** Whether `data` is what a document of this kind may hold. */
export function isWellFormed({ kind, data }: Pick<ServerDocument, "kind" | "data">): boolean {
  try {
    if (kind === "state") readState(data)
    else readHoldings(kind, data)
    return true
  } catch (error) {
    if (error instanceof GridError) return false
    throw error
  }
}

/** The sixteen documents' data of everything that a server holds, by kind. @throws {RangeError} where it holds more than documents take */
export function writeHoldings(held: Iterable<Infohash>): Map<DocumentKind, Buffer> {
  const byKind = new Map<DocumentKind, string[]>(documentKinds.filter((kind) => kind !== "state").map((kind) => [kind, []]))
  for (const one of new Set(held)) byKind.get(`holdings/${one.slice(0, 1)}`)?.push(one)
  return new Map(
    [...byKind].map(([kind, infohashes]) => {
      const data = Buffer.from(infohashes.sort().join(""), "hex")
      if (data.length > HOLDINGS_BYTES_MAX) throw new RangeError(`${kind} takes ${HOLDINGS_BYTES_MAX} bytes, not ${data.length}`)
      return [kind, data]
    }),
  )
}

/** @throws {GridError} PEER_MISBEHAVED */
export function readHoldings(kind: DocumentKind, data: Uint8Array): Infohash[] {
  if (data.length > HOLDINGS_BYTES_MAX || data.length % INFOHASH_BYTES !== 0)
    throw new GridError("PEER_MISBEHAVED", `${kind} of a server has ${data.length} bytes`)
  const hex = Buffer.from(data).toString("hex")
  const digit = kind.slice(-1)
  const held: Infohash[] = []
  for (let at = 0; at < hex.length; at += 2 * INFOHASH_BYTES) {
    const next = infohash(hex.slice(at, at + 2 * INFOHASH_BYTES))
    const last = held.at(-1)
    if (!next.startsWith(digit) || (last !== undefined && last >= next))
      throw new GridError("PEER_MISBEHAVED", `${kind} of a server is not in order at ${next}`)
    held.push(next)
  }
  return held
}

export function writeState(state: StateData): Buffer {
  return Buffer.from(JSON.stringify(readStateShape(state)))
}

/** @throws {GridError} PEER_MISBEHAVED */
export function readState(data: Uint8Array): StateData {
  return readStateShape(parseJson(data, STATE_BYTES_MAX, "PEER_MISBEHAVED", "state of a server"))
}
