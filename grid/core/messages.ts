/**
 * What two servers say in an exchange of documents, and what is gossiped: CBOR (RFC 8949) arrays that begin with a number for what they are. Whatever
 * is not of a form that this writes is refused.
 */
import { decode, encode } from "cborg"
import { GridError, reasonOf } from "#core/errors.ts"
import { memberId, type MemberId } from "#core/identifiers.ts"
import { documentKinds, DATA_BYTES_MAX, kindNumber, SIGNATURE_BYTES, type DocumentKind, type ServerDocument } from "./documents.ts"
import { DIGEST_PREFIX_BYTES, ENTRIES_MAX, SERVERS_MAX, type VersionEntry, type VersionVector } from "./document-set.ts"

/** Of the data in one message of documents; the first document is in it however large it is. */
export const BATCH_BYTES_MAX = 768 * 1024
/** Documents in one message, and documents asked for at once. */
export const BATCH_DOCUMENTS_MAX = 1_000
/** Of any message. */
export const MESSAGE_BYTES_MAX = 1024 * 1024
export const HINT_BYTES_MAX = 16

/** One document that is asked for. */
export type Want = Pick<VersionEntry, "memberId" | "kind">

export type ExchangeMessage =
  /** Opens an exchange: the summary of what the sender has. */
  | { readonly is: "hello"; readonly summary: Uint8Array }
  /** Ends it: the summaries are equal. */
  | { readonly is: "same" }
  | { readonly is: "vector"; readonly vector: VersionVector }
  /** An empty one ends the asking. */
  | { readonly is: "want"; readonly wants: readonly Want[] }
  | { readonly is: "documents"; readonly documents: readonly ServerDocument[] }

const HELLO = 0
const SAME = 1
const VECTOR = 2
const WANT = 3
const DOCUMENTS = 4
const SUMMARY_BYTES = 32
const MEMBER_ID_BYTES = 16

/** @throws {RangeError} where it is larger than others take */
export function writeMessage(message: ExchangeMessage): Uint8Array {
  const bytes = encode(bareMessage(message))
  if (bytes.length > MESSAGE_BYTES_MAX) throw new RangeError(`a message has ${MESSAGE_BYTES_MAX} bytes at most, not ${bytes.length}`)
  return bytes
}

function bareMessage(message: ExchangeMessage): unknown {
  if (message.is === "hello") return [HELLO, message.summary]
  if (message.is === "same") return [SAME]
  if (message.is === "vector")
    return [VECTOR, byMember(message.vector, ({ kind, seq, digest }) => [kindNumber(kind), seq, Buffer.from(digest, "hex")])]
  if (message.is === "want") return [WANT, byMember(message.wants, ({ kind }) => kindNumber(kind))]
  const documents = message.documents.map(({ memberId: id, kind, seq, data, signature }) => {
    return [Buffer.from(id, "hex"), kindNumber(kind), seq, data, signature]
  })
  return [DOCUMENTS, documents]
}

/** Pairs of a member id and what is said of that member. */
function byMember<Item extends Want>(items: readonly Item[], bare: (item: Item) => unknown): unknown {
  const members = new Map<MemberId, unknown[]>()
  for (const item of items) {
    const known = members.get(item.memberId)
    if (known === undefined) members.set(item.memberId, [bare(item)])
    else known.push(bare(item))
  }
  return [...members].map(([id, said]) => [Buffer.from(id, "hex"), said])
}

/** @throws {GridError} PEER_MISBEHAVED */
export function readMessage(bytes: Uint8Array): ExchangeMessage {
  const parts = list(read(bytes, MESSAGE_BYTES_MAX), 2)
  const [kind, body] = parts
  if (kind === SAME && parts.length === 1) return { is: "same" }
  if (parts.length !== 2) return refuse("a message out of form")
  if (kind === HELLO) return { is: "hello", summary: blob(body, SUMMARY_BYTES) }
  if (kind === VECTOR) return { is: "vector", vector: readVector(body) }
  if (kind === WANT) return { is: "want", wants: readWants(body) }
  if (kind === DOCUMENTS) return { is: "documents", documents: list(body, BATCH_DOCUMENTS_MAX).map(readDocument) }
  return refuse("a message of no known kind")
}

function readVector(body: unknown): VersionVector {
  const entries = list(body, SERVERS_MAX).flatMap((pair) => {
    const [id, versions] = tuple(pair, 2)
    const member = readMemberId(id)
    return list(versions, documentKinds.length).map((version): VersionEntry => {
      const [kind, seq, digest] = tuple(version, 3)
      return { memberId: member, kind: readKind(kind), seq: whole(seq), digest: hex(blob(digest, DIGEST_PREFIX_BYTES)) }
    })
  })
  requireDistinct(entries)
  return entries
}

function readWants(body: unknown): Want[] {
  const wants = list(body, SERVERS_MAX).flatMap((pair) => {
    const [id, kinds] = tuple(pair, 2)
    const member = readMemberId(id)
    return list(kinds, documentKinds.length).map((kind): Want => ({ memberId: member, kind: readKind(kind) }))
  })
  if (wants.length > BATCH_DOCUMENTS_MAX) refuse(`${wants.length} documents asked for at once`)
  requireDistinct(wants)
  return wants
}

function readDocument(bare: unknown): ServerDocument {
  const [id, kind, seq, data, signature] = tuple(bare, 5)
  if (!(data instanceof Uint8Array) || data.length > DATA_BYTES_MAX) return refuse("a document out of form")
  return {
    memberId: readMemberId(id),
    kind: readKind(kind),
    seq: whole(seq),
    data,
    signature: blob(signature, SIGNATURE_BYTES),
  }
}

/** What is gossiped: the greatest `seq` of the sender's own documents. Never trusted further than to go and look. */
export function writeHint(seq: number): Uint8Array {
  return encode([seq])
}

/** @throws {GridError} PEER_MISBEHAVED */
export function readHint(bytes: Uint8Array): number {
  const [seq] = tuple(read(bytes, HINT_BYTES_MAX), 1)
  return whole(seq)
}

function read(bytes: Uint8Array, maxBytes: number): unknown {
  if (bytes.length > maxBytes) refuse(`${bytes.length} bytes where ${maxBytes} are taken`)
  try {
    return decode(bytes, {
      strict: true,
      allowIndefinite: false,
      allowUndefined: false,
      allowInfinity: false,
      allowNaN: false,
      allowBigInt: false,
      useMaps: true,
    }) as unknown
  } catch (cause) {
    // Among others a RangeError: arrays within arrays until the stack ends.
    throw new GridError("PEER_MISBEHAVED", `not CBOR as it is written here: ${reasonOf(cause)}`, { cause })
  }
}

function list(value: unknown, maxItems: number): readonly unknown[] {
  if (!Array.isArray(value) || value.length > maxItems) return refuse("not a list, or too long a one")
  return value
}

function tuple(value: unknown, length: number): readonly unknown[] {
  const items = list(value, length)
  return items.length === length ? items : refuse(`${items.length} parts where ${length} are written`)
}

function blob(value: unknown, length: number): Uint8Array {
  if (!(value instanceof Uint8Array) || value.length !== length) return refuse(`not ${length} bytes`)
  return value
}

function whole(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) return refuse("not a whole number")
  return value
}

function readMemberId(value: unknown): MemberId {
  return memberId(hex(blob(value, MEMBER_ID_BYTES)))
}

function readKind(value: unknown): DocumentKind {
  return documentKinds[whole(value)] ?? refuse("a kind of document that there is not")
}

function requireDistinct(items: readonly Want[]): void {
  if (items.length > ENTRIES_MAX || new Set(items.map(({ memberId: id, kind }) => `${id} ${kind}`)).size !== items.length)
    refuse("one document named twice")
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex")
}

function refuse(what: string): never {
  throw new GridError("PEER_MISBEHAVED", `in an exchange of documents: ${what}`)
}
