/** The part of a run that is timed: all peers are told to start, and some meet their fate midway, until every host that can have the file has it. */
import { setTimeout as pause } from "node:timers/promises"
import { comesLater, type Fate, type LabHost } from "./hosts.ts"
import { WATCHED_MS } from "../seeding.ts"
import { inTime } from "./in-time.ts"
import type { LinkCounters } from "./link-counters.ts"
import { busyShare, cpuTime } from "./machine.ts"
import type { PeerProcess } from "./peer-process.ts"
import { machineMs } from "./peer-protocol.ts"

/** Times are of the machine's monotonic clock. */
export type Measured = {
  readonly startMs: number
  /** When the last had it, or the run was ended. */
  readonly endMs: number
  readonly finished: boolean
  readonly startedAtMs: ReadonlyMap<PeerProcess, number>
  readonly doneAtMs: ReadonlyMap<PeerProcess, number>
  /** Of those who left by themselves; and when those who might have were watched no more. */
  readonly leftAtMs: ReadonlyMap<PeerProcess, number>
  readonly watchedMs: number
  readonly machineBusy: number
}

export type MeasureOptions = {
  /** Of each host: when it meets its fate. */
  readonly midwayMs: (host: LabHost) => number
  readonly limitMs: number
  /** Hosts that have the file leave by themselves, and are waited for. */
  readonly leave: boolean
  readonly signal: AbortSignal
}

const DOOMED: ReadonlySet<Fate> = new Set<Fate>(["killed", "leaving"])

/** @throws {Error} when a peer ended by itself; the signal's reason */
export async function measure(peers: readonly PeerProcess[], counters: LinkCounters, options: MeasureOptions): Promise<Measured> {
  const startedAtMs = new Map<PeerProcess, number>()
  const doneAtMs = new Map<PeerProcess, number>()
  const over = new AbortController()
  const cpuBefore = cpuTime()
  let cpuAfter: typeof cpuBefore | null = null
  counters.start()
  const startMs = machineMs()
  const fates = playFates(peers, startedAtMs, options.midwayMs, AbortSignal.any([options.signal, over.signal]))
  const awaited = peers.filter(({ host }) => host.role === "host" && host.fate !== "killed")
  const allDone = Promise.all(
    awaited.map(async (peer) => {
      const atMs = await peer.done
      if (over.signal.aborted) return
      doneAtMs.set(peer, atMs)
      // A slow host's long end would hide how busy the machine was while it counted.
      if (peer.host.fate === "usual") cpuAfter = cpuTime()
    }),
  )
  const leftAtMs = new Map<PeerProcess, number>()
  const allLeft = Promise.all(
    awaited.map(async (peer) => {
      const atMs = await peer.left
      if (!over.signal.aborted) leftAtMs.set(peer, atMs)
    }),
  )
  // Where none leaves, all are stopped.
  allLeft.catch(() => undefined)
  // An origin is never done: this one settles when it fails.
  const originFails = Promise.race(peers.filter(({ host }) => host.role === "origin" && host.fate === "usual").map((peer) => peer.done))
  try {
    const finished = await inTime(options.limitMs, Promise.race([allDone, originFails]), options.signal)
    const endMs = finished ? Math.max(...doneAtMs.values()) : machineMs()
    const machineBusy = busyShare(cpuBefore, (finished ? cpuAfter : null) ?? cpuTime())
    if (options.leave && finished) await inTime(WATCHED_MS, allLeft, options.signal)
    return { startMs, endMs, finished, startedAtMs, doneAtMs, leftAtMs, watchedMs: machineMs(), machineBusy }
  } finally {
    over.abort()
    counters.stop()
    await fates
  }
}

/** Starts those who are there from the start, and others when they come; midway, the late start and the doomed die. Resolves when that was done or `signal` came first. */
async function playFates(
  peers: readonly PeerProcess[],
  startedAtMs: Map<PeerProcess, number>,
  midwayMs: MeasureOptions["midwayMs"],
  signal: AbortSignal,
): Promise<void> {
  const start = (some: readonly PeerProcess[]) => {
    for (const peer of some) {
      startedAtMs.set(peer, machineMs())
      peer.start()
    }
  }
  start(peers.filter(({ host }) => !comesLater(host)))
  const fated = Map.groupBy(
    peers.filter(({ host }) => comesLater(host) || DOOMED.has(host.fate)),
    ({ host }) => (host.startMs > 0 ? host.startMs : midwayMs(host)),
  )
  const meet = async ([atMs, some]: [number, readonly PeerProcess[]]) => {
    try {
      await pause(atMs, undefined, { signal })
    } catch {
      return
    }
    start(some.filter(({ host }) => comesLater(host)))
    await Promise.all(some.filter(({ host }) => DOOMED.has(host.fate)).map((peer) => peer.kill()))
  }
  await Promise.all([...fated].map(meet))
}
