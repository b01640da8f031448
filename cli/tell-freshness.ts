/** How old the site's metadata is that a command goes by: an event for programs, warnings for people. */
import { freshnessWarnings, type Freshness } from "#member/freshness.ts"
import type { Output } from "./output.ts"

export function tellFreshness(output: Output, freshness: Freshness, nowMs: number): void {
  const { seq, signedAtMs, expiresAtMs, newerKnown } = freshness
  output.event("catalog", { seq, signedAtMs, expiresAtMs, newerKnown })
  for (const warning of freshnessWarnings(freshness, nowMs)) output.warn(warning)
}
