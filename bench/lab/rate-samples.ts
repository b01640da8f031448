/** From counters that only grow to rates, in a bounded number of intervals. */
import type { LinkSample } from "./link-counters.ts"
import type { RateSamples } from "./result.ts"

/** Intervals that are kept; a longer run has longer ones. */
const INTERVALS_MAX = 500

export function rateSamples(samples: readonly LinkSample[]): RateSamples {
  const step = Math.max(1, Math.ceil((samples.length - 1) / (INTERVALS_MAX - 1)))
  const kept = samples.filter((_, index) => index % step === 0 || index === samples.length - 1)
  const rows = (of: "sentBytes" | "receivedBytes") =>
    (samples[0]?.links ?? []).map((_, host) =>
      kept.slice(1).map((sample, index) => {
        const before = kept[index] ?? sample
        const bytes = (sample.links[host]?.[of] ?? 0) - (before.links[host]?.[of] ?? 0)
        return Math.round((bytes * 1_000) / Math.max(1, sample.atMs - before.atMs))
      }),
    )
  return {
    atSeconds: kept.slice(1).map((sample) => Math.round(sample.atMs - (kept[0]?.atMs ?? 0)) / 1_000),
    receivedBytesPerSecond: rows("receivedBytes"),
    sentBytesPerSecond: rows("sentBytes"),
  }
}
