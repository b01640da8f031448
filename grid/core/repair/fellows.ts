/**
 * What is known of each server of the roster beside its copies: how long it is silent, whether it leaves, whether it is full. Kept as sets of bits by
 * position in the ranking, so that a question about one image is a few operations on words.
 */
import type { MemberId } from "#core/identifiers.ts"
import { isTooManyGone, livenessOf, nextChangeMs, type Liveness, type LivenessLimits } from "../liveness.ts"
import type { Ranking } from "../placement.ts"
import { hasBit, setBit, type ServerBits } from "./server-bits.ts"

type Fellow = {
  silentSinceMs: number | null
  /** Its documents came. */
  known: boolean
  draining: boolean
  full: boolean
  /** When it last had something new, or was new itself. */
  tookMs: number
}

export class Fellows {
  readonly #self: MemberId
  readonly #limits: LivenessLimits
  #ranking: Ranking
  #fellows = new Map<MemberId, Fellow>()
  /** Heard within the last minute, itself among them. */
  recent: ServerBits = new Uint32Array(0)
  /** Its copies count: not out, and not leaving. With too many out, the copies of those count. */
  counted: ServerBits = new Uint32Array(0)
  draining: ServerBits = new Uint32Array(0)
  /** It may be given more. */
  eligible: ServerBits = new Uint32Array(0)
  /** It took nothing for long (`markIdle`). */
  idle: ServerBits = new Uint32Array(0)
  /** So many are silent that nothing is repaired, and those that are out count. */
  isRepairHeld = false
  /** Nobody in the roster is silent, leaving or full. */
  isCalm = false
  nextChangeMs = Infinity

  constructor(self: MemberId, ranking: Ranking, limits: LivenessLimits) {
    this.#self = self
    this.#ranking = ranking
    this.#limits = limits
  }

  /** Keeps what is known of those who stay. Who is new is silent from now on. */
  setRanking(ranking: Ranking, nowMs: number): void {
    const before = this.#fellows
    this.#ranking = ranking
    this.#fellows = new Map()
    for (const { memberId } of ranking.servers) {
      const isSelf = memberId === this.#self
      // Who joins a roster that was known has nothing yet; at the start nobody is known.
      const unheard = {
        silentSinceMs: isSelf ? null : nowMs,
        known: isSelf || before.size > 0,
        draining: false,
        full: false,
        tookMs: nowMs,
      }
      this.#fellows.set(memberId, before.get(memberId) ?? unheard)
    }
  }

  /** Null when the server is not in the roster. */
  of(server: MemberId): Fellow | null {
    return this.#fellows.get(server) ?? null
  }

  /** Connected at this moment. */
  isHeard(server: MemberId): boolean {
    return this.#fellows.get(server)?.silentSinceMs === null
  }

  livenessOf(server: MemberId, nowMs: number): Liveness {
    return livenessOf(this.#fellows.get(server)?.silentSinceMs ?? null, nowMs, this.#limits)
  }

  /**
   * Whether the documents of each server are here, or it is out; and not of too many. Before that nothing that is seen means anything: what they hold is not
   * known, rather than lost.
   */
  isSettled(nowMs: number): boolean {
    let unknownCount = 0
    for (const [member, { known }] of this.#fellows) {
      if (known) continue
      if (this.livenessOf(member, nowMs) !== "out") return false
      unknownCount += 1
    }
    return !isTooManyGone(unknownCount, this.#fellows.size, this.#limits)
  }

  /** Works the sets out anew. Returns the servers for which they changed, or "all" when what silence means changed for everyone. */
  refresh(nowMs: number): readonly number[] | "all" {
    const words = Math.ceil(this.#ranking.servers.length / 32)
    const [recent, counted, draining, eligible] = [0, 1, 2, 3].map(() => new Uint32Array(words)) as [
      ServerBits,
      ServerBits,
      ServerBits,
      ServerBits,
    ]
    const outs: number[] = []
    let [missedCount, silentCount] = [0, 0]
    this.isCalm = true
    this.nextChangeMs = Infinity
    for (const [position, { memberId }] of this.#ranking.servers.entries()) {
      const fellow = this.#fellows.get(memberId)
      if (fellow === undefined) continue
      const liveness = livenessOf(fellow.silentSinceMs, nowMs, this.#limits)
      this.nextChangeMs = Math.min(this.nextChangeMs, nextChangeMs(fellow.silentSinceMs, nowMs, this.#limits))
      if (fellow.silentSinceMs !== null || fellow.draining || fellow.full) this.isCalm = false
      if (fellow.silentSinceMs !== null) silentCount += 1
      const isRecent = liveness === "live" || liveness === "suspect"
      if (isRecent) setBit(recent, position)
      else missedCount += 1
      if (fellow.draining) setBit(draining, position)
      else if (liveness === "out") outs.push(position)
      else setBit(counted, position)
      if (isRecent && !fellow.draining && !fellow.full) setBit(eligible, position)
    }
    const wasHeld = this.isRepairHeld
    // Once held it is so until few are silent at all: those who came back may be fewer than those who were cut off this very minute.
    this.isRepairHeld = isTooManyGone(wasHeld ? silentCount : missedCount, this.#ranking.servers.length, this.#limits)
    if (this.isRepairHeld) for (const position of outs) setBit(counted, position)
    const changed = this.#changed([recent, counted, draining, eligible])
    this.recent = recent
    this.counted = counted
    this.draining = draining
    this.eligible = eligible
    return wasHeld === this.isRepairHeld ? changed : "all"
  }

  /** Who had nothing new for so long, whether or not there was anything to take; itself never. */
  markIdle(sinceMs: number): void {
    this.idle = new Uint32Array(Math.ceil(this.#ranking.servers.length / 32))
    for (const [position, { memberId }] of this.#ranking.servers.entries())
      if (memberId !== this.#self && (this.#fellows.get(memberId)?.tookMs ?? 0) < sinceMs) setBit(this.idle, position)
  }

  #changed(sets: readonly ServerBits[]): number[] {
    const before = [this.recent, this.counted, this.draining, this.eligible]
    return [...this.#ranking.servers.keys()].filter((position) =>
      sets.some((bits, number) => hasBit(bits, position) !== hasBit(before[number] ?? bits, position)),
    )
  }
}
