/** How old a member's view of its site is, and what it has heard of newer ones. Pure. */

/**
 * Who spoke of a catalog: the site's pointer in the DHT, signed with the pointer key; a server at its API; a peer in the swarm. Peers and servers
 * only claim.
 */
export type Informant = "pointer" | "server" | "peer"

/** The highest place in the catalogs' order that somebody spoke of. */
export type SeqHeard = { readonly seq: number; readonly by: Informant; readonly who: string }

export type Freshness = {
  /** Of the catalog that is kept. */
  readonly seq: number
  /** Unix ms when a server last signed for it. */
  readonly signedAtMs: number
  readonly expiresAtMs: number
  readonly newestSeqHeard: SeqHeard | null
  /** The seq of a newer catalog that the site's pointer names and that could not be had; null when there is none. */
  readonly newerKnown: number | null
  /** Unix ms when a server that signs was last asked and had nothing newer; null when none was. */
  readonly confirmedAtMs: number | null
}

/** What was said of newer catalogs. */
export class Hearsay {
  /** The newest that each kind of informant spoke of. */
  readonly #heard = new Map<Informant, SeqHeard>()
  /** Kept apart: a pointer's word counts for the key that signed it alone. */
  #pointer: { readonly publicKeyHex: string; readonly seq: number } | null = null

  heard(word: SeqHeard): void {
    if (word.seq >= (this.#heard.get(word.by)?.seq ?? 0)) this.#heard.set(word.by, word)
  }

  /** A pointer by the site's pointer key of now, whose signature holds. */
  pointed(pointer: { readonly publicKeyHex: string; readonly seq: number }): void {
    if (this.#pointer?.publicKeyHex !== pointer.publicKeyHex || pointer.seq > this.#pointer.seq) this.#pointer = pointer
    this.heard({ seq: pointer.seq, by: "pointer", who: pointer.publicKeyHex })
  }

  /** Forgets what this informant claimed: it was not so. */
  unheard(by: Informant, who: string): void {
    if (this.#heard.get(by)?.who === who) this.#heard.delete(by)
  }

  newest(): SeqHeard | null {
    const words = [...this.#heard.values()]
    return words.reduce<SeqHeard | null>((high, one) => (high === null || one.seq > high.seq ? one : high), null)
  }

  /** The seq that this key's pointer names, where it is higher than `seq`; else null. */
  pointedPast(seq: number, pointerKey: string): number | null {
    return this.#pointer?.publicKeyHex === pointerKey && this.#pointer.seq > seq ? this.#pointer.seq : null
  }
}

const HOUR_MS = 3_600_000
/** A view that no signing server confirmed is called old from this age on. */
const OLD_UNCONFIRMED_MS = HOUR_MS
/** No server that runs leaves a timestamp this old: it signs anew after half of its three days. */
const OLD_ANYWAY_MS = 37 * HOUR_MS

/** What a person has to know about the view, in sentences; empty when it is as new as can be. */
export function freshnessWarnings(freshness: Freshness, nowMs: number): string[] {
  const { signedAtMs, newerKnown, confirmedAtMs } = freshness
  const warnings: string[] = []
  if (newerKnown !== null)
    warnings.push(`a newer catalog exists (seq ${newerKnown}) but nobody gives it; what it revokes or publishes is not known here`)
  const ageMs = nowMs - signedAtMs
  const confirmed = confirmedAtMs !== null && nowMs - confirmedAtMs < OLD_UNCONFIRMED_MS
  if (ageMs > OLD_ANYWAY_MS || (ageMs > OLD_UNCONFIRMED_MS && !confirmed))
    warnings.push(`the site's metadata was signed ${formatAge(ageMs)} ago; no newer one could be reached`)
  return warnings
}

/** Two units, the larger first. */
function formatAge(ms: number): string {
  const minutes = Math.floor(ms / 60_000)
  const [days, hours] = [Math.floor(minutes / 1_440), Math.floor(minutes / 60) % 24]
  return days > 0 ? `${days} d ${hours} h` : `${hours} h ${minutes % 60} min`
}
