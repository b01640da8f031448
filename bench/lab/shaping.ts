/**
 * How a link is given its rate: a token bucket (tc tbf) in front of each direction, with a queue as a switch port has, that drops what does not fit.
 * The bucket is small, so that the rate holds over a few milliseconds, and large enough that a timer that comes late costs no throughput.
 */

/** A full frame as the bucket counts it: 1,500 bytes of IP and the Ethernet header. */
const FRAME_BYTES = 1_514
const BURST_MS = 5
const BURST_FRAMES_MIN = 10
const QUEUE_MS = 75
const QUEUE_FRAMES_MIN = 32

export type Shaping = {
  readonly bitsPerSecond: number
  /** What may leave at once after a pause. */
  readonly burstBytes: number
  /** What may wait; more is dropped from the tail. */
  readonly queueBytes: number
}

export function shapingOf(bytesPerSecond: number): Shaping {
  return {
    bitsPerSecond: Math.round(bytesPerSecond * 8),
    burstBytes: Math.max(Math.ceil((bytesPerSecond * BURST_MS) / 1_000), BURST_FRAMES_MIN * FRAME_BYTES),
    queueBytes: Math.max(Math.ceil((bytesPerSecond * QUEUE_MS) / 1_000), QUEUE_FRAMES_MIN * FRAME_BYTES),
  }
}

/** One line for `tc -batch`. */
export function shapingLine(device: string, bytesPerSecond: number): string {
  const { bitsPerSecond, burstBytes, queueBytes } = shapingOf(bytesPerSecond)
  return `qdisc replace dev ${device} root tbf rate ${bitsPerSecond}bit burst ${burstBytes} limit ${queueBytes}`
}

/** For people: what the hosts' links were given. */
export function describeShaping(bytesPerSecond: number): string {
  const { bitsPerSecond, burstBytes, queueBytes } = shapingOf(bytesPerSecond)
  return `tbf ${bitsPerSecond / 1e6} Mbit/s each way, burst ${burstBytes} B, queue ${queueBytes} B (${Math.round((queueBytes / bytesPerSecond) * 1_000)} ms), 1,514-byte frames`
}
