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

const DELAYED_FRAMES_MAX = 10_000

// Classic BPF, linux/bpf_common.h and linux/filter.h.
const LOAD_ABSOLUTE = 0x20
const JUMP_IF_AT_LEAST = 0x35
const RETURN = 0x06
const RANDOM_OFFSET = 0xfffff038
const MATCH = 0xffffffff

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
  return `qdisc replace dev ${device} root handle 1: tbf rate ${bitsPerSecond}bit burst ${burstBytes} limit ${queueBytes}`
}

/** One line for `tc -batch`: delays what the shaped device sends. A queue with a delay of its own counts packets: as many as can be on their way. */
export function delayLine(device: string, delayMs: number): string {
  return `qdisc add dev ${device} parent 1: netem delay ${delayMs}ms limit ${DELAYED_FRAMES_MAX}`
}

/**
 * Lines for `tc -batch` that lose this share of what comes in at `device`, at random: a classic BPF program draws a number for each packet (SKF_AD_RANDOM), and the ones that
 * lose are sent into `sink`. It needs no netem.
 */
export function lossLines(device: string, share: number, sink: string): string[] {
  const threshold = Math.round(share * 2 ** 32)
  const program = `4,${LOAD_ABSOLUTE} 0 0 ${RANDOM_OFFSET},${JUMP_IF_AT_LEAST} 0 1 ${threshold},${RETURN} 0 0 0,${RETURN} 0 0 ${MATCH}`
  return [
    `qdisc add dev ${device} clsact`,
    `filter add dev ${device} ingress protocol all bpf bytecode '${program}' action mirred egress redirect dev ${sink}`,
  ]
}

/** For people: what the hosts' links were given. */
export function describeShaping(bytesPerSecond: number): string {
  const { bitsPerSecond, burstBytes, queueBytes } = shapingOf(bytesPerSecond)
  return `tbf ${bitsPerSecond / 1e6} Mbit/s each way, burst ${burstBytes} B, queue ${queueBytes} B (${Math.round((queueBytes / bytesPerSecond) * 1_000)} ms), 1,514-byte frames`
}
