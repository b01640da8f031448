/** Time that never runs backwards or leaps, from a clock that may be set: timeouts must not all strike when a machine learns the hour. */
import type { Clock } from "#core/clock.ts"

/** Most that passes between two looks; ours are a tenth of a second apart. */
const LEAP_MAX_MS = 5_000

export function monotonic(clock: Clock): () => number {
  let lastMs = clock.nowMs()
  let passedMs = 0
  return () => {
    const nowMs = clock.nowMs()
    passedMs += Math.min(Math.max(0, nowMs - lastMs), LEAP_MAX_MS)
    lastMs = nowMs
    return passedMs
  }
}
