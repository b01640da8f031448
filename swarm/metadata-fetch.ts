/** Fetches an info dictionary from one peer (BEP 9). What comes is of no use until its SHA-1 is the infohash. */
import { createHash } from "node:crypto"
import { GridError } from "#core/errors.ts"
import type { Infohash } from "#core/identifiers.ts"
import { INFO_BYTES_MAX, parseTorrent, type Torrent } from "#core/torrent.ts"
import type { Connection } from "./connection.ts"
import {
  decodeIntroduction,
  decodeMetadataMessage,
  encodeIntroduction,
  encodeMetadataMessage,
  EXTENDED_HANDSHAKE,
  METADATA,
  METADATA_PART_BYTES,
} from "./extensions.ts"
import type { WireMessage } from "./wire.ts"

/** Requests under way. */
const PARTS_IN_FLIGHT = 8
/** Without a part for this long the peer is given up. */
const PART_TIMEOUT_MS = 10_000
/** All of it has come by then, or the peer is given up however steadily it drips. */
const WHOLE_TIMEOUT_MS = 60_000

/**
 * Consumes the connection.
 * @throws {GridError} PEER_MISBEHAVED, SEEDERS_MISSING when the peer has no metadata or goes silent
 * @throws the signal's reason
 */
export async function fetchMetadata(connection: Connection, infohash: Infohash, listenPort: number, signal: AbortSignal): Promise<Torrent> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const parts: (Buffer | undefined)[] = []
  let answerAs = 0
  let partCount = 0
  let asked = 0
  let received = 0
  let totalBytes = 0
  const timer = setTimeout(() => reject(new GridError("SEEDERS_MISSING", "the peer sends no metadata")), PART_TIMEOUT_MS)
  const deadline = setTimeout(() => reject(new GridError("SEEDERS_MISSING", "the peer sends its metadata too slowly")), WHOLE_TIMEOUT_MS)

  function ask(): void {
    while (asked < partCount && asked - received < PARTS_IN_FLIGHT) {
      connection.sendExtended(answerAs, encodeMetadataMessage({ type: "request", part: asked }))
      asked += 1
    }
  }

  function takeIntroduction(payload: Buffer): void {
    const { metadata, metadataBytes } = decodeIntroduction(payload)
    if (partCount > 0) throw new GridError("PEER_MISBEHAVED", "introduced itself twice")
    if (metadata === null || metadataBytes === null) throw new GridError("SEEDERS_MISSING", "the peer has no metadata")
    if (metadataBytes > INFO_BYTES_MAX) throw new GridError("PEER_MISBEHAVED", `${metadataBytes} bytes of metadata`)
    answerAs = metadata
    totalBytes = metadataBytes
    partCount = Math.ceil(metadataBytes / METADATA_PART_BYTES)
    ask()
  }

  function takePart(payload: Buffer): void {
    const message = decodeMetadataMessage(payload)
    if (message?.type === "reject") throw new GridError("SEEDERS_MISSING", "the peer refuses its metadata")
    if (message?.type !== "data") return
    const { part, bytes } = message
    if (part >= asked || parts[part] !== undefined) throw new GridError("PEER_MISBEHAVED", "metadata that was not asked for")
    if (bytes.length !== Math.min(METADATA_PART_BYTES, totalBytes - part * METADATA_PART_BYTES))
      throw new GridError("PEER_MISBEHAVED", "metadata part of a wrong length")
    parts[part] = Buffer.from(bytes)
    received += 1
    timer.refresh()
    if (received === partCount) resolve(Buffer.concat(parts.map((whole) => whole ?? Buffer.alloc(0))))
    else ask()
  }

  function take(message: WireMessage): void {
    // What it has and whether it chokes us is of no interest here.
    if (message.type !== "extended") return
    try {
      if (message.id === EXTENDED_HANDSHAKE) takeIntroduction(message.payload)
      else if (message.id === METADATA) takePart(message.payload)
    } catch (error) {
      reject(error instanceof Error ? error : new Error(String(error)))
    }
  }

  const stop = () => reject(signal.reason instanceof Error ? signal.reason : new Error("given up"))
  signal.addEventListener("abort", stop)
  try {
    signal.throwIfAborted()
    connection.send({ type: "have-none" })
    connection.sendExtended(EXTENDED_HANDSHAKE, encodeIntroduction({ listenPort, requestQueueLimit: 1, metadataBytes: null }))
    connection.start({
      message: take,
      closed: (cause) => reject(cause instanceof GridError ? cause : new GridError("SEEDERS_MISSING", "the peer left", { cause })),
    })
    const infoBytes = await promise
    const digest = createHash("sha1").update(infoBytes).digest("hex")
    if (digest !== infohash) throw new GridError("PEER_MISBEHAVED", `metadata of SHA-1 ${digest}, expected ${infohash}`)
    return parseTorrent(infoBytes)
  } finally {
    clearTimeout(timer)
    clearTimeout(deadline)
    signal.removeEventListener("abort", stop)
    connection.close()
  }
}
