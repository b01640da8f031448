/** Samples of a running swarm: what each host received in each interval, and how many links it had. */
import { idealSeconds, type Scenario } from "../scenario.ts"
import type { SimulatedRates } from "./result.ts"
import type { VirtualHost } from "./virtual-host.ts"
import type { VirtualSwarm } from "./virtual-swarm.ts"

const INTERVALS_OF_IDEAL = 100
/** Hosts whose own rates are kept. */
const HOSTS_MAX = 150
/** A run that takes this many times the ideal has samples to its end; later ones are left out. */
const SAMPLES_MAX = 100 * INTERVALS_OF_IDEAL

export class RateRecorder {
  readonly #swarm: VirtualSwarm
  readonly #intervalMs: number
  readonly #chosen: readonly VirtualHost[]
  /** Bytes so far, at each sample: of the chosen, of all hosts, of the origins. */
  readonly #rows: number[][]
  readonly #all: number[] = [0]
  readonly #origins: number[] = [0]
  #links = 0
  #linkSamples = 0
  #stopped = false

  constructor(swarm: VirtualSwarm, scenario: Scenario) {
    this.#swarm = swarm
    this.#intervalMs = (idealSeconds(scenario) * 1_000) / INTERVALS_OF_IDEAL
    const clients = swarm.hosts.filter((host) => host.wanted)
    const step = Math.max(1, Math.ceil(clients.length / HOSTS_MAX))
    this.#chosen = clients.filter((_, index) => index % step === 0)
    this.#rows = this.#chosen.map(() => [0])
    this.#plan()
  }

  stop(): { readonly linksPerHost: number; readonly rates: SimulatedRates } {
    this.#stopped = true
    const clients = this.#swarm.hosts.filter((host) => host.wanted).length
    const perSecond = (bytes: readonly number[], hosts: number) =>
      bytes.slice(1).map((now, index) => Math.round(((now - (bytes[index] ?? 0)) * 1_000) / this.#intervalMs / Math.max(1, hosts)))
    return {
      linksPerHost: this.#links / Math.max(1, this.#linkSamples),
      rates: {
        intervalSeconds: this.#intervalMs / 1_000,
        meanBytesPerSecond: perSecond(this.#all, clients),
        originBytesPerSecond: perSecond(this.#origins, this.#swarm.hosts.length - clients),
        hosts: this.#chosen.map((host, index) => ({
          number: host.index + 1,
          bytesPerSecond: perSecond(this.#rows[index] ?? [], 1),
        })),
      },
    }
  }

  #plan(): void {
    this.#swarm.at(this.#swarm.nowMs + this.#intervalMs, () => {
      if (this.#stopped) return
      this.#sample()
      if (this.#all.length < SAMPLES_MAX) this.#plan()
    })
  }

  #sample(): void {
    let all = 0
    let origins = 0
    for (const host of this.#swarm.hosts) {
      if (host.wanted) {
        all += host.books.keptBytes
        this.#links += host.links.size
        this.#linkSamples += host.gone ? 0 : 1
      } else origins += host.core.statistics.uploadedBytes
    }
    this.#all.push(all)
    this.#origins.push(origins)
    for (const [index, host] of this.#chosen.entries()) this.#rows[index]?.push(host.books.keptBytes)
  }
}
