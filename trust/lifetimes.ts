/** How long each role's signature lasts. */
const DAY_MS = 24 * 3_600_000

/** In ms. */
export type Lifetimes = {
  readonly root: number
  readonly targets: number
  readonly publisher: number
  readonly snapshot: number
  readonly timestamp: number
}

/**
 * Root, targets and publishers are signed by people with keys that are kept apart: a year is what an administrator will keep to.
 * Servers sign the rest by themselves. The timestamp bounds how long someone in the middle can hide news: three days, so that a
 * site whose servers are all down over a weekend still deploys. The snapshot only needs to outlast it.
 */
export const defaultLifetimes: Lifetimes = {
  root: 365 * DAY_MS,
  targets: 365 * DAY_MS,
  publisher: 365 * DAY_MS,
  snapshot: 30 * DAY_MS,
  timestamp: 3 * DAY_MS,
}

/** A snapshot with less left than this is signed anew together with the timestamp. */
export const SNAPSHOT_RENEWED_BEFORE_MS = 10 * DAY_MS
