/** An exchange's messages over one libp2p stream: each with its length before it (unsigned varint). */
import type { Stream } from "@libp2p/interface"
import { lpStream } from "@libp2p/utils"
import { GridError } from "#core/errors.ts"
import { MESSAGE_BYTES_MAX } from "../core/messages.ts"
import type { Channel } from "../exchange.ts"

/** One message and what libp2p reads beyond it. */
export const STREAM_BUFFER_BYTES_MAX = MESSAGE_BYTES_MAX + 256 * 1024

/** What lpStream says of a length that is not one, or is too large. */
const OUT_OF_FORM = new Set(["InvalidMessageLengthError", "InvalidDataLengthError", "InvalidDataLengthLengthError", "StreamBufferError"])

/** All of it ends with `signal`. */
export function streamChannel(stream: Stream, signal: AbortSignal): Channel {
  const frames = lpStream(stream, { maxDataLength: MESSAGE_BYTES_MAX, maxBufferSize: STREAM_BUFFER_BYTES_MAX })
  return {
    send: (message) => frames.write(message, { signal }),
    async receive() {
      try {
        return (await frames.read({ signal })).subarray()
      } catch (cause) {
        if (cause instanceof Error && OUT_OF_FORM.has(cause.name))
          throw new GridError("PEER_MISBEHAVED", "a message in an exchange of documents has no length, or is too long", { cause })
        throw cause
      }
    },
  }
}
