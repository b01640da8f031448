/** Bytes over each host's link, and over each site's to the others, while a run lasts, from the counters of the bridge's interfaces: one small file read a few times a second. */
import { readFileSync } from "node:fs"
import { deviceOf, wideAreaDevice } from "./network.ts"
import type { LabHost } from "./hosts.ts"
import { machineMs } from "./peer-protocol.ts"

const SAMPLE_MS = 250

/** Of one host, since its link was made: frames with their headers, as the shaping counts them. */
export type LinkBytes = { readonly sentBytes: number; readonly receivedBytes: number }

export type LinkSample = {
  readonly atMs: number
  /** In the order of the hosts. */
  readonly links: readonly LinkBytes[]
  /** Of each site's wide-area link; empty where there is but one site. */
  readonly sites: readonly LinkBytes[]
}

/** Reads /proc/net/dev. What a host receives is what the bridge's end of its link transmits. */
export function parseLinkBytes(text: string, hosts: readonly Pick<LabHost, "number">[]): LinkBytes[] {
  const counters = countersOf(text)
  return hosts.map((host) => {
    const { received = 0, transmitted = 0 } = counters.get(deviceOf(host)) ?? {}
    return { sentBytes: received, receivedBytes: transmitted }
  })
}

/** The same of sites: what one sends is what its own end of its wide-area link transmits. */
export function parseSiteBytes(text: string, sites: readonly number[]): LinkBytes[] {
  const counters = countersOf(text)
  return sites.map((site) => {
    const { received = 0, transmitted = 0 } = counters.get(wideAreaDevice(site)) ?? {}
    return { sentBytes: transmitted, receivedBytes: received }
  })
}

/** By device. */
function countersOf(text: string): ReadonlyMap<string, { readonly received: number; readonly transmitted: number }> {
  const byDevice = new Map<string, { readonly received: number; readonly transmitted: number }>()
  for (const line of text.split("\n")) {
    const [device, counters] = line.split(":")
    const fields = counters?.trim().split(/\s+/)
    if (device !== undefined && fields !== undefined && fields.length >= 16)
      byDevice.set(device.trim(), { received: Number(fields[0]), transmitted: Number(fields[8]) })
  }
  return byDevice
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
    const text = readFileSync(this.#path, "utf8")
    const sites = [...new Set(this.#hosts.map(({ site }) => site))]
    this.samples.push({
      atMs: machineMs(),
      links: parseLinkBytes(text, this.#hosts),
      sites: sites.length > 1 ? parseSiteBytes(text, sites) : [],
    })
  }
}
