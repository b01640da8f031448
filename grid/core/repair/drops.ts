/**
 * Copies here that are not needed: kept for a while, and dropped once those who keep the image passed an audit just before. Whatever changes in between puts it off,
 * and the time in which it is kept begins again.
 */
import type { MemberId } from "#core/identifiers.ts"
import type { AuditOutcome, RepairEffect } from "../repair-events.ts"
import type { RepairLimits } from "../repair-limits.ts"
import type { AuditDesk } from "./audit-desk.ts"
import type { Duties } from "./duties.ts"
import type { Knowledge } from "./knowledge.ts"
import type { OwnCopies } from "./own-copies.ts"

/** A copy about to go, while those who keep the image are audited. */
type Round = { readonly keepers: ReadonlySet<MemberId>; readonly waiting: Set<MemberId>; readonly startedAtMs: number }
type Parts = {
  readonly known: Knowledge
  readonly duties: Duties
  readonly copies: OwnCopies
  readonly audits: AuditDesk
  readonly limits: RepairLimits
  readonly emit: (effect: RepairEffect) => void
}

export class Drops {
  readonly #parts: Parts
  /** Since when each copy here is not needed, oldest first. */
  readonly #surplus = new Map<number, number>()
  readonly #rounds = new Map<number, Round>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  get surplusCount(): number {
    return this.#surplus.size
  }

  /** When the next round is due, where copies are kept for so long. */
  nextMs(keptMs: number): number {
    const oldest = this.#surplus.values().next()
    return oldest.done === true || this.#rounds.size >= this.#parts.limits.dropRoundsMax ? Infinity : oldest.value + keptMs
  }

  /** What is known of the image changed: is the copy here needed? */
  consider(image: number, mayDrop: boolean, nowMs: number): void {
    if (!mayDrop || this.#parts.duties.keepersWithoutOwn(image) === null) this.forget(image)
    else if (!this.#surplus.has(image) && !this.#rounds.has(image)) this.#surplus.set(image, nowMs)
  }

  forget(image: number): void {
    this.#surplus.delete(image)
    this.#rounds.delete(image)
  }

  /** Rounds that wait for a server that left are given up. */
  keepServers(servers: ReadonlySet<MemberId>): void {
    for (const [image, { waiting }] of this.#rounds) if ([...waiting].some((server) => !servers.has(server))) this.#rounds.delete(image)
  }

  hearAudit(image: number, server: MemberId, outcome: AuditOutcome, nowMs: number): void {
    const round = this.#rounds.get(image)
    if (round?.waiting.has(server) !== true) return
    if (outcome === "passed") round.waiting.delete(server)
    else this.#putOff(image, nowMs)
  }

  /** Begins the rounds of those that were kept for so long. */
  start(keptMs: number, nowMs: number): void {
    const { known, duties, copies, audits, limits, emit } = this.#parts
    for (const [image, sinceMs] of this.#surplus) {
      if (this.#rounds.size >= limits.dropRoundsMax) return
      if (nowMs - sinceMs < keptMs) return
      const keepers = duties.keepersWithoutOwn(image)
      this.#surplus.delete(image)
      const id = known.images.idOf(image)
      const members = (keepers ?? []).map((position) => known.memberAt(position))
      const isQuiet = members.every((member) => known.fellows.isHeard(member))
      if (keepers === null || !isQuiet || copies.isInUse(id)) {
        this.#putOff(image, nowMs)
        if (keptMs === 0) return
        continue
      }
      this.#rounds.set(image, { keepers: new Set(members), waiting: new Set(members), startedAtMs: nowMs })
      for (const member of members) if (audits.begin(member, id)) emit({ kind: "audit", server: member, image: id })
    }
  }

  /** Images of which the copies here may go now. Their rounds are over. */
  finish(nowMs: number): readonly number[] {
    const { known, duties, copies, limits } = this.#parts
    const going: number[] = []
    for (const [image, { keepers, waiting, startedAtMs }] of this.#rounds) {
      const isStale = nowMs - startedAtMs > limits.auditValidMs
      if (waiting.size > 0 && !isStale) continue
      const members = duties.keepersWithoutOwn(image)?.map((position) => known.memberAt(position)) ?? null
      const isSame = members !== null && members.every((member) => keepers.has(member) && known.fellows.isHeard(member))
      if (isStale || !isSame || copies.isInUse(known.images.idOf(image))) this.#putOff(image, nowMs)
      else {
        this.#rounds.delete(image)
        going.push(image)
      }
    }
    return going
  }

  #putOff(image: number, nowMs: number): void {
    this.forget(image)
    if (this.#parts.duties.keepersWithoutOwn(image) !== null) this.#surplus.set(image, nowMs)
  }
}
