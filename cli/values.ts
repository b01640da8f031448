/** Values of options and arguments, from text. */
import type { SeedUntil } from "#client/usefulness.ts"
import { GridError } from "#core/errors.ts"
import { granteeName, groupName, memberId, type GroupName, type MemberId } from "#core/identifiers.ts"

/** Reads `A,B` and the same option given again; each group once. @throws {GridError} NAME_INVALID */
export function groupNames(given: readonly string[]): GroupName[] {
  return [...new Set(wordsOf(given).map((word) => groupName(word)))]
}

/** The same, of groups of other sites too. @throws {GridError} NAME_INVALID */
export function granteeNames(given: readonly string[]): string[] {
  return [...new Set(wordsOf(given).map((word) => granteeName(word)))]
}

function wordsOf(given: readonly string[]): string[] {
  return given.flatMap((text) => text.split(",")).filter((word) => word !== "")
}

/** Reads members' ids. @throws {GridError} NAME_INVALID */
export function memberIds(given: readonly string[]): MemberId[] {
  return given.map((id) => memberId(id))
}

/** @throws {GridError} USAGE */
export function wholeNumber(option: string, text: string, range: { readonly min: number; readonly max: number }): number {
  const value = Number(text)
  if (!/^\d{1,16}$/.test(text) || value < range.min || value > range.max)
    throw new GridError("USAGE", `${option} is a whole number from ${range.min} to ${range.max}, not ${JSON.stringify(text.slice(0, 40))}`)
  return value
}

const MS_BY_UNIT: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Reads `90s`, `30m`, `24h`, `7d`. @throws {GridError} USAGE */
export function durationMs(option: string, text: string, maxMs: number): number {
  const match = /^(\d{1,9})([smhd])$/.exec(text)
  const value = match === null ? 0 : Number(match[1]) * (MS_BY_UNIT[match[2] ?? ""] ?? 0)
  if (value < 1000 || value > maxMs)
    throw new GridError(
      "USAGE",
      `${option} is a time such as 90s, 30m, 24h or 7d, at most ${maxMs / 86_400_000}d, not ${JSON.stringify(text.slice(0, 40))}`,
    )
  return value
}

const BYTES_BY_UNIT: Readonly<Record<string, number>> = { "": 1, KB: 1e3, MB: 1e6, GB: 1e9, KIB: 1024, MIB: 1024 ** 2, GIB: 1024 ** 3 }

/** Reads `500KB`, `64KiB`, `1MiB` or a plain number of bytes. @throws {GridError} USAGE */
export function byteCount(option: string, text: string): number {
  const match = /^(\d{1,15})\s*([a-z]*)$/i.exec(text)
  const unit = BYTES_BY_UNIT[(match?.[2] ?? "?").toUpperCase()]
  if (match === null || unit === undefined)
    throw new GridError("USAGE", `${option} is a size such as 500KB, 64KiB or 1MiB, not ${JSON.stringify(text.slice(0, 40))}`)
  return Number(match[1]) * unit
}

/** Bytes a second; null where nothing was said. @throws {GridError} USAGE */
export function byteRate(option: string, text: string | undefined): number | null {
  const bytesPerSecond = text === undefined ? null : byteCount(option, text)
  if (bytesPerSecond === 0) throw new GridError("USAGE", `${option} is at least one byte a second; leave it out for none`)
  return bytesPerSecond
}

/** Reads a date such as `2026-11-23`, a time of it such as `2026-11-23T10:00Z`, or how long ago: `24h`, `7d`. @throws {GridError} USAGE */
export function momentMs(option: string, text: string, nowMs: number): number {
  if (/^\d{1,9}[smhd]$/.test(text)) return nowMs - durationMs(option, text, nowMs)
  const atMs = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2}))?$/.test(text) ? Date.parse(text) : NaN
  if (Number.isNaN(atMs))
    throw new GridError(
      "USAGE",
      `${option} is a date such as 2026-11-23 or 2026-11-23T10:00Z, or how long ago, such as 24h or 7d, not ${JSON.stringify(text.slice(0, 40))}`,
    )
  return atMs
}

/** @throws {GridError} USAGE */
export function seedUntilOf(text: string): SeedUntil {
  if (text === "useful" || text === "done" || text === "forever") return text
  throw new GridError("USAGE", `--seed-until is useful, done or forever, not ${JSON.stringify(text.slice(0, 40))}`)
}
