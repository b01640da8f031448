/**
 * One server's own part in keeping every image at its goal: what it fetches, what it audits, what it drops. `step(event, nowMs)` returns effects. No coordinator:
 * every server decides alike from what all can know, and acts for itself alone.
 *
 * Copies are made only where the goal is not met by whoever holds the image, and dropped only where it is met without them by copies that were audited just before.
 */
import type { MemberId } from "#core/identifiers.ts"
import type { Random } from "#swarm/core/random.ts"
import { AuditDesk } from "./audit-desk.ts"
import { CopyTable } from "./copies.ts"
import { Doubts } from "./doubts.ts"
import { Fellows } from "./fellows.ts"
import { livenessLimits, type LivenessLimits } from "./liveness.ts"
import { Ranking, type RosterServer } from "./placement.ts"
import type { AuditOutcome, ImageId, ImageUnit, RepairEffect, RepairEvent, RepairStatus, ServerState } from "./repair-events.ts"
import { repairLimits, type RepairLimits } from "./repair-limits.ts"
import { ScarcestFirst } from "./scarcest-first.ts"

type Parts = {
  readonly self: MemberId
  readonly random: Random
  /** Where several cores share one process, they may share rankings. */
  readonly rankingOf?: (roster: readonly RosterServer[]) => Ranking
}

type Options = { readonly repair?: Partial<RepairLimits>; readonly liveness?: LivenessLimits }

/** A copy about to go, while those who keep the image are audited. */
type DropRound = { readonly keepers: ReadonlySet<MemberId>; readonly waiting: Set<MemberId>; readonly startedAtMs: number }

type Running = { readonly why: "goal" | "balance"; readonly sealedBytes: number }
type Retry = { readonly atMs: number; readonly failures: number }

const SERVING: ServerState = { phase: "serving", isFull: false, doubts: [] }
/** Of those who would have to take what a suspect lacks, so many may be idle before others audit it too. */
const SUSPECT_PATIENCE_MAX = 3
/** How often images that are overdue are looked at again, for each time that makes them so. */
const OVERDUE_LOOKS = 6

export class RepairCore {
  readonly #self: MemberId
  readonly #random: Random
  readonly #limits: RepairLimits
  readonly #rankingOf: (roster: readonly RosterServer[]) => Ranking
  #ranking: Ranking
  /** Own position in the ranking; null when this server is not in the roster. */
  #own: number | null = null
  readonly #fellows: Fellows
  readonly #copies: CopyTable
  readonly #doubts = new Doubts()
  readonly #audits: AuditDesk
  #effects: RepairEffect[] = []

  /** Enough is known of all fellows to judge by. Until then nothing is, and then all at once. */
  #isSettled = false
  /** By number of the image, as all that follow. */
  readonly #held = new Set<number>()
  #heldList: number[] | null = null
  #heldBytes = 0
  /** Retired while they were in use. */
  readonly #retiredHeld = new Set<ImageId>()
  #inUse: ReadonlySet<ImageId> = new Set()
  /** Since when each image is under its goal and could be fetched; Infinity where nobody can serve it. */
  readonly #unmet = new Map<number, number>()
  readonly #wanted = new ScarcestFirst()
  readonly #retries = new Map<number, Retry>()
  readonly #running = new Map<number, Running>()
  /** Since when each copy here is not needed, oldest first. */
  readonly #surplus = new Map<number, number>()
  readonly #drops = new Map<number, DropRound>()

  #roomBytes = Infinity
  #draining = false
  #isDrained = false
  #isFull = false
  /** Of the image for which there was no room. */
  #unfitBytes = 0
  #state: ServerState = SERVING
  #mayStartMs: number | null = null
  #nextRetryMs = Infinity
  #nextAuditMs = Infinity
  #nextOverdueMs = Infinity
  #calmSinceMs: number | null = null
  /** Images that belong here and are elsewhere; null when it is not known. */
  #homeless: number[] | null = null

  constructor({ self, random, rankingOf = (roster) => new Ranking(roster) }: Parts, { repair, liveness = livenessLimits }: Options = {}) {
    this.#self = self
    this.#random = random
    this.#rankingOf = rankingOf
    this.#limits = { ...repairLimits, ...repair }
    this.#ranking = new Ranking([])
    this.#fellows = new Fellows(self, this.#ranking, liveness)
    this.#copies = new CopyTable(this.#fellows, this.#ranking)
    this.#copies.isDoubted = (server, image) =>
      this.#doubts.suspected.size > 0 && this.#doubts.isDoubted(this.#memberAt(server), this.#copies.unitOf(image).image)
    this.#audits = new AuditDesk(this.#limits)
  }

  /** What is to be done now. Events that name servers or images that are not known are passed over. */
  step(event: RepairEvent, nowMs: number): readonly RepairEffect[] {
    this.#effects = []
    this.#take(event, nowMs)
    if (nowMs >= this.#fellows.nextChangeMs) this.#refreshFellows(nowMs)
    this.#act(nowMs)
    return this.#effects
  }

  /** When `tick` is due next; it may be any time before, and need not come when another event does. */
  wakeAtMs(): number {
    const oldestSurplus = this.#surplus.values().next()
    return Math.min(
      this.#fellows.nextChangeMs,
      this.#mayStartMs ?? Infinity,
      this.#nextRetryMs,
      this.#nextAuditMs,
      this.#nextOverdueMs,
      this.#audits.nextMs,
      oldestSurplus.done === true || this.#drops.size >= this.#limits.dropRoundsMax
        ? Infinity
        : oldestSurplus.value + this.#surplusKeptMs(),
      this.#calmSinceMs === null || this.#homeless !== null ? Infinity : this.#calmSinceMs + this.#limits.calmMs,
    )
  }

  status(nowMs: number): RepairStatus {
    const idOf = (image: number) => this.#copies.unitOf(image).image
    const of = (liveness: readonly string[]) =>
      this.#ranking.servers.map(({ memberId }) => memberId).filter((member) => liveness.includes(this.#fellows.livenessOf(member, nowMs)))
    const atRisk = []
    for (const image of this.#unmet.keys()) {
      const { liveCopies, sources } = this.#copies.assess(image)
      if (liveCopies <= 1) atRisk.push({ image: idOf(image), liveCopies, sources })
      if (atRisk.length >= this.#limits.atRiskShownMax) break
    }
    return {
      images: this.#copies.size,
      held: this.#held.size,
      underGoal: this.#unmet.size,
      atRisk,
      wanted: this.#wanted.size + this.#retries.size,
      fetching: [...this.#running.keys()].map(idOf),
      surplus: this.#surplus.size,
      out: of(["out"]),
      suspect: of(["suspect", "missed"]),
      doubted: this.#doubts.own,
      isRepairHeld: this.#fellows.isRepairHeld,
      isFull: this.#isFull,
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
        this.#roomBytes = event.roomBytes
        this.#judgeRoom(nowMs)
        break
      case "in-use":
        this.#inUse = new Set(event.images)
        break
      case "drain":
        this.#drain(event.draining, nowMs)
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

  #setRoster(servers: readonly RosterServer[], nowMs: number): void {
    this.#ranking = this.#rankingOf(servers)
    this.#own = this.#ranking.positionOf(this.#self) ?? null
    this.#fellows.setRanking(this.#ranking, nowMs)
    this.#copies.setRanking(this.#ranking, this.#own)
    const members = new Set(servers.map(({ memberId }) => memberId))
    this.#doubts.keepServers(members)
    this.#audits.keepServers(members)
    for (const [image, { waiting }] of this.#drops) if ([...waiting].some((server) => !members.has(server))) this.#drops.delete(image)
    if (this.#own !== null) for (const image of this.#held) this.#copies.claim(this.#own, image)
    this.#tellFellows()
    this.#fellows.refresh(nowMs)
    this.#isSettled = false
    if (this.#nextAuditMs === Infinity) this.#planAudit(nowMs)
    this.#disturb()
  }

  #add(unit: ImageUnit, nowMs: number): void {
    const image = this.#copies.add(unit)
    if (this.#retiredHeld.delete(unit.image)) this.#setHeld(unit.image, true, nowMs)
    else this.#evaluate(image, nowMs)
  }

  #retire(id: ImageId): void {
    const image = this.#copies.numberOf(id)
    if (image === undefined) return
    if (this.#running.delete(image)) this.#effects.push({ kind: "cancel", image: id })
    if (this.#held.delete(image)) {
      this.#heldList = null
      this.#heldBytes -= this.#copies.unitOf(image).sealedBytes
      this.#retiredHeld.add(id)
    }
    for (const map of [this.#unmet, this.#retries, this.#surplus, this.#drops, this.#wanted]) map.delete(image)
    this.#homeless = this.#homeless?.filter((other) => other !== image) ?? null
    this.#doubts.forgetImage(id)
    this.#audits.forgetImage(id)
    this.#copies.remove(image)
  }

  #hear(server: MemberId, silentSinceMs: number | null, nowMs: number): void {
    const fellow = server === this.#self ? null : this.#fellows.of(server)
    if (fellow === null) return
    // Whoever was away had nothing to take from.
    if (silentSinceMs === null && fellow.silentSinceMs !== null) fellow.tookMs = nowMs
    fellow.silentSinceMs = silentSinceMs
    this.#refreshFellows(nowMs)
  }

  #hearHoldings(server: MemberId, added: readonly ImageId[], removed: readonly ImageId[], nowMs: number): void {
    const fellow = server === this.#self ? null : this.#fellows.of(server)
    const position = this.#ranking.positionOf(server)
    if (fellow === null || position === undefined) return
    if (!fellow.known) {
      fellow.known = true
      this.#disturb()
    }
    if (added.length > 0) fellow.tookMs = nowMs
    for (const id of removed) {
      const image = this.#copies.numberOf(id)
      if (image === undefined || !this.#copies.isClaimed(position, image)) continue
      this.#copies.unclaim(position, image)
      this.#evaluate(image, nowMs)
    }
    for (const id of added) {
      const image = this.#copies.numberOf(id)
      if (image === undefined) continue
      if (this.#doubts.isDoubted(server, id)) this.#audits.ask(server, id)
      else {
        this.#copies.claim(position, image)
        this.#evaluate(image, nowMs)
      }
    }
  }

  #hearState(server: MemberId, state: ServerState, nowMs: number): void {
    const fellow = server === this.#self ? null : this.#fellows.of(server)
    if (fellow === null) return
    const suspects = this.#doubts.hear(server, state.doubts, nowMs)
    const draining = state.phase === "draining"
    if (fellow.draining !== draining || fellow.full !== state.isFull) {
      fellow.draining = draining
      fellow.full = state.isFull
      this.#refreshFellows(nowMs)
    }
    if (suspects.length > 0) this.#nextOverdueMs = Math.min(this.#nextOverdueMs, nowMs + this.#limits.overdueMs)
    for (const suspect of suspects) this.#evaluateHeldBy(suspect, nowMs)
  }

  #drain(draining: boolean, nowMs: number): void {
    if (this.#draining === draining) return
    this.#draining = draining
    this.#isDrained = false
    this.#tellFellows()
    this.#refreshFellows(nowMs)
  }

  /** Own phase and room stand among those of the fellows, so that one rule is for all. */
  #tellFellows(): void {
    const own = this.#fellows.of(this.#self)
    if (own === null) return
    own.draining = this.#draining
    own.full = this.#isFull
  }

  /** Full when what was wanted did not fit; no more when twice that does. */
  #judgeRoom(nowMs: number): void {
    const reserve = this.#limits.reserveBytes
    const isFull = this.#roomBytes < reserve + (this.#isFull ? 2 * this.#unfitBytes : 0)
    if (isFull === this.#isFull) return
    this.#isFull = isFull
    this.#tellFellows()
    this.#refreshFellows(nowMs)
  }

  #refreshFellows(nowMs: number): void {
    const changed = this.#fellows.refresh(nowMs)
    if (changed !== "all" && changed.length === 0) return
    this.#disturb()
    // Who may take more again looks for what is pinned to it: that others hold enough says nothing of that.
    if (changed === "all" || (this.#own !== null && changed.includes(this.#own))) {
      this.#evaluateAll(nowMs)
      return
    }
    const images = new Set(this.#unmet.keys())
    for (const server of changed) for (const image of this.#copies.claimedBy(server)) images.add(image)
    for (const suspect of this.#doubts.suspected.keys()) {
      const position = this.#ranking.positionOf(suspect)
      if (position !== undefined) for (const image of this.#copies.claimedBy(position)) images.add(image)
    }
    for (const image of images) this.#evaluate(image, nowMs)
  }

  #evaluateAll(nowMs: number): void {
    for (const image of this.#copies.numbers()) this.#evaluate(image, nowMs)
  }

  #evaluateHeldBy(server: MemberId, nowMs: number): void {
    const position = this.#ranking.positionOf(server)
    if (position !== undefined) for (const image of this.#copies.claimedBy(position)) this.#evaluate(image, nowMs)
  }

  /** Brings what is wanted, surplus and under its goal up to what is known of one image. */
  #evaluate(image: number, nowMs: number): void {
    if (!this.#isSettled) return
    const unmetSinceMs = this.#unmet.get(image)
    const { isMet, isOwnToTake, sources } = this.#copies.assess(image, { patience: this.#patience(unmetSinceMs, nowMs) })
    if (isMet) this.#unmet.delete(image)
    else if (sources === 0 && !this.#held.has(image)) this.#unmet.set(image, Infinity)
    else if (unmetSinceMs === undefined || unmetSinceMs === Infinity) {
      this.#unmet.set(image, nowMs)
      this.#nextOverdueMs = Math.min(this.#nextOverdueMs, nowMs + this.#limits.overdueMs)
      this.#disturb()
    }
    if (isOwnToTake) this.#want(image, sources, nowMs)
    else this.#wantNot(image)
    if (this.#doubts.suspected.size > 0 && !isOwnToTake) this.#auditSuspects(image, nowMs)
    if (!this.#held.has(image)) return
    if (this.#draining || this.#copies.keepersWithoutOwn(image) === null) {
      this.#surplus.delete(image)
      this.#drops.delete(image)
    } else if (!this.#surplus.has(image) && !this.#drops.has(image)) this.#surplus.set(image, nowMs)
  }

  /** What this server would have to take if a suspect lied is audited there. */
  #auditSuspects(image: number, nowMs: number): void {
    const { image: id } = this.#copies.unitOf(image)
    for (const suspect of this.#doubts.suspected.keys()) {
      const position = this.#ranking.positionOf(suspect)
      if (position === undefined || suspect === this.#self || !this.#copies.isClaimed(position, image)) continue
      if (!this.#doubts.isOpen(suspect, id, nowMs - this.#limits.suspectAgainMs)) continue
      const patience = Math.min(SUSPECT_PATIENCE_MAX, this.#patience(this.#doubts.suspected.get(suspect), nowMs))
      if (this.#copies.assess(image, { without: position, patience }).isOwnToTake) this.#audits.ask(suspect, id)
    }
  }

  /** How many of those who do not take what they should are passed over for something that is amiss since then. */
  #patience(sinceMs: number | undefined, nowMs: number): number {
    return sinceMs === undefined ? 0 : Math.max(0, Math.floor((nowMs - sinceMs) / this.#limits.overdueMs))
  }

  #want(image: number, sources: number, nowMs: number): void {
    if (this.#running.has(image) || (this.#retries.get(image)?.atMs ?? Infinity) !== Infinity) return
    if (this.#wanted.size === 0 && this.#running.size === 0)
      this.#mayStartMs ??= nowMs + this.#random.below(Math.max(1, this.#limits.startSpreadMs))
    this.#wanted.put(image, sources)
  }

  #wantNot(image: number): void {
    this.#wanted.delete(image)
    this.#retries.delete(image)
    if (this.#running.get(image)?.why !== "goal") return
    this.#running.delete(image)
    this.#effects.push({ kind: "cancel", image: this.#copies.unitOf(image).image })
  }

  #setHeld(id: ImageId, isHeld: boolean, nowMs: number): void {
    const image = this.#copies.numberOf(id)
    if (image === undefined) {
      if (isHeld) this.#retiredHeld.add(id)
      else this.#retiredHeld.delete(id)
      return
    }
    if (this.#held.has(image) !== isHeld) this.#heldBytes += (isHeld ? 1 : -1) * this.#copies.unitOf(image).sealedBytes
    if (isHeld) this.#held.add(image)
    else this.#held.delete(image)
    this.#heldList = null
    if (this.#own !== null && isHeld) this.#copies.claim(this.#own, image)
    if (this.#own !== null && !isHeld) this.#copies.unclaim(this.#own, image)
    if (!isHeld) {
      this.#surplus.delete(image)
      this.#drops.delete(image)
    }
    this.#evaluate(image, nowMs)
  }

  #finishFetch(id: ImageId, nowMs: number): void {
    const image = this.#copies.numberOf(id)
    if (image === undefined) {
      this.#retiredHeld.add(id)
      return
    }
    this.#running.delete(image)
    this.#retries.delete(image)
    this.#roomBytes -= this.#copies.unitOf(image).sealedBytes
    this.#setHeld(id, true, nowMs)
  }

  #failFetch(id: ImageId, nowMs: number): void {
    const image = this.#copies.numberOf(id)
    if (image === undefined || !this.#running.delete(image)) return
    this.#backOff(image, nowMs)
  }

  #backOff(image: number, nowMs: number): void {
    const failures = (this.#retries.get(image)?.failures ?? 0) + 1
    const pauseMs = Math.min(this.#limits.retryMaxMs, this.#limits.retryFirstMs * 2 ** Math.min(failures - 1, 16))
    const atMs = nowMs + pauseMs / 2 + this.#random.below(Math.max(1, Math.ceil(pauseMs)))
    this.#retries.set(image, { atMs, failures })
    this.#nextRetryMs = Math.min(this.#nextRetryMs, atMs)
  }

  #hearAudit(server: MemberId, id: ImageId, told: AuditOutcome, nowMs: number): void {
    const outcome = this.#audits.settle(server, id, told, this.#fellows.isHeard(server), nowMs)
    const image = this.#copies.numberOf(id)
    const position = this.#ranking.positionOf(server)
    if (image === undefined || position === undefined) return
    if (outcome === "failed") {
      const isNew = !this.#doubts.suspected.has(server)
      this.#doubts.fail(server, id, nowMs)
      this.#nextOverdueMs = Math.min(this.#nextOverdueMs, nowMs + this.#limits.overdueMs)
      this.#copies.unclaim(position, image)
      if (isNew) this.#evaluateHeldBy(server, nowMs)
      this.#evaluate(image, nowMs)
    } else if ((outcome === "passed" || outcome === "leaving") && this.#doubts.pass(server, id, nowMs)) {
      this.#copies.claim(position, image)
      this.#evaluate(image, nowMs)
      // Whoever proves one copy may have got all of them back.
      for (const other of this.#doubts.of(server)) this.#audits.ask(server, other)
    }
    const round = this.#drops.get(image)
    if (round?.waiting.has(server) !== true) return
    if (outcome === "passed") round.waiting.delete(server)
    else this.#putOff(image, nowMs)
  }

  #putOff(image: number, nowMs: number): void {
    this.#drops.delete(image)
    this.#surplus.delete(image)
    if (this.#copies.keepersWithoutOwn(image) !== null) this.#surplus.set(image, nowMs)
  }

  #act(nowMs: number): void {
    if (!this.#isSettled && this.#own !== null && this.#fellows.isSettled(nowMs)) {
      this.#isSettled = true
      this.#evaluateAll(nowMs)
    }
    if (this.#isSettled) {
      this.#lookAtOverdue(nowMs)
      this.#startFetches(nowMs)
      this.#startDrops(nowMs)
      this.#finishDrops(nowMs)
      this.#bringHome(nowMs)
      if (nowMs >= this.#nextAuditMs) this.#auditOne(nowMs)
      for (const { server, image } of this.#audits.due(nowMs)) this.#effects.push({ kind: "audit", server, image })
    }
    for (const image of this.#retiredHeld) {
      if (this.#inUse.has(image)) continue
      this.#retiredHeld.delete(image)
      this.#effects.push({ kind: "drop", image, why: "retired" })
    }
    this.#tell()
  }

  #lookAtOverdue(nowMs: number): void {
    if (nowMs < this.#nextOverdueMs) return
    const { overdueMs } = this.#limits
    this.#fellows.markIdle(nowMs - overdueMs)
    for (const [image, sinceMs] of this.#unmet) if (nowMs - sinceMs >= overdueMs) this.#evaluate(image, nowMs)
    for (const [suspect, sinceMs] of this.#doubts.suspected) if (nowMs - sinceMs >= overdueMs) this.#evaluateHeldBy(suspect, nowMs)
    this.#nextOverdueMs = this.#unmet.size + this.#doubts.suspected.size === 0 ? Infinity : nowMs + overdueMs / OVERDUE_LOOKS
  }

  #startFetches(nowMs: number): void {
    if (nowMs >= this.#nextRetryMs) this.#retryDue(nowMs)
    if (this.#mayStartMs !== null && nowMs < this.#mayStartMs) return
    this.#mayStartMs = null
    while (this.#running.size < this.#limits.fetchesMax) {
      const image = this.#wanted.draw(this.#random)
      if (image === null || !this.#startFetch(image, "goal", nowMs)) return
    }
  }

  /** Whether there was room; where there is none this server says that it is full. */
  #startFetch(image: number, why: "goal" | "balance", nowMs: number): boolean {
    const { image: id, sealedBytes } = this.#copies.unitOf(image)
    let roomBytes = this.#roomBytes - this.#limits.reserveBytes
    for (const running of this.#running.values()) roomBytes -= running.sealedBytes
    if (sealedBytes > roomBytes) {
      if (why === "balance" || this.#running.size > 0 || this.#isFull) return false
      this.#isFull = true
      this.#unfitBytes = sealedBytes
      this.#tellFellows()
      this.#refreshFellows(nowMs)
      return false
    }
    this.#wanted.delete(image)
    this.#running.set(image, { why, sealedBytes })
    this.#effects.push({ kind: "fetch", image: id, why })
    return true
  }

  #retryDue(nowMs: number): void {
    this.#nextRetryMs = Infinity
    for (const [image, { atMs, failures }] of this.#retries) {
      if (atMs === Infinity) continue
      if (atMs > nowMs) {
        this.#nextRetryMs = Math.min(this.#nextRetryMs, atMs)
        continue
      }
      // Kept to know how often it failed, until it comes or is not wanted.
      this.#retries.set(image, { atMs: Infinity, failures })
      this.#wanted.put(image, this.#copies.recentHolders(image).length)
    }
  }

  /** Not at all where there is no room here and there are images that lack a place. */
  #surplusKeptMs(): number {
    if (this.#isFull && this.#unmet.size > 0) return 0
    const isScarce = this.#roomBytes < this.#limits.scarceShare * (this.#heldBytes + this.#roomBytes)
    return isScarce ? this.#limits.surplusKeptScarceMs : this.#limits.surplusKeptMs
  }

  #startDrops(nowMs: number): void {
    const keptMs = this.#surplusKeptMs()
    for (const [image, sinceMs] of this.#surplus) {
      if (this.#drops.size >= this.#limits.dropRoundsMax) return
      if (nowMs - sinceMs < keptMs) return
      const keepers = this.#copies.keepersWithoutOwn(image)
      this.#surplus.delete(image)
      const { image: id } = this.#copies.unitOf(image)
      const members = (keepers ?? []).map((position) => this.#memberAt(position))
      const isQuiet = members.every((member) => this.#fellows.isHeard(member))
      if (keepers === null || !isQuiet || this.#inUse.has(id)) {
        this.#putOff(image, nowMs)
        if (keptMs === 0) return
        continue
      }
      this.#drops.set(image, { keepers: new Set(members), waiting: new Set(members), startedAtMs: nowMs })
      for (const member of members) if (this.#audits.begin(member, id)) this.#effects.push({ kind: "audit", server: member, image: id })
    }
  }

  #finishDrops(nowMs: number): void {
    for (const [image, { keepers, waiting, startedAtMs }] of this.#drops) {
      const isStale = nowMs - startedAtMs > this.#limits.auditValidMs
      if (waiting.size > 0 && !isStale) continue
      const { image: id } = this.#copies.unitOf(image)
      const now = this.#copies.keepersWithoutOwn(image)
      const isSame =
        now !== null && now.every((position) => keepers.has(this.#memberAt(position)) && this.#fellows.isHeard(this.#memberAt(position)))
      if (isStale || !isSame || this.#inUse.has(id)) {
        this.#putOff(image, nowMs)
        continue
      }
      this.#drops.delete(image)
      this.#roomBytes += this.#copies.unitOf(image).sealedBytes
      this.#setHeld(id, false, nowMs)
      this.#effects.push({ kind: "drop", image: id, why: "surplus" })
    }
  }

  #planAudit(nowMs: number): void {
    const { auditEveryMs } = this.#limits
    this.#nextAuditMs = nowMs + auditEveryMs / 2 + this.#random.below(Math.max(1, auditEveryMs))
  }

  /** A copy of something that is held here too, at any fellow; now and then one that is doubted. */
  #auditOne(nowMs: number): void {
    this.#planAudit(nowMs)
    const doubted = this.#doubts.own
    if (doubted.length > 0 && this.#random.below(4) === 0) {
      const server = doubted[this.#random.below(doubted.length)]
      const images = server === undefined ? [] : this.#doubts.of(server)
      const image = images[this.#random.below(Math.max(1, images.length))]
      if (server !== undefined && image !== undefined) this.#audits.ask(server, image)
      return
    }
    this.#heldList ??= [...this.#held]
    const image = this.#heldList[this.#random.below(Math.max(1, this.#heldList.length))]
    if (image === undefined) return
    const holders = this.#copies.recentHolders(image)
    const holder = holders[this.#random.below(Math.max(1, holders.length))]
    if (holder !== undefined) this.#audits.ask(this.#memberAt(holder), this.#copies.unitOf(image).image)
  }

  /** Something changed that may call for repair: images go home another time. */
  #disturb(): void {
    this.#calmSinceMs = null
    this.#homeless = null
  }

  /** When all is well for long, images that belong here and stand elsewhere are taken, one at a time. */
  #bringHome(nowMs: number): void {
    if (this.#calmSinceMs === null) {
      if (this.#unmet.size === 0 && this.#fellows.isCalm && this.#doubts.suspected.size === 0) this.#calmSinceMs = nowMs
      return
    }
    if (nowMs - this.#calmSinceMs < this.#limits.calmMs || this.#running.size > 0) return
    this.#homeless ??= [...this.#copies.numbers()].filter((image) => !this.#held.has(image) && this.#copies.isHome(image))
    while (this.#homeless.length > 0) {
      const image = this.#homeless.pop()
      if (image === undefined || this.#held.has(image) || this.#copies.recentHolders(image).length === 0) continue
      this.#startFetch(image, "balance", nowMs)
      return
    }
  }

  /** Publishes what changed of the own state, and says once when nothing here is needed any more. */
  #tell(): void {
    const doubts = this.#doubts.own
    const phase = this.#draining ? "draining" : "serving"
    const { phase: wasPhase, isFull: wasFull, doubts: hadDoubts } = this.#state
    const isSame = phase === wasPhase && this.#isFull === wasFull && doubts.length === hadDoubts.length
    if (!isSame || doubts.some((member, place) => member !== hadDoubts[place])) {
      this.#state = { phase, isFull: this.#isFull, doubts }
      this.#effects.push({ kind: "publish-state", state: this.#state })
    }
    if (!this.#draining || this.#isDrained) return
    for (const image of this.#unmet.keys()) if (this.#held.has(image)) return
    this.#isDrained = true
    this.#effects.push({ kind: "drained" })
  }

  #memberAt(position: number): MemberId {
    const server = this.#ranking.servers[position]
    if (server === undefined) throw new RangeError(`there is no server at position ${position}`)
    return server.memberId
  }
}
