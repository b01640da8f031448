/** When a server of the roster that is not connected is dialled next. */
import type { End } from "./connection-choice.ts"

const FIRST_DIAL_SPREAD_MS = 200
/** The end whose dial would not stay leaves the other this long to dial. */
const COURTESY_MS = 2_000
const REDIAL_MIN_MS = 2_000
const REDIAL_MAX_MS = 30_000
/** A connection that lasted less counts as a dial that failed. */
const LASTING_MS = 10_000

/** `failures`: dials in a row that came to nothing. `random` is in [0, 1). */
export function redialAfterMs(failures: number, lower: End, random: number): number {
  if (failures === 0) return (lower === "self" ? 0 : COURTESY_MS) + FIRST_DIAL_SPREAD_MS * random
  const waitMs = Math.min(REDIAL_MAX_MS, REDIAL_MIN_MS * 2 ** (failures - 1))
  // Never more than the longest: a server that comes back is found in that time.
  return Math.min(REDIAL_MAX_MS, waitMs * (0.75 + 0.5 * random))
}

export function isLasting(openMs: number): boolean {
  return openMs >= LASTING_MS
}
