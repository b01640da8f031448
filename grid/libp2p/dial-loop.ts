/** Dials every server of the roster that is not connected, again and again: libp2p's own reconnecting gives up after half a minute. */
import type { MemberId } from "#core/identifiers.ts"
import { isLasting, redialAfterMs } from "../core/redial.ts"

export type DialLoopParts = {
  readonly self: MemberId
  readonly nowMs: () => number
  readonly random: () => number
  /** Rejects when it comes to nothing. */
  readonly dial: (memberId: MemberId, signal: AbortSignal) => Promise<void>
  readonly failed: (memberId: MemberId, error: unknown) => void
}

const DIAL_TIMEOUT_MS = 5_000

type Link = { failures: number; timer: NodeJS.Timeout | null; dialling: AbortController | null; connectedAtMs: number | null }

export class DialLoop {
  readonly #parts: DialLoopParts
  readonly #links = new Map<MemberId, Link>()

  constructor(parts: DialLoopParts) {
    this.#parts = parts
  }

  /** Whoever is new, or is found elsewhere from now on (`moved`), is dialled soon; dials of those who left end. */
  setRoster(members: readonly MemberId[], moved: ReadonlySet<MemberId>): void {
    const staying = new Set(members)
    for (const [memberId, link] of this.#links)
      if (!staying.has(memberId)) {
        stop(link)
        this.#links.delete(memberId)
      }
    for (const memberId of members) {
      const link = this.#links.get(memberId)
      if (link === undefined) {
        const added: Link = { failures: 0, timer: null, dialling: null, connectedAtMs: null }
        this.#links.set(memberId, added)
        this.#schedule(memberId, added)
      } else if (moved.has(memberId) && link.connectedAtMs === null) {
        stop(link)
        link.failures = 0
        this.#schedule(memberId, link)
      }
    }
  }

  isDialling(memberId: MemberId): boolean {
    return (this.#links.get(memberId)?.dialling ?? null) !== null
  }

  giveUp(memberId: MemberId): void {
    this.#links.get(memberId)?.dialling?.abort()
  }

  connected(memberId: MemberId): void {
    const link = this.#links.get(memberId)
    if (link === undefined) return
    if (link.timer !== null) clearTimeout(link.timer)
    link.timer = null
    link.connectedAtMs = this.#parts.nowMs()
  }

  disconnected(memberId: MemberId): void {
    const link = this.#links.get(memberId)
    if (link === undefined || link.connectedAtMs === null) return
    link.failures = isLasting(this.#parts.nowMs() - link.connectedAtMs) ? 0 : link.failures + 1
    link.connectedAtMs = null
    this.#schedule(memberId, link)
  }

  close(): void {
    for (const link of this.#links.values()) stop(link)
    this.#links.clear()
  }

  #schedule(memberId: MemberId, link: Link): void {
    if (link.timer !== null || link.dialling !== null || this.#links.get(memberId) !== link) return
    const lower = this.#parts.self < memberId ? "self" : "peer"
    link.timer = setTimeout(
      () => {
        link.timer = null
        void this.#dial(memberId, link)
      },
      redialAfterMs(link.failures, lower, this.#parts.random()),
    )
  }

  async #dial(memberId: MemberId, link: Link): Promise<void> {
    const dialling = new AbortController()
    link.dialling = dialling
    try {
      await this.#parts.dial(memberId, AbortSignal.any([dialling.signal, AbortSignal.timeout(DIAL_TIMEOUT_MS)]))
    } catch (error) {
      if (dialling.signal.aborted) return
      link.failures += 1
      this.#parts.failed(memberId, error)
    } finally {
      if (link.dialling === dialling) link.dialling = null
      if (link.connectedAtMs === null) this.#schedule(memberId, link)
    }
  }
}

function stop(link: Link): void {
  if (link.timer !== null) clearTimeout(link.timer)
  link.timer = null
  link.dialling?.abort()
  link.dialling = null
}
