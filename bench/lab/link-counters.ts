/** Bytes over each host's link while a run lasts, from the counters of the bridge's interfaces: one small file read a few times a second. */
import { readFileSync } from "node:fs"
import { deviceOf } from "./network.ts"
import type { LabHost } from "./hosts.ts"
import { machineMs } from "./peer-protocol.ts"

const SAMPLE_MS = 250

/** Of one host, since its link was made: frames with their headers, as the shaping counts them. */
export type LinkBytes = { readonly sentBytes: number; readonly receivedBytes: number }

export type LinkSample = {
  readonly atMs: number
  /** In the order of the hosts. */
  readonly links: readonly LinkBytes[]
}

/** Reads /proc/net/dev. What a host receives is what the bridge's end of its link transmits. */
export function parseLinkBytes(text: string, hosts: readonly Pick<LabHost, "number">[]): LinkBytes[] {
  const byDevice = new Map<string, LinkBytes>()
  for (const line of text.split("\n")) {
    const [device, counters] = line.split(":")
    const fields = counters?.trim().split(/\s+/)
    if (device !== undefined && fields !== undefined && fields.length >= 16)
      byDevice.set(device.trim(), { sentBytes: Number(fields[0]), receivedBytes: Number(fields[8]) })
  }
  return hosts.map((host) => byDevice.get(deviceOf(host)) ?? { sentBytes: 0, receivedBytes: 0 })
}

export class LinkCounters {
  readonly samples: LinkSample[] = []
  readonly #path: string
  readonly #hosts: readonly LabHost[]
  #timer: NodeJS.Timeout | null = null

  /** `pid`: of a process in the bridge's namespace. */
  constructor(pid: number, hosts: readonly LabHost[]) {
    this.#path = `/proc/${pid}/net/dev`
    this.#hosts = hosts
  }

  start(): void {
    this.#sample()
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS)
  }

  /** Takes a last sample. Doing it again is harmless. */
  stop(): void {
    if (this.#timer === null) return
    clearInterval(this.#timer)
    this.#timer = null
    this.#sample()
  }

  #sample(): void {
    this.samples.push({ atMs: machineMs(), links: parseLinkBytes(readFileSync(this.#path, "utf8"), this.#hosts) })
  }
}
