/** When a client that has what it came for may leave: the paper's rule, that it stays while it is still asked for enough. Pure. */

export type SeedUntil = "useful" | "done" | "forever"

export type UsefulnessRule = {
  /** A seeder that uploads less than this is not needed; the paper's 500 KB/s. */
  readonly belowBytesPerSecond: number
  /** ... over this long, counted from when the image was good. */
  readonly overMs: number
}

export const defaultUsefulness: UsefulnessRule = { belowBytesPerSecond: 500_000, overMs: 10_000 }

export type SeedingFacts = {
  readonly nowMs: number
  readonly seedingSinceMs: number
  /** Mean over the last `overMs`. */
  readonly uploadBytesPerSecond: number
  /** Connected peers that lack something that is held here. */
  readonly peersInNeed: number
}

/** Why to leave now, or null to go on seeding. */
export function reasonToLeave(until: SeedUntil, rule: UsefulnessRule, facts: SeedingFacts): string | null {
  if (until === "forever") return null
  if (until === "done") return "done: the image is good"
  if (facts.nowMs - facts.seedingSinceMs < rule.overMs) return null
  if (facts.peersInNeed > 0 || facts.uploadBytesPerSecond >= rule.belowBytesPerSecond) return null
  return `not useful any more: under ${rule.belowBytesPerSecond} bytes a second for ${rule.overMs / 1000} s, and no peer in need`
}
