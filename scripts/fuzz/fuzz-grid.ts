/**
 * A server of a real site, watched from outside: how much memory it has while it is attacked, and how long honest clients take meanwhile. Every
 * program is a process of its own; the attackers are this one.
 */
import { readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { address, formatAddress, type Address } from "#core/address.ts"
import { systemClock } from "#core/clock.ts"
import type { Infohash } from "#core/identifiers.ts"
import { parseTorrent, type Torrent } from "#core/torrent.ts"
import { Dht } from "#swarm/dht.ts"
import type { ChildProgram } from "../../cli/child-program.ts"
import { TestGrid } from "../../test/system/grid.ts"
import { makeTree } from "../../test/system/trees.ts"
import { Counts } from "./counts.ts"
import { fuzzDht } from "./dht.ts"
import { Dice } from "./dice.ts"
import { Identities } from "./identities.ts"
import { fuzzAsMember } from "./members.ts"
import { fuzzAsStranger } from "./strangers.ts"

const MEBIBYTE = 1024 * 1024
/**
 * The server may hold this much more than before the phase, at any moment of it. A server that was idle before grew by 185 to 206 MiB in its first
 * minute of strangers, and by 14 MiB in the 200 s after: what counts against a leak is the creep below.
 */
export const GROWTH_BYTES_MAX = 256 * MEBIBYTE
/** And in the last third of a phase, on average, this much more than in the middle third. */
export const CREEP_BYTES_MAX = 64 * MEBIBYTE
const SAMPLE_EVERY_MS = 100
/** Honest traffic that is not done this long after its phase hangs. */
const HANGS_MS = 180_000
/** A lookup that finds nothing is asked again, as a client does. */
const LOOKUPS_MAX = 20

export const phases = ["before TLS", "after TLS", "DHT"] as const
export type Phase = (typeof phases)[number]

export type PhaseReport = {
  readonly phase: Phase
  readonly sent: Counts
  /** Of each honest deploy, from the start of the program to its end. */
  readonly deployMs: readonly number[]
  /** Of each honest lookup by a newcomer to the DHT. */
  readonly lookupMs: readonly number[]
  readonly residentBytes: {
    readonly start: number
    readonly peak: number
    readonly highWater: number
    readonly end: number
    readonly creep: number
  }
  /** What broke; empty when nothing did. */
  readonly failures: readonly string[]
}

export class FuzzGrid implements AsyncDisposable {
  readonly #grid: TestGrid
  readonly #server: ChildProgram
  readonly #identities: Identities
  readonly #torrents: readonly Torrent[]
  readonly #layer: Infohash
  readonly #layerBytes: number
  readonly #swarm: Address
  readonly #dht: Address
  /** What the server's log says of mistakes of its own: caught, so that it lives, and defects all the same. */
  readonly #defects: string[] = []
  #deploys = 0

  private constructor(
    grid: TestGrid,
    server: ChildProgram,
    identities: Identities,
    torrents: readonly Torrent[],
    at: { swarm: Address; dht: Address },
  ) {
    this.#grid = grid
    this.#server = server
    this.#identities = identities
    this.#torrents = torrents
    const layer = torrents.reduce((a, b) => (b.contentBytes > a.contentBytes ? b : a))
    this.#layer = layer.infohash
    this.#layerBytes = layer.contentBytes
    this.#swarm = at.swarm
    this.#dht = at.dht
    server.onLog((line) => {
      if (/"level":[4-6]0.*"msg":"peer gone"/.test(line) || /"thrown":[1-9]/.test(line)) this.#defects.push(line)
    })
  }

  static async open({ imageBytes }: { readonly imageBytes: number }): Promise<FuzzGrid> {
    await using opening = new AsyncDisposableStack()
    const grid = opening.use(new TestGrid())
    makeTree(grid.home("tree"), imageBytes)
    const server = await grid.site()
    await grid.run(["publish", grid.home("tree"), "os:1", "--home", grid.home("server-1"), "--wait-copies", "1"])
    await grid.joinClient("attacker")
    await grid.joinClient("honest")
    const identities = await Identities.open(grid.home("server-1"), grid.home("attacker"))
    const layers = grid.home("server-1/layers")
    const torrents = readdirSync(layers, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && /^[0-9a-f]{40}$/.test(entry.name))
      .map(({ name }) => parseTorrent(readFileSync(join(layers, name, "info"))))
    const running = await server.event("server-running")
    const made = new FuzzGrid(grid, server, identities, torrents, {
      swarm: address(String(running["swarm"])),
      dht: address(String(running["dht"])),
    })
    opening.move()
    return made
  }

  /** An honest client's whole deploy, everything downloaded anew. @throws when it does not end well */
  async deploy(): Promise<number> {
    this.#deploys += 1
    const target = this.#grid.home(`target-${this.#deploys}`)
    const stage = this.#grid.home(`stage-${this.#deploys}`)
    const startMs = performance.now()
    const places = ["--home", this.#grid.home("honest"), "--target", target, "--stage", stage]
    const program = this.#grid.start(["deploy", "os:1", ...places, "--seed-until", "done"])
    await program.finished()
    const tookMs = performance.now() - startMs
    const { fromOrigins } = await program.event("downloaded")
    if (Number(fromOrigins) < this.#layerBytes) throw new Error(`the honest client got ${String(fromOrigins)} bytes of ${this.#layerBytes}`)
    rmSync(target, { recursive: true })
    rmSync(stage, { recursive: true })
    return tookMs
  }

  /** A newcomer to the DHT finds the server's swarm. @throws when it does not */
  async lookUp(): Promise<number> {
    const startMs = performance.now()
    const node = await Dht.open(
      { networkKeys: [this.#identities.networkKey], clock: systemClock },
      { listen: { host: "127.0.0.1", port: 0 }, bootstrap: [this.#dht] },
    )
    try {
      const wanted = formatAddress(this.#swarm)
      for (let attempt = 0; attempt < LOOKUPS_MAX; attempt += 1)
        if ((await node.lookup(this.#layer)).some((found) => formatAddress(found) === wanted)) return performance.now() - startMs
      throw new Error(`the server's swarm was not found in ${LOOKUPS_MAX} lookups`)
    } finally {
      await node.close()
    }
  }

  /** Attacks for `durationMs`, and until the last honest deploy has ended. Never throws for what it finds: the report says it. */
  async run(phase: Phase, durationMs: number, seed: number): Promise<PhaseReport> {
    const memory = new MemoryWatch(this.#server.pid ?? 0)
    const stop = new AbortController()
    const deployMs: number[] = []
    const lookupMs: number[] = []
    const failures: string[] = []
    const attack = this.#attack(phase, new Dice(`${seed} ${phase}`), stop.signal).catch((error: unknown) => {
      failures.push(`the attack itself broke: ${String(error)}`)
      return new Counts()
    })
    const endsAtMs = performance.now() + durationMs
    // A client waits for a server that is gone, so its end has to be heard of from elsewhere.
    const died = this.#server.ended().then(() => Promise.reject(new Error("the server's process ended")))
    const hung = Promise.withResolvers<never>()
    const timer = setTimeout(() => hung.reject(new Error("it hangs")), durationMs + HANGS_MS)
    try {
      while (performance.now() < endsAtMs && failures.length === 0) {
        deployMs.push(await Promise.race([this.deploy(), died, hung.promise]))
        lookupMs.push(await Promise.race([this.lookUp(), died, hung.promise]))
      }
    } catch (error) {
      failures.push(`honest traffic failed: ${error instanceof Error ? error.message : String(error)}`)
    }
    clearTimeout(timer)
    stop.abort()
    const sent = await attack
    if (!memory.stop()) failures.push("the server's process has ended")
    const residentBytes = memory.report()
    if (this.#defects.length > 0) failures.push(`defects in the log: ${this.#defects.length}, the first: ${this.#defects[0]}`)
    this.#defects.length = 0
    if (residentBytes.peak > residentBytes.start + GROWTH_BYTES_MAX)
      failures.push(`memory grew by ${residentBytes.peak - residentBytes.start} bytes, more than ${GROWTH_BYTES_MAX}`)
    if (residentBytes.creep > CREEP_BYTES_MAX) failures.push(`memory keeps growing: ${residentBytes.creep} bytes in a third of the phase`)
    return { phase, sent, deployMs, lookupMs, residentBytes, failures }
  }

  #attack(phase: Phase, dice: Dice, stop: AbortSignal): Promise<Counts> {
    const identities = this.#identities
    if (phase === "before TLS") return fuzzAsStranger(this.#swarm, dice, stop)
    if (phase === "DHT") return fuzzDht(this.#dht, identities.networkKey, dice, stop)
    return fuzzAsMember(this.#swarm, { identities, torrents: this.#torrents }, dice, stop)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#grid[Symbol.asyncDispose]()
  }
}

/** Resident memory of another process, sampled until stopped. */
class MemoryWatch {
  readonly #pid: number
  readonly #samples: number[] = []
  /** Since the process began, as the kernel counts it. */
  #highWaterBytes = 0
  readonly #timer: NodeJS.Timeout

  constructor(pid: number) {
    this.#pid = pid
    this.#sample()
    this.#timer = setInterval(() => this.#sample(), SAMPLE_EVERY_MS)
  }

  /** Whether the process still lived. */
  stop(): boolean {
    clearInterval(this.#timer)
    const before = this.#samples.length
    this.#sample()
    return this.#samples.length > before
  }

  report(): PhaseReport["residentBytes"] {
    const samples = this.#samples
    const third = Math.floor(samples.length / 3)
    return {
      start: samples[0] ?? 0,
      peak: Math.max(0, ...samples),
      highWater: this.#highWaterBytes,
      end: samples.at(-1) ?? 0,
      creep: mean(samples.slice(-third)) - mean(samples.slice(third, -third)),
    }
  }

  /** Linux alone tells; a process that has ended has none. */
  #sample(): void {
    try {
      const status = readFileSync(`/proc/${this.#pid}/status`, "utf8")
      const bytesOf = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? "0") * 1024
      const resident = bytesOf("VmRSS")
      // A process that has ended and was not yet waited for has a status, and no memory.
      if (resident > 0) this.#samples.push(resident)
      this.#highWaterBytes = Math.max(this.#highWaterBytes, bytesOf("VmHWM"))
    } catch {
      clearInterval(this.#timer)
    }
  }
}

function mean(numbers: readonly number[]): number {
  return numbers.length === 0 ? 0 : numbers.reduce((sum, number) => sum + number, 0) / numbers.length
}

export function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN
}
