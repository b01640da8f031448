/** What the machine is and how busy it is. */
import { readFileSync } from "node:fs"
import { availableParallelism, cpus, release, totalmem } from "node:os"

export type Machine = {
  readonly cores: number
  readonly cpu: string
  readonly memoryBytes: number
  readonly kernel: string
  readonly node: string
}

export function describeMachine(): Machine {
  return {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? "unknown",
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.versions.node,
  }
}

/** Time of all cores together since the machine started, in its own ticks. */
export type CpuTime = { readonly busy: number; readonly all: number }

export function cpuTime(): CpuTime {
  return parseCpuTime(readFileSync("/proc/stat", "utf8"))
}

/** The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal. Guests' time is in user's. */
export function parseCpuTime(text: string): CpuTime {
  const ticks = (/^cpu\s+(.*)$/m.exec(text)?.[1] ?? "").split(" ").slice(0, 8).map(Number)
  const all = ticks.reduce((sum, each) => sum + each, 0)
  return { busy: all - (ticks[3] ?? 0) - (ticks[4] ?? 0), all }
}

/** Share of all cores between two moments, 0 to 1. */
export function busyShare(before: CpuTime, after: CpuTime): number {
  return after.all === before.all ? 0 : (after.busy - before.busy) / (after.all - before.all)
}

/** What can be taken without swapping. */
export function availableMemoryBytes(): number {
  const text = readFileSync("/proc/meminfo", "utf8")
  return Number(/^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1_024
}
