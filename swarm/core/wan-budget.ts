/**
 * What all members of a site together may send to other sites, and this member's share of it. There is no centre: each tells the others what it sends, and takes what they
 * leave, at least an equal part. One member has one budget for all its torrents.
 */
import type { Limits } from "./limits.ts"
import { ReactiveRate } from "./rate.ts"

type Sender = { readonly bytesPerSecond: number; readonly atMs: number }

export class WanBudget {
  readonly #limits: Limits
  /** What this member itself was told. */
  readonly own: number | null
  /** What servers of the site said the budget is. */
  readonly #rules = new Map<string, Sender>()
  readonly #senders = new Map<string, Sender>()
  readonly #rate: ReactiveRate
  #freeAtMs = 0
  #wantedAtMs = Number.NEGATIVE_INFINITY
  #begunAtMs = Number.NEGATIVE_INFINITY
  #bytesPerSecond: number | null
  #share = Number.POSITIVE_INFINITY

  /**
   * `bytesPerSecond`: null when this member was told of none.
   * @throws {RangeError}
   */
  constructor(bytesPerSecond: number | null, limits: Limits, nowMs: number) {
    if (bytesPerSecond !== null && !(bytesPerSecond > 0))
      throw new RangeError(`a budget of ${bytesPerSecond} bytes per second for other sites; leave it out for none`)
    this.own = bytesPerSecond
    this.#bytesPerSecond = bytesPerSecond
    this.#limits = limits
    this.#rate = new ReactiveRate(nowMs)
  }

  /** Of the whole site; null: there is no limit. */
  get bytesPerSecond(): number | null {
    return this.#bytesPerSecond
  }

  /** What others are told that this member sends; 0 when it has nothing to do with the budget. */
  sentBytesPerSecond(nowMs: number): number {
    if (this.#bytesPerSecond === null || nowMs - this.#wantedAtMs >= this.#limits.senderRestsMs) return 0
    return Math.max(1, Math.round(this.#rate.bytesPerSecond))
  }

  /** A server of the site said what the budget is. */
  rule(key: string, bytesPerSecond: number, nowMs: number): void {
    if (this.#rules.size >= this.#limits.budgetRules && !this.#rules.has(key)) return
    this.#rules.set(key, { bytesPerSecond, atMs: nowMs })
    this.#settle(nowMs)
  }

  /** Another member of the site sends so much to other sites. */
  hear(key: string, bytesPerSecond: number, atMs: number): void {
    const known = this.#senders.get(key)
    if (known === undefined ? bytesPerSecond === 0 || this.#senders.size >= this.#limits.sendersKept : atMs <= known.atMs) return
    this.#senders.set(key, { bytesPerSecond, atMs })
  }

  /** Whether a write to another site may go out now. */
  mayWrite(nowMs: number): boolean {
    if (nowMs - this.#wantedAtMs >= this.#limits.senderRestsMs) this.#begunAtMs = nowMs
    this.#wantedAtMs = nowMs
    return this.#bytesPerSecond === null || nowMs >= this.#freeAtMs
  }

  wrote(bytes: number, nowMs: number): void {
    if (this.#bytesPerSecond === null) return
    const wireBytes = bytes * this.#limits.wireShare
    this.#rate.add(wireBytes)
    // What was not used in the last moment may be used still: whoever waits is asked now and then only.
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs - this.#limits.budgetBurstMs) + (wireBytes * 1000) / this.#shareAt(nowMs)
  }

  /** To be called about ten times a second. */
  tick(nowMs: number): void {
    this.#rate.settle(nowMs)
    this.#settle(nowMs)
  }

  /** Who begins takes little until the others have heard of it. */
  #shareAt(nowMs: number): number {
    const { budgetNewsMs, budgetFirstShare } = this.#limits
    const begins = nowMs - this.#begunAtMs < budgetNewsMs
    return begins && this.#bytesPerSecond !== null ? Math.min(this.#share, this.#bytesPerSecond * budgetFirstShare) : this.#share
  }

  #settle(nowMs: number): void {
    for (const [key, { atMs }] of this.#rules) if (nowMs - atMs >= this.#limits.ruleLapsesMs) this.#rules.delete(key)
    for (const [key, { atMs }] of this.#senders) if (nowMs - atMs >= this.#limits.senderLapsesMs) this.#senders.delete(key)
    const told = [...this.#rules.values()].map(({ bytesPerSecond }) => bytesPerSecond)
    const least = Math.min(this.own ?? Number.POSITIVE_INFINITY, ...told)
    this.#bytesPerSecond = Number.isFinite(least) ? least : null
    const others = [...this.#senders.values()].filter(({ bytesPerSecond }) => bytesPerSecond > 0)
    const sent = others.reduce((sum, { bytesPerSecond }) => sum + bytesPerSecond, 0)
    this.#share = Math.max(least / (others.length + 1), least - sent)
  }
}
