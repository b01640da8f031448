/**
 * One run: a network is made, every process is up and waits, then the clock starts. Hosts that have the file go on serving until the last one has it. Whatever happens, no
 * process, namespace or file of the run is left when `runTransport` settles.
 */
import { createHash } from "node:crypto"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createReadStream } from "node:fs"
import { mkdir, mkdtemp, rm } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { idealSeconds, type Scenario } from "../scenario.ts"
import { atATime } from "./at-a-time.ts"
import { planHosts, type Fate, type LabHost } from "./hosts.ts"
import { LinkCounters } from "./link-counters.ts"
import { busyShare, cpuTime } from "./machine.ts"
import { LabNetwork } from "./network.ts"
import { PeerProcess } from "./peer-process.ts"
import { machineMs, type PeerReport, type PeerTask } from "./peer-protocol.ts"
import { rateSamples } from "./rate-samples.ts"
import type { HostResult, RunResult } from "./result.ts"
import { LAB_PORT, type LabContent, type Transport } from "./transports/transport.ts"

export type RunParts = {
  readonly transport: Transport
  readonly content: LabContent
  /** A run's files are made in here, and gone after. */
  readonly directory: string
}

export type RunOptions = {
  readonly congestion: string
  readonly offload: boolean
  /** Ends a run that takes longer; null: by the transport's own measure. */
  readonly limitSeconds: number | null
  readonly signal: AbortSignal
}

const SAMPLE_MS = 250
/** Processes that start up at a time. */
const STARTING_AT_A_TIME = 8
const READY_LIMIT_MS = 120_000
const STOP_LIMIT_MS = 30_000
/** Before the clock starts the machine has come to rest, or this time has passed. */
const REST_SHARE = 0.1
const REST_LIMIT_MS = 10_000
const REST_PROBE_MS = 500
const DOOMED: ReadonlySet<Fate> = new Set<Fate>(["killed", "leaving"])

/**
 * @throws {Error} when a peer ended by itself or a host's file is not the one that was given out
 * @throws the signal's reason
 */
export async function runTransport(parts: RunParts, scenario: Scenario, options: RunOptions): Promise<RunResult> {
  const { transport, content } = parts
  const { signal } = options
  const hosts = planHosts(scenario)
  const peers: PeerProcess[] = []
  await using ending = new AsyncDisposableStack()
  const directory = ending.adopt(await mkdtemp(join(parts.directory, `${transport.name}-`)), (path) =>
    rm(path, { recursive: true, force: true }),
  )
  const network = ending.use(await LabNetwork.create(hosts, { ...options, delayMs: scenario.delayMs, loss: scenario.loss }))
  ending.defer(async () => void (await Promise.all(peers.map((peer) => peer.kill()))))
  const seedDirectory = join(directory, "origin")
  await transport.prepare(content, seedDirectory)
  signal.throwIfAborted()

  const listeners = hosts.map(({ host }) => ({ host, port: LAB_PORT }))
  const origins = listeners.slice(0, scenario.origins)
  const startPeer = async (host: LabHost): Promise<void> => {
    const own = host.role === "origin" ? seedDirectory : join(directory, String(host.number))
    await mkdir(own, { recursive: true })
    const task: PeerTask = {
      role: host.role,
      number: host.number,
      listen: { host: host.host, port: LAB_PORT },
      origins,
      all: listeners,
      infoPath: content.infoPath,
      directory: own,
      window: scenario.window,
    }
    const peer = new PeerProcess(host, network.enter(host), transport.command(task, scenario))
    peers.push(peer)
    await within(READY_LIMIT_MS, peer.ready, signal, `${host.role} ${host.number} was not ready`)
  }
  await atATime(STARTING_AT_A_TIME, hosts, startPeer)
  peers.sort((a, b) => a.host.number - b.host.number)
  const holder = await watchBridge(network, ending)
  const machineBusyBefore = await comeToRest(signal)

  const counters = new LinkCounters(holder, hosts)
  ending.defer(() => counters.stop())
  const limitSeconds = options.limitSeconds ?? 10 + idealSeconds(scenario) * transport.limitRatio(scenario)
  const cpuBefore = cpuTime()
  counters.start(SAMPLE_MS)
  const startMs = machineMs()
  for (const peer of peers) if (peer.host.fate !== "late") peer.start()
  const startedAt = new Map<PeerProcess, number>(peers.map((peer) => [peer, startMs]))
  const over = new AbortController()
  const fates = playFates(peers, startedAt, (idealSeconds(scenario) * 1_000) / 2, AbortSignal.any([signal, over.signal]))

  const doneAt = new Map<PeerProcess, number>()
  const awaited = peers.filter(({ host }) => host.role === "host" && host.fate !== "killed")
  const allDone = Promise.all(awaited.map(async (peer) => doneAt.set(peer, await peer.done)))
  // An origin is never done: this one settles when it fails.
  const originFails = Promise.race(peers.filter(({ host }) => host.role === "origin" && host.fate === "usual").map((peer) => peer.done))
  const finished = await inTime(limitSeconds * 1_000, Promise.race([allDone, originFails]), signal)
  const endMs = finished ? Math.max(...doneAt.values()) : machineMs()
  const machineBusy = busyShare(cpuBefore, cpuTime())
  counters.sample()
  counters.stop()
  over.abort()
  await fates

  const reports = await stopAll(peers, signal)
  await requireSameBytes(content, reports, signal)
  const [first, last] = [counters.samples[0], counters.samples.at(-1)]
  const results = peers.map((peer, index): HostResult => {
    const startedMs = startedAt.get(peer) ?? startMs
    const done = doneAt.get(peer)
    const wire = (of: "sentBytes" | "receivedBytes") => (last?.links[index]?.[of] ?? 0) - (first?.links[index]?.[of] ?? 0)
    return {
      number: peer.host.number,
      role: peer.host.role,
      fate: peer.host.fate,
      startedAtSeconds: (startedMs - startMs) / 1_000,
      seconds: done === undefined ? null : (done - startedMs) / 1_000,
      report: reports.get(peer) ?? null,
      wireSentBytes: wire("sentBytes"),
      wireReceivedBytes: wire("receivedBytes"),
    }
  })
  return {
    transport: transport.name,
    scenario,
    outcome: finished ? "finished" : "time-limit",
    seconds: (endMs - startMs) / 1_000,
    machineBusy,
    machineBusyBefore,
    hosts: results,
    rates: rateSamples(counters.samples, SAMPLE_MS / 1_000),
  }
}

/** The id of a process that stands in the bridge's namespace and does nothing: through it the links' counters are read. */
async function watchBridge(network: LabNetwork, ending: AsyncDisposableStack): Promise<number> {
  const holder = spawn("nsenter", [...network.enterBridge(), "cat"], { stdio: ["pipe", "pipe", "inherit"], detached: true })
  const exited = once(holder, "exit")
  ending.defer(async () => {
    holder.stdin.destroy()
    holder.kill("SIGKILL")
    await exited
  })
  // It answers once it is there.
  holder.stdin.write("\n")
  await once(holder.stdout, "data")
  return holder.pid ?? Number.NaN
}

/** How busy the machine was when it had come to rest, or would not: share of all cores, with work that is not this run's. */
async function comeToRest(signal: AbortSignal): Promise<number> {
  const endMs = machineMs() + REST_LIMIT_MS
  for (let before = cpuTime(); ;) {
    await pause(REST_PROBE_MS, undefined, { signal })
    const after = cpuTime()
    const share = busyShare(before, after)
    if (share < REST_SHARE || machineMs() > endMs) return share
    before = after
  }
}

/** Midway, late hosts start and the doomed die; resolves when that was done or `signal` came first. */
async function playFates(
  peers: readonly PeerProcess[],
  startedAt: Map<PeerProcess, number>,
  midwayMs: number,
  signal: AbortSignal,
): Promise<void> {
  try {
    await pause(midwayMs, undefined, { signal })
  } catch {
    return
  }
  for (const peer of peers)
    if (peer.host.fate === "late") {
      startedAt.set(peer, machineMs())
      peer.start()
    }
  await Promise.all(peers.map(async (peer) => DOOMED.has(peer.host.fate) && (await peer.kill())))
}

/** Whether `work` was done in time. @throws what it threw, or the signal's reason */
async function inTime(limitMs: number, work: Promise<unknown>, signal: AbortSignal): Promise<boolean> {
  const over = new AbortController()
  try {
    return await Promise.race([work.then(() => true), pause(limitMs, false, { signal: AbortSignal.any([signal, over.signal]) })])
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    over.abort()
  }
}

async function within<Value>(limitMs: number, work: Promise<Value>, signal: AbortSignal, otherwise: string): Promise<Value> {
  if (!(await inTime(limitMs, work, signal))) throw new Error(`${otherwise} within ${limitMs / 1_000} s`)
  return await work
}

/** Reports of all that are alive; each is gone after. */
async function stopAll(peers: readonly PeerProcess[], signal: AbortSignal): Promise<Map<PeerProcess, PeerReport>> {
  const reports = new Map<PeerProcess, PeerReport>()
  await Promise.all(
    peers.map(async (peer) => {
      if (!peer.running) return
      const { host } = peer
      reports.set(peer, await within(STOP_LIMIT_MS, peer.stop(), signal, `${host.role} ${host.number} did not report`))
      await peer.kill()
    }),
  )
  return reports
}

/** @throws {Error} naming the first host whose file is another */
async function requireSameBytes(content: LabContent, reports: ReadonlyMap<PeerProcess, PeerReport>, signal: AbortSignal): Promise<void> {
  for (const [{ host }, { contentPath }] of reports) {
    if (contentPath === null) continue
    const hash = createHash("sha256")
    for await (const part of createReadStream(contentPath, { highWaterMark: 1 << 20, signal })) hash.update(part as Buffer)
    const digest = hash.digest("hex")
    if (digest !== content.sha256)
      throw new Error(`host ${host.number} stored bytes of SHA-256 ${digest}, and not ${content.sha256}: the run counts for nothing`)
  }
}
