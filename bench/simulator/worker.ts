/** Plays one scenario in a thread of its own, which may have more memory than the program. */
import { parentPort, workerData } from "node:worker_threads"
import type { Scenario } from "../scenario.ts"
import { InvariantViolation } from "./invariants.ts"
import { playScenario, type PlayOptions } from "./play.ts"
import type { WorkerMessage } from "./play-in-worker.ts"

const { scenario, options } = workerData as { readonly scenario: Scenario; readonly options: PlayOptions }
const tell = (message: WorkerMessage) => parentPort?.postMessage(message)

try {
  tell({ kind: "result", result: playScenario(scenario, options, (progress) => tell({ kind: "progress", progress })) })
} catch (error) {
  if (!(error instanceof InvariantViolation)) throw error
  tell({ kind: "violation", text: error.message, stack: error.cause instanceof Error ? (error.cause.stack ?? null) : null })
}
