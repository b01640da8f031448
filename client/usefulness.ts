/**
 * When a client that has what it came for may leave: when nobody lacks what it has, or others nearby carry what is asked for. Each decides for itself by what it sees, and those who see
 * the same leave in the order of their member ids, no more of them at a time than can be missed. Pure.
 */
import type { Demand } from "#swarm/swarm.ts"

export type SeedUntil = "useful" | "done" | "forever"

export type UsefulnessRule = {
  /** Nobody was in need for this long: a newcomer's connections, and a pause between two pieces, take less. */
  readonly quietMs: number
  /**
   * The last one of those who see one another stays for those who may come, where others came before: for some times the pause between those who came, at least and at most.
   */
  readonly reserveMs: number
  readonly reserveMaxMs: number
  readonly reserveGaps: number
  /** Uploads, and how many share them, are looked at over this time. */
  readonly overMs: number
  /** Those who stay are left with no more than this share of what they can upload. */
  readonly fullShare: number
}

export const defaultUsefulness: UsefulnessRule = {
  quietMs: 3_000,
  reserveMs: 60_000,
  reserveMaxMs: 600_000,
  reserveGaps: 3,
  overMs: 5_000,
  fullShare: 0.7,
}

/** The same, with every wait for those who may come this long. */
export function usefulnessOver(ms: number): UsefulnessRule {
  return { ...defaultUsefulness, quietMs: ms, reserveMs: ms, reserveMaxMs: ms }
}

/** What was seen at one time of one torrent. */
type Look = { readonly atMs: number; readonly uploadedBytes: number; readonly seeders: number }

export class Usefulness {
  readonly #rule: UsefulnessRule
  /** Of each torrent, oldest first; at least as old as the rule looks back, where there are such. */
  readonly #looks: Look[][] = []
  #neededAtMs: number

  /** `sinceMs`: since when it is there for others alone. */
  constructor(rule: UsefulnessRule, sinceMs: number) {
    this.#rule = rule
    this.#neededAtMs = sinceMs
  }

  /** Why to leave now, or null to go on seeding. To be asked about twice a second, with the same torrents in the same order. */
  look(torrents: readonly Demand[], nowMs: number): string | null {
    const peakBytesPerSecond = Math.max(0, ...torrents.map((torrent) => torrent.uploadPeakBytesPerSecond))
    const spared = torrents.map((torrent, index) => this.#isSpared(this.#remember(torrent, index, nowMs), torrent, peakBytesPerSecond))
    if (torrents.some(({ peersInNeed }) => peersInNeed > 0)) {
      this.#neededAtMs = nowMs
      if (spared.includes(false)) return null
      return "not useful any more: others that have everything carry what is asked for"
    }
    const quietMs = nowMs - this.#neededAtMs
    if (quietMs < this.#rule.quietMs || quietMs < Math.max(...torrents.map((torrent) => this.#reserveMs(torrent)))) return null
    return `not useful any more: nobody needed it for ${Math.round(quietMs / 1000)} s`
  }

  #remember({ uploadedBytes, otherSeeders }: Demand, index: number, nowMs: number): readonly Look[] {
    const looks = (this.#looks[index] ??= [])
    looks.push({ atMs: nowMs, uploadedBytes, seeders: otherSeeders + 1 })
    while ((looks[1]?.atMs ?? nowMs) <= nowMs - this.#rule.overMs) looks.shift()
    return looks
  }

  /** Whether this torrent can do without this client: nobody is in need, or enough of those who leave after it stay to carry what all of them upload now. */
  #isSpared(looks: readonly Look[], { peersInNeed, leavingBefore }: Demand, peakBytesPerSecond: number): boolean {
    if (peersInNeed === 0) return true
    const [first, last] = [looks[0], looks.at(-1)]
    if (first === undefined || last === undefined || last.atMs - first.atMs < this.#rule.overMs) return false
    const load = ((last.uploadedBytes - first.uploadedBytes) * 1000) / (last.atMs - first.atMs) / Math.max(1, peakBytesPerSecond)
    // When some have just left, what they carried comes to the others a moment later.
    const carried = Math.min(1, load) * Math.max(...looks.map(({ seeders }) => seeders))
    const staying = Math.max(1, Math.ceil(carried / this.#rule.fullShare))
    return leavingBefore < last.seeders - staying
  }

  /** For how long this client stays when nobody is in need any more. */
  #reserveMs({ relieved, metClients, arrivalGapMs }: Demand): number {
    if (!metClients || relieved) return 0
    const { reserveMs, reserveMaxMs, reserveGaps } = this.#rule
    return Math.min(reserveMaxMs, Math.max(reserveMs, reserveGaps * (arrivalGapMs ?? 0)))
  }
}
