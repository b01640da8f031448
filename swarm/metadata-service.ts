/** Serves the info dictionary to admitted members (BEP 9), within a bound for each connection. */
import type { Torrent } from "#core/torrent.ts"
import type { Connection } from "./connection.ts"
import { decodeMetadataMessage, encodeMetadataMessage, METADATA_PART_BYTES } from "./extensions.ts"

/** One connection may fetch the whole this many times. */
const REPEATS_MAX = 4
/** No more is queued for a peer that leaves this much unread. */
const UNSENT_BYTES_MAX = 512 * 1024

export class MetadataService {
  readonly #torrent: Torrent
  readonly #connection: Connection
  #served = 0

  constructor(torrent: Torrent, connection: Connection) {
    this.#torrent = torrent
    this.#connection = connection
  }

  /**
   * Answers one message, under the number that the peer takes answers under; null when it takes none.
   * @throws {GridError} PEER_MISBEHAVED
   */
  take(payload: Buffer, answerAs: number | null): void {
    const message = decodeMetadataMessage(payload)
    if (message?.type !== "request" || answerAs === null) return
    const { part } = message
    const { infoBytes } = this.#torrent
    const partCount = Math.ceil(infoBytes.length / METADATA_PART_BYTES)
    const refused = part >= partCount || this.#served >= partCount * REPEATS_MAX || this.#connection.unsentBytes > UNSENT_BYTES_MAX
    if (!refused) this.#served += 1
    const bytes = infoBytes.subarray(part * METADATA_PART_BYTES, (part + 1) * METADATA_PART_BYTES)
    this.#connection.sendExtended(
      answerAs,
      encodeMetadataMessage(refused ? { type: "reject", part } : { type: "data", part, totalBytes: infoBytes.length, bytes }),
    )
  }
}
