/**
 * Where the copies of an image belong: rendezvous hashing over the signed roster. Every server finds the same answer by itself. A server that leaves takes
 * its own share along and nothing else moves; one that joins takes its share from all others.
 */
import { hash } from "node:crypto"
import type { MemberId } from "#core/identifiers.ts"
import { isOfPattern } from "#core/name-patterns.ts"

export type RosterServer = {
  readonly memberId: MemberId
  readonly site: string
  /** Its share of the images against that of others. Of the signed roster alone: what a server says of itself moves nothing. */
  readonly weight: number
}

/** What is wanted for an image. A server that is both pinned and refused is refused. */
export type Goal = {
  readonly copies: number
  readonly sites: number
  readonly pins: readonly MemberId[]
  readonly refuse: readonly MemberId[]
}

/** A goal of the site document, and the images that it is for. */
export type GoalRule = Goal & { readonly names: readonly string[] }

export type Placement = {
  readonly holders: readonly MemberId[]
  /** What the roster is too small for; both 0 when the goal can be met. */
  readonly missingCopies: number
  readonly missingSites: number
}

/** Bound on what one roster may name: a ranking holds two bytes for each server and image. */
export const ROSTER_SERVERS_MAX = 1_000
const LABEL = "imagegrid-placement-1"

/** What a server of weight 1 scores for an image; a greater score ranks first. */
export function standing(image: string, server: MemberId): number {
  const digest = hash("sha256", `${LABEL}\n${image}\n${server}`, "buffer")
  const upper53Bits = digest.readUInt32BE(0) * 2 ** 21 + (digest.readUInt32BE(4) >>> 11)
  return -1 / Math.log((upper53Bits + 0.5) / 2 ** 53)
}

/** One roster and, for each image asked for, its servers by rank. Servers are known by their position, which is that of their id among all ids. */
export class Ranking {
  readonly servers: readonly RosterServer[]
  /** Number of the site of each server. */
  readonly siteOf: Uint16Array
  readonly #positions: ReadonlyMap<MemberId, number>
  readonly #ranked = new Map<string, Uint16Array>()
  readonly #standingOf: (image: string, server: MemberId) => number

  /** @throws {RangeError} for a server that is named twice, a weight that is not above 0, or more than ROSTER_SERVERS_MAX */
  constructor(roster: readonly RosterServer[], standingOf: (image: string, server: MemberId) => number = standing) {
    this.servers = [...roster].sort((a, b) => (a.memberId < b.memberId ? -1 : 1))
    this.#positions = new Map(this.servers.map(({ memberId }, position) => [memberId, position]))
    if (this.#positions.size !== roster.length) throw new RangeError("the roster names a server twice")
    if (roster.length > ROSTER_SERVERS_MAX) throw new RangeError(`${roster.length} servers in a roster of at most ${ROSTER_SERVERS_MAX}`)
    for (const { memberId, weight } of roster)
      if (!(weight > 0) || !Number.isFinite(weight)) throw new RangeError(`weight ${weight} of ${memberId} is not above 0`)
    const sites = [...new Set(this.servers.map(({ site }) => site))].sort()
    this.siteOf = Uint16Array.from(this.servers, ({ site }) => sites.indexOf(site))
    this.#standingOf = standingOf
  }

  positionOf(server: MemberId): number | undefined {
    return this.#positions.get(server)
  }

  /** Positions of all servers, first choice first. Worked out once and kept until `forget`. */
  of(image: string): Uint16Array {
    const known = this.#ranked.get(image)
    if (known !== undefined) return known
    const scores = Float64Array.from(this.servers, ({ memberId, weight }) => weight * this.#standingOf(image, memberId))
    const ranked = Uint16Array.from(scores.keys()).sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || a - b)
    this.#ranked.set(image, ranked)
    return ranked
  }

  forget(image: string): void {
    this.#ranked.delete(image)
  }
}

/**
 * Walks `order` and takes servers until there are enough copies on enough sites, those in `taken` counted: one of a new site always, others while slots
 * are left beside those kept for the sites still wanted. Where the sites run out their slots go to the next in order.
 *
 * With a given number of sites at hand this is the greedy choice of a matroid, so whoever is chosen among many is chosen among any part of them too; grid/core/repair.ts
 * leans on that.
 */
export function choose(
  order: Iterable<number>,
  siteOf: ArrayLike<number>,
  goal: { readonly copies: number; readonly sites: number },
  taken: readonly number[] = [],
): number[] {
  const chosen = [...taken]
  const sites = new Set(taken.map((server) => siteOf[server]))
  const passed: number[] = []
  for (const server of order) {
    if (taken.includes(server)) continue
    const sitesLeft = Math.max(0, goal.sites - sites.size)
    const slots = Math.max(goal.copies - chosen.length, sitesLeft)
    if (slots === 0) break
    const site = siteOf[server]
    if (sites.has(site) && slots === sitesLeft) passed.push(server)
    else {
      chosen.push(server)
      sites.add(site)
    }
  }
  for (const server of passed) {
    if (chosen.length >= goal.copies) break
    chosen.push(server)
  }
  return chosen
}

/** Where an image belongs when every server of the roster is well. */
export function place(image: string, ranking: Ranking, goal: Goal): Placement {
  const refused = new Set(positions(goal.refuse, ranking))
  const pins = positions(goal.pins, ranking).filter((server) => !refused.has(server))
  const order = [...ranking.of(image)].filter((server) => !refused.has(server))
  const chosen = choose(order, ranking.siteOf, goal, pins)
  const siteCount = new Set(chosen.map((server) => ranking.siteOf[server])).size
  return {
    holders: chosen.flatMap((server) => ranking.servers[server]?.memberId ?? []),
    missingCopies: Math.max(0, goal.copies - chosen.length),
    missingSites: Math.max(0, goal.sites - siteCount),
  }
}

/** The first rule whose patterns the image's name fits; with none, every server of the image's own site holds it. */
export function goalOf(
  image: { readonly site: string; readonly name: string },
  rules: readonly GoalRule[],
  roster: readonly RosterServer[],
): Goal {
  const rule = rules.find(({ names }) => names.some((pattern) => isOfPattern(image.name, pattern)))
  if (rule !== undefined) return rule
  return { copies: 1, sites: 1, pins: roster.filter(({ site }) => site === image.site).map(({ memberId }) => memberId), refuse: [] }
}

function positions(members: readonly MemberId[], ranking: Ranking): number[] {
  return [...new Set(members)].flatMap((member) => ranking.positionOf(member) ?? [])
}
