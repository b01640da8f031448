/** Seeds open sessions until the rule of usefulness lets go of them, or a signal ends it. */
import type { Member } from "#member/member.ts"
import type { TorrentSession } from "#swarm/swarm.ts"
import { Usefulness, type SeedUntil, type UsefulnessRule } from "./usefulness.ts"

const LOOK_INTERVAL_MS = 500

type Parts = {
  readonly member: Member
  readonly signal: AbortSignal
  readonly emit: (event: {
    readonly event: "progress"
    readonly phase: "seed"
    readonly bytes: number
    readonly totalBytes: number
    readonly bytesPerSecond: number
  }) => void
}

/** Never rejects for a signal: to be told to stop is an ordinary way to leave. */
export async function seedUntil(
  parts: Parts,
  sessions: readonly TorrentSession[],
  how: { readonly until: SeedUntil; readonly rule: UsefulnessRule; readonly sinceMs: number },
): Promise<{ readonly uploadedBytes: number; readonly why: string }> {
  const usefulness = new Usefulness(how.rule, how.sinceMs)
  const reasonToLeave = (): string | null => {
    if (parts.signal.aborted) return "told to stop"
    if (how.until === "forever") return null
    if (how.until === "done") return "done: the image is good"
    return usefulness.look(
      sessions.map((session) => session.demand()),
      parts.member.clock.nowMs(),
    )
  }
  for (;;) {
    const all = sessions.map((session) => session.statistics())
    const uploadedBytes = all.reduce((sum, one) => sum + one.uploadedBytes, 0)
    const uploadBytesPerSecond = all.reduce((sum, one) => sum + one.uploadBytesPerSecond, 0)
    const why = reasonToLeave()
    if (why !== null) return { uploadedBytes, why }
    parts.emit({ event: "progress", phase: "seed", bytes: uploadedBytes, totalBytes: uploadedBytes, bytesPerSecond: uploadBytesPerSecond })
    await sleep(LOOK_INTERVAL_MS, parts.signal)
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((wake) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener("abort", done)
      wake()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener("abort", done)
  })
}
