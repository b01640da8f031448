/**
 * One exchange of documents between two servers, over messages that go back and forth one at a time: who opened it asks first, then the other. When it has
 * ended well, each has what the other had at its beginning. Nothing that comes is believed but what its server signed.
 */
import { GridError } from "#core/errors.ts"
import type { DocumentSet, VersionVector, Visible } from "./core/document-set.ts"
import type { ServerDocument } from "./core/documents.ts"
import { BATCH_BYTES_MAX, BATCH_DOCUMENTS_MAX, readMessage, writeMessage, type ExchangeMessage, type Want } from "./core/messages.ts"

/** Askings in one exchange; what is left goes into the next. */
const ROUNDS_MAX = 64
/** All of one exchange, at either end. */
export const EXCHANGE_TIMEOUT_MS = 30_000

/** Whole messages to one peer, which the shell bounds in size and time. */
export interface Channel {
  send(message: Uint8Array): Promise<void>
  /** @throws {GridError} PEER_MISBEHAVED where it is larger than MESSAGE_BYTES_MAX */
  receive(): Promise<Uint8Array>
}

export type ExchangeParts = {
  readonly documents: DocumentSet
  /** Whose documents the peer may be told of, and asked for. */
  readonly visible: Visible
  readonly onTaken: (document: ServerDocument) => void
}

/** Resolves with whether there is more to ask for than one exchange brings. @throws {GridError} PEER_MISBEHAVED */
export async function openExchange(channel: Channel, parts: ExchangeParts): Promise<boolean> {
  const { documents, visible } = parts
  await send(channel, { is: "hello", summary: documents.summary(visible) })
  const answer = await receive(channel)
  if (answer.is === "same") return false
  const theirs = vectorIn(answer)
  await send(channel, { is: "vector", vector: documents.vector(visible) })
  const isMore = await ask(channel, theirs, parts)
  await give(channel, parts)
  return isMore
}

/** The other end of it. @throws {GridError} PEER_MISBEHAVED */
export async function answerExchange(channel: Channel, parts: ExchangeParts): Promise<void> {
  const { documents, visible } = parts
  const hello = await receive(channel)
  if (hello.is !== "hello") return unexpected(hello)
  if (documents.summary(visible).equals(hello.summary)) return send(channel, { is: "same" })
  await send(channel, { is: "vector", vector: documents.vector(visible) })
  const theirs = vectorIn(await receive(channel))
  await give(channel, parts)
  await ask(channel, theirs, parts)
}

async function ask(channel: Channel, theirs: VersionVector, { documents, visible, onTaken }: ExchangeParts): Promise<boolean> {
  let lacked: readonly Want[] = documents.lackedHere(theirs, visible)
  for (let round = 0; lacked.length > 0 && round < ROUNDS_MAX; round += 1) {
    const wants = lacked.slice(0, BATCH_DOCUMENTS_MAX)
    await send(channel, { is: "want", wants })
    const answer = await receive(channel)
    if (answer.is !== "documents") return unexpected(answer)
    const wanted = new Set(wants.map(keyOf))
    for (const document of answer.documents) {
      if (!wanted.delete(keyOf(document))) throw new GridError("PEER_MISBEHAVED", "a document came that was not asked for, or twice")
      takeDocument(document, documents, onTaken)
    }
    // Who has nothing of all this forgot it meanwhile, or never had it.
    const isNothing = answer.documents.length === 0
    lacked = isNothing ? [] : [...wants.filter((want) => wanted.has(keyOf(want))), ...lacked.slice(wants.length)]
  }
  await send(channel, { is: "want", wants: [] })
  return lacked.length > 0
}

function takeDocument(document: ServerDocument, documents: DocumentSet, onTaken: (document: ServerDocument) => void): void {
  const taking = documents.take(document)
  if (taking === "forged" || taking === "malformed")
    throw new GridError("PEER_MISBEHAVED", `a ${taking} document ${document.kind} of ${document.memberId} came`)
  if (taking === "taken") onTaken(document)
}

async function give(channel: Channel, { documents, visible }: ExchangeParts): Promise<void> {
  for (let round = 0; round <= ROUNDS_MAX; round += 1) {
    const asking = await receive(channel)
    if (asking.is !== "want") return unexpected(asking)
    if (asking.wants.length === 0) return
    const held = asking.wants.filter(({ memberId }) => visible(memberId)).map(({ memberId, kind }) => documents.get(memberId, kind))
    await send(channel, { is: "documents", documents: batchOf(held.filter((document) => document !== null)) })
  }
  throw new GridError("PEER_MISBEHAVED", `a peer asks more than ${ROUNDS_MAX} times in one exchange`)
}

/** The first of them that one message takes. */
function batchOf(documents: readonly ServerDocument[]): ServerDocument[] {
  const batch: ServerDocument[] = []
  let bytes = 0
  for (const document of documents) {
    bytes += document.data.length
    if (batch.length > 0 && bytes > BATCH_BYTES_MAX) break
    batch.push(document)
  }
  return batch
}

function keyOf({ memberId, kind }: Want): string {
  return `${memberId} ${kind}`
}

function vectorIn(message: ExchangeMessage): VersionVector {
  return message.is === "vector" ? message.vector : unexpected(message)
}

async function send(channel: Channel, message: ExchangeMessage): Promise<void> {
  await channel.send(writeMessage(message))
}

async function receive(channel: Channel): Promise<ExchangeMessage> {
  return readMessage(await channel.receive())
}

function unexpected(message: ExchangeMessage): never {
  throw new GridError("PEER_MISBEHAVED", `'${message.is}' came out of turn in an exchange of documents`)
}
