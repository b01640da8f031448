/** Audits asked for and under way: each pair of server and image once at a time, a few at once, and again after a while where no answer came. */
import type { MemberId } from "#core/identifiers.ts"
import type { AuditOutcome, ImageId } from "../repair-events.ts"
import type { RepairLimits } from "../repair-limits.ts"

type Audit = { readonly server: MemberId; readonly image: ImageId; readonly notBeforeMs: number; readonly unanswered: number }

export class AuditDesk {
  readonly #limits: RepairLimits
  /** Oldest first. */
  readonly #queue = new Map<string, Audit>()
  readonly #running = new Map<string, Audit>()
  nextMs = Infinity

  constructor(limits: RepairLimits) {
    this.#limits = limits
  }

  /** Queues one, unless it stands there already or the queue is full. */
  ask(server: MemberId, image: ImageId): void {
    const key = keyOf(server, image)
    if (this.#queue.has(key) || this.#running.has(key) || this.#queue.size >= this.#limits.auditQueueMax) return
    this.#queue.set(key, { server, image, notBeforeMs: 0, unanswered: 0 })
    this.nextMs = 0
  }

  /** Takes one that begins at once; false when it is under way. */
  begin(server: MemberId, image: ImageId): boolean {
    const key = keyOf(server, image)
    if (this.#running.has(key)) return false
    const queued = this.#queue.get(key)
    this.#queue.delete(key)
    this.#running.set(key, queued ?? { server, image, notBeforeMs: 0, unanswered: 0 })
    return true
  }

  /** Those to begin now, as many as may run at once. */
  due(nowMs: number): readonly Audit[] {
    if (nowMs < this.nextMs) return []
    const begun: Audit[] = []
    this.nextMs = Infinity
    for (const [key, audit] of this.#queue) {
      if (audit.notBeforeMs > nowMs) {
        this.nextMs = Math.min(this.nextMs, audit.notBeforeMs)
        continue
      }
      // The next one is due when one of those under way is settled.
      if (this.#running.size >= this.#limits.auditsMax) break
      this.#queue.delete(key)
      this.#running.set(key, audit)
      begun.push(audit)
    }
    return begun
  }

  /** What the answer amounts to: who is heard and leaves one unanswered time after time has failed it. */
  settle(server: MemberId, image: ImageId, told: AuditOutcome, isHeard: boolean, nowMs: number): AuditOutcome {
    const key = keyOf(server, image)
    const audit = this.#running.get(key)
    this.#running.delete(key)
    if (this.#queue.size > 0) this.nextMs = 0
    if (told !== "unanswered" || audit === undefined || !isHeard) return told
    const unanswered = audit.unanswered + 1
    if (unanswered >= this.#limits.unansweredMax) return "failed"
    const notBeforeMs = nowMs + this.#limits.auditRetryMs
    this.#queue.set(key, { ...audit, unanswered, notBeforeMs })
    this.nextMs = Math.min(this.nextMs, notBeforeMs)
    return told
  }

  forgetImage(image: ImageId): void {
    for (const map of [this.#queue, this.#running]) for (const [key, audit] of map) if (audit.image === image) map.delete(key)
  }

  keepServers(servers: ReadonlySet<MemberId>): void {
    for (const map of [this.#queue, this.#running]) for (const [key, audit] of map) if (!servers.has(audit.server)) map.delete(key)
  }
}

function keyOf(server: MemberId, image: ImageId): string {
  return `${server} ${image}`
}
