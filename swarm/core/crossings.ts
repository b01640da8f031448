/**
 * Pieces on their way from other sites to this one. None is fetched across that a member of the site has, or has said that it fetches: so about one copy crosses, whoever of
 * them it is for.
 */
import type { PeerNumber } from "./events.ts"
import type { Limits } from "./limits.ts"

type Claim = { readonly peer: PeerNumber; readonly sinceMs: number }

export class Crossings {
  readonly #limits: Limits
  /** How many connected members of the site have each piece, those that have all of them aside. */
  readonly #nearCounts: Uint16Array
  readonly #own = new Set<number>()
  /** What others fetch, by piece: one claims a piece for all. */
  readonly #claims = new Map<number, Claim>()
  /** How often each piece was claimed; who claims and brings nothing can't do so for ever. */
  readonly #claimCounts: Uint8Array
  /** How long the slowest of those that were claimed lately took: what may be expected of the next. */
  #slowestMs = 0
  /** What this member fetches has changed since it was told. */
  changed = false

  /** `pieceCount`: 0 where nothing is missing. */
  constructor(pieceCount: number, limits: Limits) {
    this.#limits = limits
    this.#nearCounts = new Uint16Array(pieceCount)
    this.#claimCounts = new Uint8Array(pieceCount)
  }

  get own(): ReadonlySet<number> {
    return this.#own
  }

  /** Whether the piece may be asked of another site. `starved`: what the site's own have does not come. */
  allows(piece: number, starved: boolean, nowMs: number): boolean {
    if (this.#own.has(piece)) return true
    if (!starved && (this.#nearCounts[piece] ?? 0) > 0) return false
    return !this.#isClaimed(piece, nowMs)
  }

  /** This member fetches it now. */
  begin(piece: number): void {
    if (this.#own.has(piece)) return
    this.#own.add(piece)
    this.changed = true
  }

  /** It came, or was given up. */
  end(piece: number): void {
    if (this.#own.delete(piece)) this.changed = true
  }

  /** A member of the site fetches these now, and no others. */
  claim(peer: PeerNumber, pieces: readonly number[], nowMs: number): void {
    const now = new Set(pieces.slice(0, this.#limits.claims))
    for (const [piece, claim] of this.#claims) {
      if (claim.peer !== peer) continue
      // A piece that is told again is still on its way: it keeps its time.
      if (now.delete(piece)) continue
      this.#slowestMs = Math.max(this.#slowestMs * 0.9, nowMs - claim.sinceMs)
      this.#claims.delete(piece)
    }
    for (const piece of now) {
      const count = this.#claimCounts[piece] ?? 0
      if (count >= this.#limits.claimsOfPiece || this.#isClaimed(piece, nowMs)) continue
      this.#claimCounts[piece] = count + 1
      this.#claims.set(piece, { peer, sinceMs: nowMs })
    }
  }

  /** The connection to it has ended. */
  forget(peer: PeerNumber): void {
    for (const [piece, claim] of this.#claims) if (claim.peer === peer) this.#claims.delete(piece)
  }

  raise(piece: number): void {
    this.#nearCounts[piece] = (this.#nearCounts[piece] ?? 0) + 1
  }

  lower(piece: number): void {
    const count = this.#nearCounts[piece] ?? 0
    if (count > 0) this.#nearCounts[piece] = count - 1
  }

  /** A claim lapses when its piece takes much longer than others did. */
  #isClaimed(piece: number, nowMs: number): boolean {
    const { claimMinMs, claimMaxMs } = this.#limits
    const claim = this.#claims.get(piece)
    return claim !== undefined && nowMs - claim.sinceMs < Math.min(claimMaxMs, Math.max(claimMinMs, 4 * this.#slowestMs))
  }
}
