/**
 * What really is: who holds which image, who could hold it, and whether a copy was needed. The servers under test never see this.
 *
 * A copy is needed when, at the moment it is whole, the image is under its goal for whoever fetched it, with perfect knowledge: counted are all true copies at servers
 * that are neither out (as liveness.ts has it, by how long they really cannot be reached) nor draining nor refused, and also every copy that a server once
 * had and dropped of itself. So a copy that had to be made anew only because one was dropped before does not count as needed.
 */
import { livenessLimits } from "#grid/core/liveness.ts"
import type { Goal } from "#grid/core/placement.ts"

export type TrueImage = {
  readonly id: string
  readonly number: number
  readonly sealedBytes: number
  readonly goal: Goal
  /** Numbers of servers. */
  readonly pins: ReadonlySet<number>
  readonly refuse: ReadonlySet<number>
  /** Whole and good on their disks, whether they live or not. */
  readonly holders: Set<number>
  /** Had it, and dropped it of themselves. */
  readonly dropped: Set<number>
  /** Say that they have it, and lack it: so they will not take it. */
  readonly falseClaims: Set<number>
  isRetired: boolean
}

/** What the rules ask about one server, seen from another. */
export type TrueServer = {
  readonly number: number
  readonly site: number
  readonly inRoster: boolean
  readonly draining: boolean
  readonly full: boolean
  /** For how long it cannot be reached from there; 0 when it can. */
  readonly silentMs: number
}

/** Copies and sites that are missing, 0 and 0 when the goal is met as far as servers are there to meet it. */
export function shortfall(
  image: TrueImage,
  servers: readonly TrueServer[],
  { withDropped, heldBack }: { withDropped: boolean; heldBack: boolean },
): { copies: number; sites: number; pins: number } {
  const has = (server: number) => image.holders.has(server) || (withDropped && image.dropped.has(server))
  const able = servers.filter((server) => server.inRoster && !server.draining && !image.refuse.has(server.number))
  const isRecent = (server: TrueServer) => server.silentMs < livenessLimits.lastCopyOutAfterMs
  const recentHolders = able.filter((server) => isRecent(server) && has(server.number))
  const could = able.filter((server) => has(server.number) || (isRecent(server) && !server.full && !image.falseClaims.has(server.number)))
  const toTake = could.filter((server) => !has(server.number))
  const missing = (holders: readonly TrueServer[], copies: number, sites: number) => ({
    copies: Math.max(0, Math.min(copies, holders.length + toTake.length) - holders.length),
    sites: Math.max(0, Math.min(sites, siteCount([...holders, ...toTake])) - siteCount(holders)),
    pins: toTake.filter((server) => image.pins.has(server.number)).length,
  })
  const holders = able.filter((server) => has(server.number) && (heldBack || server.silentMs < livenessLimits.outAfterMs))
  const { goal } = image
  const found = missing(holders, Math.max(goal.copies, Math.min(goal.sites, siteCount(could))), goal.sites)
  const isLastCopy = recentHolders.length === 1 && goal.copies > 1 && !heldBack
  return isLastCopy && found.copies + found.sites + found.pins === 0 ? missing(recentHolders, 2, Math.min(2, goal.sites)) : found
}

function siteCount(servers: readonly TrueServer[]): number {
  return new Set(servers.map(({ site }) => site)).size
}
