/** What one core's full pass over all images costs: its first one, with all rankings to be made, and one after that. */
import type { MemberId } from "#core/identifiers.ts"
import { choose, Ranking, type Goal, type RosterServer } from "#grid/core/placement.ts"
import { RepairCore } from "#grid/core/repair.ts"
import { seededRandom } from "#swarm/core/random.ts"
import { memberOf } from "./world.ts"

export function timeFullPass(servers: number, images: number): { rankMs: number; passMs: number } {
  const roster: RosterServer[] = Array.from({ length: servers }, (_, number) => ({
    memberId: memberOf(number),
    site: `site-${number % 5}`,
    weight: 1,
  }))
  const goal: Goal = { copies: 3, sites: 2, pins: [], refuse: [] }
  const ids = Array.from({ length: images }, (_, number) => `main/pass-${number}:1`)
  const ranking = new Ranking(roster)
  const rankFromMs = performance.now()
  for (const id of ids) ranking.of(id)
  const rankMs = performance.now() - rankFromMs

  const held = new Map<MemberId, string[]>(roster.map(({ memberId }) => [memberId, []]))
  for (const id of ids)
    for (const position of choose(ranking.of(id), ranking.siteOf, goal))
      held.get(ranking.servers[position]?.memberId ?? memberOf(0))?.push(id)
  const [self, ...others] = roster.map(({ memberId }) => memberId)
  if (self === undefined) throw new RangeError("a roster of nobody")
  const core = new RepairCore({ self, random: seededRandom(1), rankingOf: () => ranking })
  core.step({ kind: "roster", servers: roster }, 0)
  core.step({ kind: "images", added: ids.map((image) => ({ image, sealedBytes: 1, goal })), retired: [] }, 0)
  core.step({ kind: "own", added: held.get(self) ?? [], removed: [] }, 0)
  for (const server of others) {
    core.step({ kind: "holdings", server, added: held.get(server) ?? [], removed: [] }, 0)
    core.step({ kind: "heard", server }, 0)
  }
  // A server that drains is asked nothing and takes nothing: who it was before is every image's question again.
  const passFromMs = performance.now()
  core.step({ kind: "drain", draining: true }, 1)
  return { rankMs, passMs: performance.now() - passFromMs }
}
