/** Every number by which repair decides, but for those of liveness.ts. */
export type RepairLimits = {
  readonly fetchesMax: number
  /** The first fetch after a quiet time begins within so long, at random. */
  readonly startSpreadMs: number
  readonly retryFirstMs: number
  readonly retryMaxMs: number
  /** An image that is under its goal for so long is taken by others than those who took nothing in that time. */
  readonly overdueMs: number
  /** A copy that is not needed is kept so long: servers go and come back, and it may be needed again. */
  readonly surplusKeptMs: number
  /** The same where room is scarce. */
  readonly surplusKeptScarceMs: number
  /** Room is scarce when less than this share of the own quota is left. */
  readonly scarceShare: number
  /** The last audit before a drop may have begun so long ago. */
  readonly auditValidMs: number
  readonly dropRoundsMax: number
  /** One audit of a fellow's copy, of what both hold, about so often. */
  readonly auditEveryMs: number
  readonly auditsMax: number
  readonly auditQueueMax: number
  /** Whoever is heard and leaves so many audits of one image unanswered has failed it. */
  readonly unansweredMax: number
  readonly auditRetryMs: number
  /** What passed at a server that is suspected is audited again after so long. */
  readonly suspectAgainMs: number
  /** Nobody silent, nothing under its goal for so long: then images go home. */
  readonly calmMs: number
  /** Room to leave free. */
  readonly reserveBytes: number
  readonly atRiskShownMax: number
}

export const repairLimits: RepairLimits = {
  fetchesMax: 4,
  startSpreadMs: 5_000,
  retryFirstMs: 30_000,
  retryMaxMs: 900_000,
  overdueMs: 1_800_000,
  surplusKeptMs: 7 * 24 * 3_600_000,
  surplusKeptScarceMs: 6 * 3_600_000,
  scarceShare: 0.15,
  auditValidMs: 60_000,
  dropRoundsMax: 4,
  auditEveryMs: 60_000,
  auditsMax: 4,
  auditQueueMax: 10_000,
  unansweredMax: 3,
  auditRetryMs: 60_000,
  suspectAgainMs: 3_600_000,
  calmMs: 6 * 3_600_000,
  reserveBytes: 64 * 1024 * 1024,
  atRiskShownMax: 100,
}
