/**
 * What silence means. A server that is silent for a while is only asked last; one that is silent for long is out, and others take over its images. Where
 * a single live copy of an image is left nobody waits that long for the others. When very many are silent at once it is rather the network that broke, or
 * this server's own link: then nothing moves.
 */

export type LivenessLimits = {
  readonly suspectAfterMs: number
  /** Out, for the images of which one live copy is left. */
  readonly lastCopyOutAfterMs: number
  readonly outAfterMs: number
  /** Of the roster; with more than that silent for longer than `lastCopyOutAfterMs` nothing is repaired. */
  readonly outShareMax: number
}

export const livenessLimits: LivenessLimits = {
  suspectAfterMs: 15_000,
  lastCopyOutAfterMs: 60_000,
  outAfterMs: 600_000,
  outShareMax: 0.25,
}

/**
 * `live`: heard of late. `suspect`: asked last, its copies count. `missed`: its copies do not count where one live copy is left. `out`: its copies do
 * not count.
 */
export type Liveness = "live" | "suspect" | "missed" | "out"

/** `silentSinceMs`: when it was last heard; null while it is connected. */
export function livenessOf(silentSinceMs: number | null, nowMs: number, limits: LivenessLimits = livenessLimits): Liveness {
  if (silentSinceMs === null) return "live"
  const silentMs = nowMs - silentSinceMs
  if (silentMs < limits.suspectAfterMs) return "live"
  if (silentMs < limits.lastCopyOutAfterMs) return "suspect"
  return silentMs < limits.outAfterMs ? "missed" : "out"
}

/** When its liveness changes if it stays silent; Infinity when it does not any more. */
export function nextChangeMs(silentSinceMs: number | null, nowMs: number, limits: LivenessLimits = livenessLimits): number {
  if (silentSinceMs === null) return Infinity
  for (const afterMs of [limits.suspectAfterMs, limits.lastCopyOutAfterMs, limits.outAfterMs])
    if (nowMs - silentSinceMs < afterMs) return silentSinceMs + afterMs
  return Infinity
}

/** Whether so many are gone at once that their copies are taken to be safe where they are. */
export function isTooManyGone(goneCount: number, rosterCount: number, limits: LivenessLimits = livenessLimits): boolean {
  return goneCount > rosterCount * limits.outShareMax
}
