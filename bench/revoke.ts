/**
 * `npm run bench:revoke`: how long after a revocation the last member still lets the revoked one in. Two servers (real programs) and 18 clients (one
 * process for each side of the partition) hold one layer and go on running; one client's certificate is used to connect to all others again and
 * again; then it is revoked. Once with all connected, and, as root, once with the servers' half and the other half of the members parted for a while
 * around the revocation (network namespaces, bench/lab/network.ts). Options: --clients N (18), --partition SECONDS (20).
 */
import { spawn, type ChildProcess } from "node:child_process"
import { once } from "node:events"
import { mkdir, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as pause } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { formatAddress } from "#core/address.ts"
import type { LabHost } from "./lab/hosts.ts"
import { clearLeftovers, labName } from "./lab/leftovers.ts"
import { LabNetwork } from "./lab/network.ts"
import { makeSite, type Listen, type MadeSite } from "./revoke/site.ts"

const SETTLE_MS = 15_000
/** All refuse, and none has changed its mind for this long. */
const QUIET_MS = 5_000
const LIMIT_MS = 240_000
/** From the parting to the revocation. */
const PARTED_BEFORE_MS = 3_000
const BYTES_PER_SECOND = 125_000_000
const PORT_BASE = 24_000

type Place = "near" | "far" | "victim"
type Refusals = ReadonlyMap<string, number>
type Victim = { readonly admitting: Set<string>; readonly refusedAtMs: Map<string, number>; lastChangeMs: number }

const { values } = parseArgs({ options: { clients: { type: "string", default: "18" }, partition: { type: "string", default: "20" } } })
const clientCount = Number(values.clients)
const partitionMs = Number(values.partition) * 1_000
if (!(clientCount >= 3 && clientCount <= 200) || !(partitionMs > PARTED_BEFORE_MS)) {
  console.error("bench:revoke takes --clients, from 3 to 200, and --partition, more than 3 seconds")
  process.exit(64)
}

/** Where everything runs: with root three hosts on a network of their own, else this machine's loopback. */
class Ground {
  readonly network: LabNetwork | null
  readonly #hosts: Readonly<Record<Place, LabHost>>
  #nextPort = PORT_BASE

  private constructor(network: LabNetwork | null, hosts: Readonly<Record<Place, LabHost>>) {
    this.network = network
    this.#hosts = hosts
  }

  static async create(): Promise<Ground> {
    const rooted = process.getuid?.() === 0
    const host = (number: number): LabHost => ({
      number,
      role: "host",
      member: "client",
      site: 0,
      fate: "usual",
      startMs: 0,
      host: rooted ? `10.77.0.${number}` : "127.0.0.1",
      upBytesPerSecond: BYTES_PER_SECOND,
      downBytesPerSecond: BYTES_PER_SECOND,
    })
    const hosts = { near: host(1), far: host(2), victim: host(3) }
    const options = { congestion: "cubic", offload: true, delayMs: 0, loss: 0 }
    return new Ground(rooted ? await LabNetwork.create(Object.values(hosts), options) : null, hosts)
  }

  listen(place: Place): Listen {
    const { host } = this.#hosts[place]
    const at = () => ({ host, port: (this.#nextPort += 1) })
    return { api: at(), swarm: at(), dht: at() }
  }

  /** Runs a TypeScript program there. */
  start(place: Place, program: string, words: readonly string[]): ChildProcess {
    const path = fileURLToPath(new URL(program, import.meta.url))
    const node = [process.execPath, path, ...words]
    const [first = "", ...rest] = this.network === null ? node : ["nsenter", ...this.network.enter(this.#hosts[place]), ...node]
    return spawn(first, rest, { stdio: ["pipe", "pipe", "ignore"] })
  }

  async part(how: "apart" | "joined"): Promise<void> {
    await this.network?.part([this.#hosts.near, this.#hosts.far], how)
  }
}

/** A program that speaks in JSON, a line each. */
class Speaker {
  readonly #child: ChildProcess
  readonly #name: string
  readonly #said: Record<string, unknown>[] = []
  readonly #exit: Promise<unknown>
  #heard = Promise.withResolvers<null>()

  constructor(name: string, child: ChildProcess) {
    this.#name = name
    this.#child = child
    this.#exit = once(child, "exit")
    if (child.stdout !== null)
      createInterface({ input: child.stdout }).on("line", (line) => {
        this.#said.push(JSON.parse(line) as Record<string, unknown>)
        this.#heard.resolve(null)
        this.#heard = Promise.withResolvers()
      })
    child.stdin?.on("error", () => undefined)
  }

  onLine(listener: (said: Record<string, unknown>) => void): void {
    if (this.#child.stdout !== null)
      createInterface({ input: this.#child.stdout }).on("line", (line) => listener(JSON.parse(line) as Record<string, unknown>))
  }

  /** The first thing said that has this field. */
  async said(field: string, signal: AbortSignal): Promise<Record<string, unknown>> {
    const aborted = Promise.withResolvers<never>()
    const stop = () => aborted.reject(signal.reason)
    signal.addEventListener("abort", stop)
    const ended = this.#exit.then(() => Promise.reject(new Error(`${this.#name} ended before its time`)))
    ended.catch(() => undefined)
    try {
      for (;;) {
        signal.throwIfAborted()
        const found = this.#said.find((one) => field in one)
        if (found !== undefined) return found
        await Promise.race([this.#heard.promise, ended, aborted.promise])
      }
    } finally {
      signal.removeEventListener("abort", stop)
      aborted.promise.catch(() => undefined)
    }
  }

  tell(line: string): void {
    this.#child.stdin?.write(`${line}\n`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill("SIGKILL")
    await this.#exit
  }
}

async function play(directory: string, parted: boolean, signal: AbortSignal): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const ground = await Ground.create()
  const { network } = ground
  if (network !== null) stack.use(network)
  const servers = [ground.listen("near"), ground.listen("near")] as const
  // The first is the victim; of the others every second one is far.
  const places = Array.from({ length: clientCount }, (_, index): Place => (index === 0 ? "victim" : index % 2 === 0 ? "near" : "far"))
  const clients = places.map((place) => ground.listen(place))
  const site = await makeSite(directory, servers, clients)
  const run = (name: string, place: Place, program: string, words: readonly string[]) =>
    stack.use(new Speaker(name, ground.start(place, program, words)))

  for (const server of site.servers) {
    const program = run("server run", "near", "../cli/main.ts", ["server", "run", "--home", server.directory, "--json"])
    await program.said("memberId", signal)
  }
  const homesAt = (place: Place) => site.clients.filter((_, index) => places[index] === place).map(({ directory: home }) => home)
  const near = run("the near clients", "near", "revoke/members.ts", homesAt("near"))
  const far = run("the far clients", "far", "revoke/members.ts", homesAt("far"))
  await Promise.all([near.said("ready", signal), far.said("ready", signal)])
  await pause(SETTLE_MS, undefined, { signal })

  const swarmsAt = (place: Place) => clients.filter((_, index) => places[index] === place).map(({ swarm }) => formatAddress(swarm))
  const nearAddresses = [...servers.map(({ swarm }) => formatAddress(swarm)), ...swarmsAt("near")]
  const farAddresses = swarmsAt("far")
  const victim = watchVictim(run("the victim", "victim", "revoke/victim.ts", [victimHome(site), ...nearAddresses, ...farAddresses]))
  await until(() => victim.admitting.size === nearAddresses.length + farAddresses.length, "the victim is not let in by all", signal)
  if (parted) {
    await ground.part("apart")
    await pause(PARTED_BEFORE_MS, undefined, { signal })
  }
  near.tell(`revoke ${site.servers[0].directory} ${site.clients[0]?.memberId}`)
  const { appliedAtMs } = await near.said("appliedAtMs", signal)
  const appliedMs = Number(appliedAtMs)
  let healedMs = appliedMs
  if (parted) {
    await pause(partitionMs - PARTED_BEFORE_MS, undefined, { signal })
    const stillAdmitting = farAddresses.filter((at) => victim.admitting.has(at)).length
    await ground.part("joined")
    healedMs = Date.now()
    console.log(`parted: ${stillAdmitting} of ${farAddresses.length} far members still admitted it when the partition healed`)
  }
  await until(
    () => victim.admitting.size === 0 && Date.now() - victim.lastChangeMs > QUIET_MS,
    "some still admit the victim after four minutes",
    signal,
  )
  if (!parted) return report("all connected, from the change", [...nearAddresses, ...farAddresses], victim.refusedAtMs, appliedMs)
  report("the servers' side, from the change", nearAddresses, victim.refusedAtMs, appliedMs)
  report("the other side, from the healing", farAddresses, victim.refusedAtMs, healedMs)
}

function victimHome(site: MadeSite): string {
  const [victim] = site.clients
  if (victim === undefined) throw new Error("there is no client")
  return victim.directory
}

function watchVictim(speaker: Speaker): Victim {
  const victim: Victim = { admitting: new Set(), refusedAtMs: new Map(), lastChangeMs: Date.now() }
  speaker.onLine(({ address, admitted, atMs }) => {
    const at = String(address)
    victim.lastChangeMs = Number(atMs)
    if (admitted === true) victim.admitting.add(at)
    else if (victim.admitting.delete(at)) victim.refusedAtMs.set(at, Number(atMs))
  })
  return victim
}

function report(what: string, addresses: readonly string[], refusals: Refusals, fromMs: number): void {
  const seconds = addresses.map((at) => ((refusals.get(at) ?? Number.NaN) - fromMs) / 1_000).sort((a, b) => a - b)
  const median = seconds[Math.floor(seconds.length / 2)]
  console.log(
    `${what}: ${seconds.length} members refuse after min ${inSeconds(seconds[0])} s, median ${inSeconds(median)} s, max ${inSeconds(seconds.at(-1))} s`,
  )
}

function inSeconds(value: number | undefined): string {
  return (value ?? Number.NaN).toFixed(2)
}

async function until(holds: () => boolean, complaint: string, signal: AbortSignal): Promise<void> {
  const endMs = Date.now() + LIMIT_MS
  while (!holds()) {
    if (Date.now() > endMs) throw new Error(complaint)
    await pause(100, undefined, { signal })
  }
}

const ending = new AbortController()
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => ending.abort(new Error(name)))
const rooted = process.getuid?.() === 0
if (rooted) await clearLeftovers(tmpdir())
const directory = join(tmpdir(), labName(process.pid, "revoke"))
try {
  for (const parted of rooted ? [false, true] : [false]) {
    await mkdir(directory)
    await play(directory, parted, ending.signal)
    await rm(directory, { recursive: true })
  }
  if (!rooted) console.log("the partition is not played: it takes root, for network namespaces")
} catch (error) {
  console.error(`bench:revoke: ${ending.signal.aborted ? "interrupted" : error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
} finally {
  await rm(directory, { recursive: true, force: true })
}
