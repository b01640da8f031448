/** Audits at random: about once in so long, one copy of something that is held here too, at any fellow; now and then one that is doubted. */
import type { Random } from "#swarm/core/random.ts"
import type { RepairLimits } from "../repair-limits.ts"
import type { AuditDesk } from "./audit-desk.ts"
import type { Knowledge } from "./knowledge.ts"
import type { OwnCopies } from "./own-copies.ts"

/** Where somebody is doubted, one in so many is of what is doubted. */
const DOUBTED_ONE_IN = 4

type Parts = {
  readonly known: Knowledge
  readonly copies: OwnCopies
  readonly audits: AuditDesk
  readonly random: Random
  readonly limits: RepairLimits
}

export class Auditor {
  readonly #parts: Parts
  nextMs = Infinity

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Begins, unless it has begun before. */
  begin(nowMs: number): void {
    if (this.nextMs === Infinity) this.#plan(nowMs)
  }

  /** Asks for one when it is due. */
  act(nowMs: number): void {
    if (nowMs < this.nextMs) return
    this.#plan(nowMs)
    const { known, copies, audits, random } = this.#parts
    const doubted = known.doubts.own
    if (doubted.length > 0 && random.below(DOUBTED_ONE_IN) === 0) {
      const server = doubted[random.below(doubted.length)]
      const images = server === undefined ? [] : known.doubts.of(server)
      const image = images[random.below(Math.max(1, images.length))]
      if (server !== undefined && image !== undefined) audits.ask(server, image)
      return
    }
    const held = copies.list()
    const image = held[random.below(Math.max(1, held.length))]
    if (image === undefined) return
    const holders = known.recentHolders(image)
    const holder = holders[random.below(Math.max(1, holders.length))]
    if (holder !== undefined) audits.ask(known.memberAt(holder), known.images.idOf(image))
  }

  #plan(nowMs: number): void {
    const { random, limits } = this.#parts
    this.nextMs = nowMs + limits.auditEveryMs / 2 + random.below(Math.max(1, limits.auditEveryMs))
  }
}
