/**
 * How far a phase of work has come: a line that redraws itself on a terminal, a plain line now and then elsewhere, an event for programs.
 * Shown at most so often, whatever the rate of updates, and drawn only by updates: there is no timer.
 */

export type ProgressUpdate = {
  readonly bytes: number
  /** Null while it can't be known. */
  readonly totalBytes: number | null
  /** Measured here, over the last seconds, where the caller does not know better. */
  readonly bytesPerSecond?: number
}

/** What a command holds while a phase lasts; `end` it once. */
export interface Progress {
  update(now: ProgressUpdate): void
  end(): void
}

/** One state of a phase, complete. */
export type ProgressState = {
  readonly phase: string
  readonly bytes: number
  readonly totalBytes: number | null
  readonly bytesPerSecond: number
}

export const LINE_COLUMNS_MAX = 80
const BAR_COLUMNS = 20
const RATE_WINDOW_MS = 5_000

/** Bytes per second over a window that slides. */
export class SlidingRate {
  readonly #samples: { readonly atMs: number; readonly bytes: number }[] = []

  /** Takes the bytes done so far; gives the rate over the window, 0 at the first call. */
  add(bytes: number, atMs: number): number {
    this.#samples.push({ atMs, bytes })
    // One sample from before the window stays, so that the window is full.
    while (this.#samples.length > 2 && (this.#samples[1]?.atMs ?? atMs) <= atMs - RATE_WINDOW_MS) this.#samples.shift()
    const oldest = this.#samples[0]
    if (oldest === undefined || oldest.atMs >= atMs) return 0
    return Math.max(0, ((bytes - oldest.bytes) * 1000) / (atMs - oldest.atMs))
  }
}

/** A line of at most `columns` for a terminal. */
export function formatProgressLine(state: ProgressState, columns: number = LINE_COLUMNS_MAX): string {
  const { phase, bytes, totalBytes, bytesPerSecond } = state
  if (totalBytes === null || totalBytes <= 0)
    return `${phase.padEnd(11)} ${formatBytes(bytes)}  ${formatRate(bytesPerSecond)}`.slice(0, columns)
  const share = Math.min(1, Math.max(0, bytes / totalBytes))
  const filled = Math.round(share * BAR_COLUMNS)
  const bar = `[${"#".repeat(filled)}${"-".repeat(BAR_COLUMNS - filled)}]`
  const percent = `${Math.floor(share * 100)}%`.padStart(4)
  const left = share < 1 && bytesPerSecond > 0 ? `  ${formatDuration(((totalBytes - bytes) * 1000) / bytesPerSecond)} left` : ""
  const amount = `${formatBytes(bytes)} of ${formatBytes(totalBytes)}  ${formatRate(bytesPerSecond)}`
  const whole = `${phase.padEnd(11)} ${bar} ${percent}  ${amount}${left}`
  return whole.length <= columns ? whole : `${phase} ${percent}  ${amount}${left}`.slice(0, columns)
}

const UNITS = ["KB", "MB", "GB", "TB", "PB"] as const
const BINARY_UNITS = ["KiB", "MiB", "GiB", "TiB"] as const

/**
 * Three or four digits and a unit, powers of 1000 as links are measured: `512 B`, `1.4 MB`, `104.9 GB`. An exact power of two from 1 KiB up, as piece
 * lengths are, keeps its own unit: `64 KiB`.
 */
export function formatBytes(bytes: number): string {
  const whole = Math.max(0, Math.round(bytes))
  if (whole < 1000) return `${whole} B`
  const exponent = Math.log2(whole)
  if (Number.isInteger(exponent) && exponent < 50) return `${2 ** (exponent % 10)} ${BINARY_UNITS[Math.floor(exponent / 10) - 1] ?? ""}`
  let value = whole / 1000
  let unit = 0
  // 999.95 would be written as 1000.0.
  while (value >= 999.95 && unit < UNITS.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${value.toFixed(1)} ${UNITS[unit] ?? ""}`
}

export function formatRate(bytesPerSecond: number): string {
  const whole = Math.max(0, Math.round(bytesPerSecond))
  // A rate is measured: that it meets a power of two says nothing.
  return `${formatBytes(whole >= 1000 && Number.isInteger(Math.log2(whole)) ? whole + 1 : whole)}/s`
}

/** The two largest units that say something: `850 ms`, `12.3 s`, `2 min 05 s`, `1 h 02 min`, `3 d 04 h`. */
export function formatDuration(durationMs: number): string {
  const ms = Math.max(0, durationMs)
  if (!Number.isFinite(ms)) return "unknown time"
  if (Math.round(ms) < 1000) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${twoDigits(seconds % 60)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${twoDigits(minutes % 60)} min`
  const hours = Math.round(minutes / 60)
  return `${Math.floor(hours / 24)} d ${twoDigits(hours % 24)} h`
}

function twoDigits(value: number): string {
  return String(value).padStart(2, "0")
}
