/**
 * Between two servers there is one connection. Both may dial; the one that the lower member id dialled stays, and both ends decide so by themselves
 * before anything is said over the new one.
 */
import type { MemberId } from "#core/identifiers.ts"

export type End = "self" | "peer"
export type Choice =
  /** There is no other. */
  | "take"
  /** The one that there is goes first. */
  | "replace"
  | "refuse"

/** `existing`: who dialled the connection that there is. `isDialling`: this end is dialling the other one now. */
export function chooseConnection(
  { self, peer, existing, isDialling }: { self: MemberId; peer: MemberId; existing: End | null; isDialling: boolean },
  dialledBy: End,
): Choice {
  const lower: End = self < peer ? "self" : "peer"
  if (existing === null) return dialledBy !== lower && dialledBy === "peer" && isDialling ? "refuse" : "take"
  if (dialledBy === lower) return "replace"
  // Whoever dials anew has lost the one that it dialled before.
  return existing === lower ? "refuse" : "replace"
}
