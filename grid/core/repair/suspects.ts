/** Servers that anyone doubts. What this server would have to take if one of them lied is audited there. */
import type { MemberId } from "#core/identifiers.ts"
import type { RepairLimits } from "../repair-limits.ts"
import type { AuditDesk } from "./audit-desk.ts"
import type { Duties } from "./duties.ts"
import type { Knowledge } from "./knowledge.ts"

/** Of those who would have to take what a suspect lacks, so many may be idle before others audit it too. */
const PATIENCE_MAX = 3

type Suspect = { readonly member: MemberId; readonly position: number; readonly sinceMs: number }
type Parts = { readonly known: Knowledge; readonly duties: Duties; readonly audits: AuditDesk; readonly limits: RepairLimits }

export class Suspects {
  readonly #parts: Parts
  /** Those of the roster but this server, as they were when last looked at. */
  #list: readonly Suspect[] = []
  #listOf: ReadonlyMap<MemberId, number> | null = null

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Positions changed. */
  setRanking(): void {
    this.#listOf = null
  }

  /** Asks for the audits of this image that are due; it is not this server's to take as things are. */
  audit(image: number, nowMs: number): void {
    const { known, duties, audits, limits } = this.#parts
    if (known.doubts.suspected.size === 0) return
    for (const { member, position, sinceMs } of this.#all()) {
      if (!known.claims.has(position, image)) continue
      const id = known.images.idOf(image)
      if (!known.doubts.isOpen(member, id, nowMs - limits.suspectAgainMs)) continue
      const patience = Math.min(PATIENCE_MAX, Math.max(0, Math.floor((nowMs - sinceMs) / limits.overdueMs)))
      if (duties.assess(image, { without: position, patience }).isOwnToTake) audits.ask(member, id)
    }
  }

  /** Images that those hold who are suspected for long: others may have to audit them by now. */
  overdueImages(nowMs: number): ReadonlySet<number> {
    const { known, limits } = this.#parts
    const images = new Set<number>()
    for (const [member, sinceMs] of known.doubts.suspected)
      if (nowMs - sinceMs >= limits.overdueMs) for (const image of known.heldBy(member)) images.add(image)
    return images
  }

  #all(): readonly Suspect[] {
    const { known } = this.#parts
    if (this.#listOf === known.doubts.suspected) return this.#list
    this.#listOf = known.doubts.suspected
    this.#list = [...this.#listOf].flatMap(([member, sinceMs]) => {
      const position = known.ranking.positionOf(member)
      return position === undefined || member === known.self ? [] : { member, position, sinceMs }
    })
    return this.#list
  }
}
