/**
 * One server's own part in keeping every image at its goal: what it fetches, what it audits, what it drops. `step(event, nowMs)` returns effects. No coordinator:
 * every server decides alike from what all can know, and acts for itself alone.
 *
 * Copies are made only where the goal is not met by whoever holds the image, and dropped only where it is met without them by copies that were audited just before.
 *
 * Events change what is known (repair/knowledge.ts); every image that a change may concern is evaluated: is its goal met, is it to be fetched, audited or dropped
 * here; and after each event the parts of repair/ do what is due.
 */
import type { MemberId } from "#core/identifiers.ts"
import type { Random } from "#swarm/core/random.ts"
import { livenessLimits, type LivenessLimits } from "./liveness.ts"
import { Ranking, type RosterServer } from "./placement.ts"
import type { AuditOutcome, ImageId, ImageUnit, RepairEffect, RepairEvent, RepairStatus, ServerState } from "./repair-events.ts"
import { repairLimits, type RepairLimits } from "./repair-limits.ts"
import { AuditDesk } from "./repair/audit-desk.ts"
import { Auditor } from "./repair/auditor.ts"
import { Drops } from "./repair/drops.ts"
import { Duties } from "./repair/duties.ts"
import { Fetches } from "./repair/fetches.ts"
import { Homecoming } from "./repair/homecoming.ts"
import { Knowledge } from "./repair/knowledge.ts"
import { OwnCopies } from "./repair/own-copies.ts"
import { OwnWord } from "./repair/own-word.ts"
import { Room } from "./repair/room.ts"
import { Suspects } from "./repair/suspects.ts"

type Parts = {
  readonly self: MemberId
  readonly random: Random
  /** Where several cores share one process, they may share rankings. */
  readonly rankingOf?: (roster: readonly RosterServer[]) => Ranking
}

type Options = { readonly repair?: Partial<RepairLimits>; readonly liveness?: LivenessLimits }

/** How often images that are overdue are looked at again, for each time that makes them so. */
const OVERDUE_LOOKS = 6

export class RepairCore {
  readonly #limits: RepairLimits
  readonly #rankingOf: (roster: readonly RosterServer[]) => Ranking
  readonly #known: Knowledge
  readonly #duties: Duties
  readonly #copies: OwnCopies
  readonly #room: Room
  readonly #fetches: Fetches
  readonly #drops: Drops
  readonly #audits: AuditDesk
  readonly #auditor: Auditor
  readonly #suspects: Suspects
  readonly #homecoming: Homecoming
  readonly #word: OwnWord
  #effects: RepairEffect[] = []

  /** Enough is known of all fellows to judge by. Until then nothing is, and then all at once. */
  #isSettled = false
  /** Since when each image, by its number, is under its goal and could be fetched; Infinity where nobody can serve it, or nobody may take it. */
  readonly #unmet = new Map<number, number>()
  #nextOverdueMs = Infinity

  constructor({ self, random, rankingOf = (roster) => new Ranking(roster) }: Parts, { repair, liveness = livenessLimits }: Options = {}) {
    const limits = { ...repairLimits, ...repair }
    const emit = (effect: RepairEffect) => this.#effects.push(effect)
    this.#limits = limits
    this.#rankingOf = rankingOf
    const known = (this.#known = new Knowledge(self, liveness))
    const duties = (this.#duties = new Duties(known))
    const copies = (this.#copies = new OwnCopies(known.images))
    const room = (this.#room = new Room(limits))
    const audits = (this.#audits = new AuditDesk(limits))
    this.#fetches = new Fetches({ known, room, random, limits, emit })
    this.#drops = new Drops({ known, duties, copies, audits, limits, emit })
    this.#auditor = new Auditor({ known, copies, audits, random, limits })
    this.#suspects = new Suspects({ known, duties, audits, limits })
    this.#homecoming = new Homecoming({ known, duties, copies, limits })
    this.#word = new OwnWord(emit)
  }

  /** What is to be done now. Events that name servers or images that are not known are passed over. */
  step(event: RepairEvent, nowMs: number): readonly RepairEffect[] {
    this.#effects = []
    this.#take(event, nowMs)
    if (nowMs >= this.#known.fellows.nextChangeMs) this.#refreshFellows(nowMs)
    this.#act(nowMs)
    return this.#effects
  }

  /** When `tick` is due next; it may be any time before, and need not come when another event does. */
  wakeAtMs(): number {
    return Math.min(
      this.#known.fellows.nextChangeMs,
      this.#fetches.nextMs,
      this.#auditor.nextMs,
      this.#nextOverdueMs,
      this.#audits.nextMs,
      this.#drops.nextMs(this.#surplusKeptMs()),
      this.#homecoming.nextMs,
    )
  }

  status(nowMs: number): RepairStatus {
    const { images, fellows, ranking, doubts } = this.#known
    const of = (liveness: readonly string[]) =>
      ranking.servers.map(({ memberId }) => memberId).filter((member) => liveness.includes(fellows.livenessOf(member, nowMs)))
    const atRisk = []
    for (const image of this.#unmet.keys()) {
      const { liveCopies, sources } = this.#duties.assess(image)
      if (liveCopies <= 1) atRisk.push({ image: images.idOf(image), liveCopies, sources })
      if (atRisk.length >= this.#limits.atRiskShownMax) break
    }
    return {
      images: images.size,
      held: this.#copies.size,
      underGoal: this.#unmet.size,
      atRisk,
      wanted: this.#fetches.waitingCount,
      fetching: this.#fetches.running().map((image) => images.idOf(image)),
      surplus: this.#drops.surplusCount,
      out: of(["out"]),
      suspect: of(["suspect", "missed"]),
      doubted: doubts.own,
      isRepairHeld: fellows.isRepairHeld,
      isFull: this.#room.isFull,
    }
  }

  #take(event: RepairEvent, nowMs: number): void {
    switch (event.kind) {
      case "roster":
        this.#setRoster(event.servers, nowMs)
        break
      case "images":
        for (const unit of event.added) this.#add(unit, nowMs)
        for (const image of event.retired) this.#retire(image)
        break
      case "heard":
        this.#hear(event.server, null, nowMs)
        break
      case "silent":
        this.#hear(event.server, event.sinceMs, nowMs)
        break
      case "holdings":
        this.#hearHoldings(event.server, event.added, event.removed, nowMs)
        break
      case "state":
        this.#hearState(event.server, event.state, nowMs)
        break
      case "own":
        for (const image of event.added) this.#setHeld(image, true, nowMs)
        for (const image of event.removed) this.#setHeld(image, false, nowMs)
        break
      case "space":
        if (this.#room.set(event.roomBytes)) this.#changeOwnState(nowMs)
        break
      case "in-use":
        this.#copies.setInUse(event.images)
        break
      case "drain":
        if (this.#word.setDraining(event.draining)) this.#changeOwnState(nowMs)
        break
      case "fetched":
        this.#finishFetch(event.image, nowMs)
        break
      case "fetch-failed":
        this.#failFetch(event.image, nowMs)
        break
      case "audited":
        this.#hearAudit(event.server, event.image, event.outcome, nowMs)
        break
      case "tick":
        break
    }
  }

  // What events change

  #setRoster(servers: readonly RosterServer[], nowMs: number): void {
    const known = this.#known
    known.setRanking(this.#rankingOf(servers), nowMs)
    this.#suspects.setRanking()
    const members = new Set(servers.map(({ memberId }) => memberId))
    this.#audits.keepServers(members)
    this.#drops.keepServers(members)
    if (known.own !== null) for (const image of this.#copies) known.claims.add(known.own, image)
    this.#tellFellows()
    known.fellows.refresh(nowMs)
    this.#isSettled = false
    this.#auditor.begin(nowMs)
    this.#homecoming.disturb()
  }

  #add(unit: ImageUnit, nowMs: number): void {
    const image = this.#known.images.add(unit)
    this.#known.claims.makeRoom(image)
    if (this.#copies.takeBack(unit.image)) this.#setHeld(unit.image, true, nowMs)
    else this.#evaluate(image, nowMs)
  }

  #retire(id: ImageId): void {
    const { images, claims, doubts } = this.#known
    const image = images.numberOf(id)
    if (image === undefined) return
    this.#fetches.retire(image)
    this.#copies.retire(image)
    this.#drops.forget(image)
    this.#homecoming.forget(image)
    this.#unmet.delete(image)
    doubts.forgetImage(id)
    this.#audits.forgetImage(id)
    claims.forgetImage(image)
    images.remove(image)
  }

  #hear(server: MemberId, silentSinceMs: number | null, nowMs: number): void {
    const fellow = server === this.#known.self ? null : this.#known.fellows.of(server)
    if (fellow === null) return
    // Whoever was away had nothing to take from.
    if (silentSinceMs === null && fellow.silentSinceMs !== null) fellow.tookMs = nowMs
    fellow.silentSinceMs = silentSinceMs
    this.#refreshFellows(nowMs)
  }

  #hearHoldings(server: MemberId, added: readonly ImageId[], removed: readonly ImageId[], nowMs: number): void {
    const { self, ranking, fellows, images, claims, doubts } = this.#known
    const fellow = server === self ? null : fellows.of(server)
    const position = ranking.positionOf(server)
    if (fellow === null || position === undefined) return
    if (!fellow.known) {
      fellow.known = true
      this.#homecoming.disturb()
    }
    if (added.length > 0) fellow.tookMs = nowMs
    for (const id of removed) {
      const image = images.numberOf(id)
      if (image === undefined || !claims.has(position, image)) continue
      claims.delete(position, image)
      this.#evaluate(image, nowMs)
    }
    for (const id of added) {
      const image = images.numberOf(id)
      if (image === undefined) continue
      if (doubts.isDoubted(server, id)) this.#audits.ask(server, id)
      else {
        claims.add(position, image)
        this.#evaluate(image, nowMs)
      }
    }
  }

  #hearState(server: MemberId, state: ServerState, nowMs: number): void {
    const fellow = server === this.#known.self ? null : this.#known.fellows.of(server)
    if (fellow === null) return
    const suspects = this.#known.doubts.hear(server, state.doubts, nowMs)
    const draining = state.phase === "draining"
    if (fellow.draining !== draining || fellow.full !== state.isFull) {
      fellow.draining = draining
      fellow.full = state.isFull
      this.#refreshFellows(nowMs)
    }
    if (suspects.length > 0) this.#planOverdueLook(nowMs)
    for (const suspect of suspects) this.#evaluateHeldBy(suspect, nowMs)
  }

  /** It drains or not, it is full or not. */
  #changeOwnState(nowMs: number): void {
    this.#tellFellows()
    this.#refreshFellows(nowMs)
  }

  /** Own phase and room stand among those of the fellows, so that one rule is for all. */
  #tellFellows(): void {
    const own = this.#known.fellows.of(this.#known.self)
    if (own === null) return
    own.draining = this.#word.draining
    own.full = this.#room.isFull
  }

  #setHeld(id: ImageId, isHeld: boolean, nowMs: number): void {
    const { images, claims, own } = this.#known
    const image = images.numberOf(id)
    if (image === undefined) {
      this.#copies.setRetired(id, isHeld)
      return
    }
    if (isHeld) {
      this.#copies.add(image)
      if (own !== null) claims.add(own, image)
    } else {
      this.#copies.delete(image)
      if (own !== null) claims.delete(own, image)
      this.#drops.forget(image)
    }
    this.#evaluate(image, nowMs)
  }

  #finishFetch(id: ImageId, nowMs: number): void {
    const image = this.#known.images.numberOf(id)
    if (image !== undefined) this.#fetches.finish(image)
    this.#setHeld(id, true, nowMs)
  }

  #failFetch(id: ImageId, nowMs: number): void {
    const image = this.#known.images.numberOf(id)
    if (image !== undefined) this.#fetches.fail(image, nowMs)
  }

  #hearAudit(server: MemberId, id: ImageId, told: AuditOutcome, nowMs: number): void {
    const { ranking, fellows, images, claims, doubts } = this.#known
    const outcome = this.#audits.settle(server, id, told, fellows.isHeard(server), nowMs)
    const image = images.numberOf(id)
    const position = ranking.positionOf(server)
    if (image === undefined || position === undefined) return
    if (outcome === "failed") {
      const isNew = !doubts.suspected.has(server)
      doubts.fail(server, id, nowMs)
      this.#planOverdueLook(nowMs)
      claims.delete(position, image)
      if (isNew) this.#evaluateHeldBy(server, nowMs)
      this.#evaluate(image, nowMs)
    } else if ((outcome === "passed" || outcome === "leaving") && doubts.pass(server, id, nowMs)) {
      claims.add(position, image)
      this.#evaluate(image, nowMs)
      // Whoever proves one copy may have got all of them back.
      for (const other of doubts.of(server)) this.#audits.ask(server, other)
    }
    this.#drops.hearAudit(image, server, outcome, nowMs)
  }

  // What follows for the images

  #refreshFellows(nowMs: number): void {
    const { fellows, own, claims, doubts, images } = this.#known
    const changed = fellows.refresh(nowMs)
    if (changed !== "all" && changed.length === 0) return
    this.#homecoming.disturb()
    // Who may take more again looks for what is pinned to it: that others hold enough says nothing of that.
    if (changed === "all" || (own !== null && changed.includes(own))) {
      this.#evaluateAll(nowMs)
      return
    }
    const concerned = new Set(this.#unmet.keys())
    for (const server of changed) for (const image of claims.of(server, images.numbersEnd)) concerned.add(image)
    for (const suspect of doubts.suspected.keys()) for (const image of this.#known.heldBy(suspect)) concerned.add(image)
    for (const image of concerned) this.#evaluate(image, nowMs)
  }

  #evaluateAll(nowMs: number): void {
    for (const image of this.#known.images.numbers()) this.#evaluate(image, nowMs)
  }

  #evaluateHeldBy(server: MemberId, nowMs: number): void {
    for (const image of this.#known.heldBy(server)) this.#evaluate(image, nowMs)
  }

  /** Brings what is wanted, surplus and under its goal up to what is known of one image. */
  #evaluate(image: number, nowMs: number): void {
    if (!this.#isSettled) return
    const isHeld = this.#copies.has(image)
    const unmetSinceMs = this.#unmet.get(image)
    // Of those who do not take what they should, one is passed over for each such time.
    const patience = unmetSinceMs === undefined ? 0 : Math.max(0, Math.floor((nowMs - unmetSinceMs) / this.#limits.overdueMs))
    const { isMet, hasTaker, isOwnToTake, sources } = this.#duties.assess(image, { patience })
    if (isMet) this.#unmet.delete(image)
    else if (!hasTaker || (sources === 0 && !isHeld)) this.#unmet.set(image, Infinity)
    else if (unmetSinceMs === undefined || unmetSinceMs === Infinity) {
      this.#unmet.set(image, nowMs)
      this.#planOverdueLook(nowMs)
      this.#homecoming.disturb()
    }
    if (isOwnToTake) this.#fetches.want(image, sources, nowMs)
    else {
      this.#fetches.wantNot(image)
      this.#suspects.audit(image, nowMs)
    }
    if (isHeld) this.#drops.consider(image, !this.#word.draining, nowMs)
  }

  // What is due

  #act(nowMs: number): void {
    if (!this.#isSettled && this.#known.own !== null && this.#known.fellows.isSettled(nowMs)) {
      this.#isSettled = true
      this.#evaluateAll(nowMs)
    }
    if (this.#isSettled) {
      if (nowMs >= this.#nextOverdueMs) this.#lookAtOverdue(nowMs)
      if (!this.#fetches.start(nowMs)) this.#changeOwnState(nowMs)
      this.#drops.start(this.#surplusKeptMs(), nowMs)
      for (const image of this.#drops.finish(nowMs)) this.#drop(image, nowMs)
      this.#bringHome(nowMs)
      this.#auditor.act(nowMs)
      for (const { server, image } of this.#audits.due(nowMs)) this.#effects.push({ kind: "audit", server, image })
    }
    for (const image of this.#copies.takeUnused()) this.#effects.push({ kind: "drop", image, why: "retired" })
    this.#word.tell(this.#room.isFull, this.#known.doubts.own, () => [...this.#unmet.keys()].some((image) => this.#copies.has(image)))
  }

  #planOverdueLook(nowMs: number): void {
    this.#nextOverdueMs = Math.min(this.#nextOverdueMs, nowMs + this.#limits.overdueMs)
  }

  #lookAtOverdue(nowMs: number): void {
    const { overdueMs } = this.#limits
    this.#known.fellows.markIdle(nowMs - overdueMs)
    for (const [image, sinceMs] of this.#unmet) if (nowMs - sinceMs >= overdueMs) this.#evaluate(image, nowMs)
    for (const image of this.#suspects.overdueImages(nowMs)) this.#evaluate(image, nowMs)
    const isNothingOpen = this.#unmet.size + this.#known.doubts.suspected.size === 0
    this.#nextOverdueMs = isNothingOpen ? Infinity : nowMs + overdueMs / OVERDUE_LOOKS
  }

  /** Copies that are not needed are not kept at all where there is no room here and there are images that lack a place. */
  #surplusKeptMs(): number {
    if (this.#room.isFull && this.#unmet.size > 0) return 0
    return this.#room.isScarce(this.#copies.bytes) ? this.#limits.surplusKeptScarceMs : this.#limits.surplusKeptMs
  }

  #drop(image: number, nowMs: number): void {
    const { image: id, sealedBytes } = this.#known.images.unitOf(image)
    this.#room.bytes += sealedBytes
    this.#setHeld(id, false, nowMs)
    this.#effects.push({ kind: "drop", image: id, why: "surplus" })
  }

  #bringHome(nowMs: number): void {
    const image = this.#homecoming.next({ areGoalsMet: this.#unmet.size === 0, isFetching: this.#fetches.runningCount > 0 }, nowMs)
    if (image !== null) this.#fetches.startOne(image, "balance")
  }
}
