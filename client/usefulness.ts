/**
 * When a client that has what it came for may leave: when nobody lacks what it has, or others nearby carry what is asked for. Each decides for itself by what it sees, and those who see
 * the same leave in the order of their member ids, no more of them at a time than can be missed. Pure.
 */
import type { Demand } from "#swarm/swarm.ts"

export type SeedUntil = "useful" | "done" | "forever"

export type UsefulnessRule = {
  /** Nobody was in need for this long: a newcomer's connections, and a pause between two pieces, take less. */
  readonly quietMs: number
  /** What all upload is looked at over this time. */
  readonly overMs: number
  /** Where downloaders come one after another, what was carried counts for so many of the pauses between them, at most for this long: the next will want as much. */
  readonly expectGaps: number
  readonly expectMaxMs: number
  /**
   * A machine can upload what it ever did, and at least this share of what it ever downloaded: where many serve few, nobody ever uploads what he can. On links that are less even, some leave too early.
   */
  readonly uploadOfDownload: number
  /** Those who stay are left with no more than this share of what they can upload. */
  readonly fullShare: number
  /**
   * The last one of those who see one another stays for others who may come: for so many times what its own download took, and so many of the pauses between those who came; at least
   * and at most. What it spares the next one grows with the first, how probably with the second.
   */
  readonly reserveTimes: number
  readonly reserveGaps: number
  readonly reserveMs: number
  readonly reserveMaxMs: number
}

export const defaultUsefulness: UsefulnessRule = {
  quietMs: 3_000,
  overMs: 5_000,
  expectGaps: 1,
  expectMaxMs: 60_000,
  uploadOfDownload: 0.5,
  fullShare: 0.7,
  reserveTimes: 1,
  reserveGaps: 2,
  reserveMs: 30_000,
  reserveMaxMs: 600_000,
}

/** The same, with every wait for those who may come this long. */
export function usefulnessOver(ms: number): UsefulnessRule {
  return { ...defaultUsefulness, quietMs: ms, expectMaxMs: 0, reserveMs: ms, reserveMaxMs: ms }
}

/** What was seen at one time: what had been uploaded, and how many of this client's kind carried all that was asked for. */
type Look = { readonly atMs: number; readonly uploadedBytes: number; readonly carriers: number }

/** What is remembered of one torrent; looks, oldest first. */
type Memory = { readonly looks: Look[]; neededAtMs: number }

export class Usefulness {
  readonly #rule: UsefulnessRule
  readonly #sinceMs: number
  readonly #memories: Memory[] = []

  /** `sinceMs`: since when it is there for others alone. */
  constructor(rule: UsefulnessRule, sinceMs: number) {
    this.#rule = rule
    this.#sinceMs = sinceMs
  }

  /** Why to leave now, or null to go on seeding. To be asked about twice a second, with the same torrents in the same order. */
  look(torrents: readonly Demand[], nowMs: number): string | null {
    const { uploadOfDownload } = this.#rule
    const peaks = torrents.flatMap((each) => [each.uploadPeakBytesPerSecond, each.downloadPeakBytesPerSecond * uploadOfDownload])
    const peakBytesPerSecond = Math.max(1, ...peaks)
    const spared = torrents.map((torrent, index) => {
      const memory = (this.#memories[index] ??= { looks: [], neededAtMs: this.#sinceMs })
      this.#remember(memory, torrent, peakBytesPerSecond, nowMs)
      return this.#isCarried(memory, torrent, nowMs) && nowMs - memory.neededAtMs >= this.#waitMs(torrent)
    })
    if (spared.includes(false)) return null
    if (torrents.some(({ peersInNeed }) => peersInNeed > 0))
      return "not useful any more: others that have everything carry what is asked for"
    const neededAtMs = Math.max(this.#sinceMs, ...this.#memories.map((memory) => memory.neededAtMs))
    return `not useful any more: nobody needed it for ${Math.round((nowMs - neededAtMs) / 1000)} s`
  }

  #remember(memory: Memory, { peersInNeed, uploadedBytes, otherSeeders }: Demand, peakBytesPerSecond: number, nowMs: number): void {
    const { overMs, expectMaxMs } = this.#rule
    const { looks } = memory
    const before = looks.findLast(({ atMs }) => atMs <= nowMs - overMs)
    const load = before === undefined ? 0 : ((uploadedBytes - before.uploadedBytes) * 1_000) / (nowMs - before.atMs) / peakBytesPerSecond
    looks.push({ atMs: nowMs, uploadedBytes, carriers: Math.min(1, load) * (otherSeeders + 1) })
    while ((looks[1]?.atMs ?? nowMs) <= nowMs - Math.max(overMs, expectMaxMs)) looks.shift()
    if (peersInNeed > 0) memory.neededAtMs = nowMs
  }

  /** Whether enough of those who leave after this client stay to carry what all of them carry now, and will soon. */
  #isCarried({ looks }: Memory, { peersInNeed, otherSeeders, leavingBefore, arrivalGapMs }: Demand, nowMs: number): boolean {
    const { overMs, expectGaps, expectMaxMs, fullShare } = this.#rule
    const expectMs = arrivalGapMs === null ? 0 : Math.min(expectMaxMs, expectGaps * arrivalGapMs)
    if (peersInNeed === 0 && expectMs === 0) return true
    // As long again, to have seen whether others left.
    if (nowMs - this.#sinceMs < 2 * overMs) return false
    // The most of a while: when some have just left, what they carried comes to the others a moment later.
    const sinceMs = nowMs - Math.max(overMs, expectMs)
    const carriers = Math.max(0, ...looks.filter(({ atMs }) => atMs >= sinceMs).map((look) => look.carriers))
    const staying = Math.max(peersInNeed > 0 ? 1 : 0, Math.ceil(carriers / fullShare))
    return leavingBefore < otherSeeders + 1 - staying
  }

  /** For how long nobody is to have been in need. */
  #waitMs({ peersInNeed, relieved, metClients, arrivalGapMs, tookMs }: Demand): number {
    if (peersInNeed > 0) return 0
    const { quietMs, reserveTimes, reserveGaps, reserveMs, reserveMaxMs } = this.#rule
    if (!metClients || relieved) return quietMs
    return Math.min(reserveMaxMs, Math.max(reserveMs, reserveTimes * (tookMs ?? 0), reserveGaps * (arrivalGapMs ?? 0)))
  }
}
