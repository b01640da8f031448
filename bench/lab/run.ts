/**
 * One run: a network is made, every process is up and waits, then the clock starts. Hosts that have the file go on serving until the last one has it. Whatever happens, no
 * process, namespace or file of the run is left when `runTransport` settles.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdir, mkdtemp, rm } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { idealSecondsAt, type Scenario } from "../scenario.ts"
import type { SeedingPolicy } from "../seeding.ts"
import { atATime } from "./at-a-time.ts"
import { sha256Of } from "./content.ts"
import { planHosts, type LabHost } from "./hosts.ts"
import { within } from "./in-time.ts"
import { LinkCounters, type LinkBytes } from "./link-counters.ts"
import { busyShare, cpuTime } from "./machine.ts"
import { measure, type Measured } from "./measure.ts"
import { LabNetwork, type NetworkOptions } from "./network.ts"
import { PeerProcess } from "./peer-process.ts"
import { machineMs, type PeerReport } from "./peer-protocol.ts"
import { rateSamples } from "./rate-samples.ts"
import type { HostResult, RunResult } from "./result.ts"
import { LAB_PORT, type LabContent, type Transport } from "./transports/transport.ts"

export type RunParts = {
  readonly transport: Transport
  readonly content: LabContent
  /** A run's files are made in here, and gone after. */
  readonly directory: string
}

export type RunOptions = Pick<NetworkOptions, "congestion" | "offload"> & {
  /** When hosts that have the file leave; null: not before the end. */
  readonly until: SeedingPolicy | null
  /** Ends a run that takes longer; null: by the transport's own measure. */
  readonly limitSeconds: number | null
  /** Before the clock starts the machine has come to rest, or this time has passed. */
  readonly restSeconds: number
  readonly signal: AbortSignal
}

/** Processes that start up at a time. */
const STARTING_AT_A_TIME = 8
const READY_LIMIT_MS = 120_000
const STOP_LIMIT_MS = 30_000
/** Busy for less than this share of all cores, the machine is at rest. */
const REST_SHARE = 0.1
const REST_PROBE_MS = 500

/**
 * @throws {Error} when a peer ended by itself or a host's file is not the one that was given out
 * @throws the signal's reason
 */
export async function runTransport(parts: RunParts, scenario: Scenario, options: RunOptions): Promise<RunResult> {
  const { transport, content } = parts
  const { signal } = options
  const hosts = planHosts(scenario)
  await using ending = new AsyncDisposableStack()
  const directory = ending.adopt(await mkdtemp(join(parts.directory, `${transport.name}-`)), (path) =>
    rm(path, { recursive: true, force: true }),
  )
  const network = ending.use(await LabNetwork.create(hosts, { ...options, ...scenario }))
  const counters = new LinkCounters(await holdBridge(network, ending), hosts)
  const peers: PeerProcess[] = []
  ending.defer(async () => void (await Promise.all(peers.map((peer) => peer.kill()))))

  const seedDirectory = join(directory, "origin")
  await transport.prepare(content, seedDirectory)
  const listeners = hosts.map(({ host }) => ({ host, port: LAB_PORT }))
  await atATime(STARTING_AT_A_TIME, hosts, async (host) => {
    signal.throwIfAborted()
    const own = host.role === "origin" ? seedDirectory : join(directory, String(host.number))
    await mkdir(own, { recursive: true })
    const command = transport.command(
      {
        role: host.role,
        member: host.member,
        site: host.site,
        siteCount: scenario.sites,
        number: host.number,
        listen: { host: host.host, port: LAB_PORT },
        origins: listeners.slice(0, scenario.origins),
        all: listeners,
        infoPath: content.infoPath,
        directory: own,
        window: scenario.window,
        wideAreaBudgetBytesPerSecond: scenario.wideAreaBudgetBytesPerSecond,
        until: options.until,
      },
      scenario,
    )
    const peer = new PeerProcess(host, network.enter(host), command)
    peers.push(peer)
    await within(READY_LIMIT_MS, peer.ready, signal, `${nameOf(host)} was not ready`)
  })
  peers.sort((a, b) => a.host.number - b.host.number)

  const machineBusyBefore = await comeToRest(options.restSeconds * 1_000, signal)
  const idealMs = (site: number) => idealSecondsAt(scenario, site) * 1_000
  const longestMs = idealMs(scenario.sites - 1)
  const lastStartMs = Math.max(...hosts.map(({ startMs }) => startMs))
  const limitMs =
    options.limitSeconds === null ? lastStartMs + 10_000 + longestMs * transport.limitRatio(scenario) : options.limitSeconds * 1_000
  const measured = await measure(peers, counters, {
    midwayMs: ({ site }) => idealMs(site) / 2,
    limitMs,
    leave: options.until !== null,
    signal,
  })
  const reports = await stopAll(peers, signal)
  await requireSameBytes(content.sha256, reports, signal)
  return {
    transport: transport.name,
    scenario,
    until: options.until,
    watchedSeconds: (measured.watchedMs - measured.startMs) / 1_000,
    outcome: measured.finished ? "finished" : "time-limit",
    seconds: (measured.endMs - measured.startMs) / 1_000,
    machineBusy: measured.machineBusy,
    machineBusyBefore,
    hosts: peers.map((peer, index) => hostResult(peer, index, measured, counters, reports)),
    sites: sitesOf(counters),
    rates: rateSamples(counters.samples),
  }
}

function sitesOf({ samples }: LinkCounters): LinkBytes[] {
  const first = samples[0]?.sites ?? []
  return (samples.at(-1)?.sites ?? []).map(({ sentBytes, receivedBytes }, index) => ({
    sentBytes: sentBytes - (first[index]?.sentBytes ?? 0),
    receivedBytes: receivedBytes - (first[index]?.receivedBytes ?? 0),
  }))
}

function hostResult(
  peer: PeerProcess,
  index: number,
  { startMs, startedAtMs, doneAtMs, leftAtMs }: Measured,
  { samples }: LinkCounters,
  reports: ReadonlyMap<PeerProcess, PeerReport>,
): HostResult {
  const { number, role, site, fate } = peer.host
  const ownStartMs = startedAtMs.get(peer) ?? startMs
  const doneMs = doneAtMs.get(peer)
  const leftMs = leftAtMs.get(peer)
  const [first, last] = [samples[0]?.links[index], samples.at(-1)?.links[index]]
  return {
    number,
    role,
    site,
    fate,
    startedAtSeconds: (ownStartMs - startMs) / 1_000,
    seconds: doneMs === undefined ? null : (doneMs - ownStartMs) / 1_000,
    leftAtSeconds: leftMs === undefined ? null : (leftMs - startMs) / 1_000,
    report: reports.get(peer) ?? null,
    wireSentBytes: (last?.sentBytes ?? 0) - (first?.sentBytes ?? 0),
    wireReceivedBytes: (last?.receivedBytes ?? 0) - (first?.receivedBytes ?? 0),
  }
}

/** The id of a process that stands in the bridge's namespace and does nothing: through it the links' counters are read. */
async function holdBridge(network: LabNetwork, ending: AsyncDisposableStack): Promise<number> {
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
async function comeToRest(limitMs: number, signal: AbortSignal): Promise<number> {
  const endMs = machineMs() + limitMs
  for (let before = cpuTime(); ;) {
    await pause(REST_PROBE_MS, undefined, { signal })
    const after = cpuTime()
    const share = busyShare(before, after)
    if (share < REST_SHARE || machineMs() > endMs) return share
    before = after
  }
}

/** Reports of all that were not killed; each is gone after. @throws {Error} for one that ended by itself */
async function stopAll(peers: readonly PeerProcess[], signal: AbortSignal): Promise<Map<PeerProcess, PeerReport>> {
  const reports = new Map<PeerProcess, PeerReport>()
  await Promise.all(
    peers.map(async (peer) => {
      if (peer.dismissed) return
      reports.set(peer, await within(STOP_LIMIT_MS, peer.stop(), signal, `${nameOf(peer.host)} did not report`))
      await peer.kill()
    }),
  )
  return reports
}

/** @throws {Error} naming the first host whose file is another */
async function requireSameBytes(sha256: string, reports: ReadonlyMap<PeerProcess, PeerReport>, signal: AbortSignal): Promise<void> {
  for (const [{ host }, { contentPath }] of reports) {
    const digest = contentPath === null ? sha256 : await sha256Of(contentPath, signal)
    if (digest !== sha256) throw new Error(`${nameOf(host)} stored bytes of SHA-256 ${digest}, not ${sha256}: the run counts for nothing`)
  }
}

function nameOf(host: LabHost): string {
  return `${host.role} ${host.number}`
}
