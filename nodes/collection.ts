/** Which of the layers that a server has it may do without. Pure. */
import type { Infohash } from "#core/identifiers.ts"

/** A layer that an image had when it was taken out of use: long enough for whoever was about to ask for it, or to undo that. */
const RETIRED_GRACE_MS = 3_600_000
/** A layer that no catalog names: of a publisher that was removed, of a publish that broke off, or of one that waits for signatures. */
const UNNAMED_GRACE_MS = 30 * 24 * 3_600_000

export type Collection = {
  /** All that lie in the store. */
  readonly stored: readonly Infohash[]
  /** Of images that this server is to hold, and those that are fetched. */
  readonly needed: ReadonlySet<string>
  /** Of any image of any catalog that is known here. */
  readonly named: ReadonlySet<string>
  /** Unix ms since when each was found to be unneeded. */
  readonly unneededSinceMs: ReadonlyMap<string, number>
  readonly nowMs: number
}

/** `unneeded`: those that are so now, to be remembered; `due`: those of them that have been so for long enough. */
export function collectable({ stored, needed, named, unneededSinceMs, nowMs }: Collection): {
  readonly unneeded: Infohash[]
  readonly due: Infohash[]
} {
  const unneeded = stored.filter((infohash) => !needed.has(infohash))
  const due = unneeded.filter((infohash) => {
    const sinceMs = unneededSinceMs.get(infohash)
    return sinceMs !== undefined && nowMs - sinceMs >= (named.has(infohash) ? RETIRED_GRACE_MS : UNNAMED_GRACE_MS)
  })
  return { unneeded, due }
}
