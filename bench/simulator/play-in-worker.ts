/** A scenario played in a thread with a heap as large as ten thousand hosts need. */
import { Worker } from "node:worker_threads"
import type { Scenario } from "../scenario.ts"
import type { PlayOptions, Progress } from "./play.ts"
import type { SimulationResult } from "./result.ts"

export type WorkerMessage =
  | { readonly kind: "progress"; readonly progress: Progress }
  | { readonly kind: "result"; readonly result: SimulationResult }
  | { readonly kind: "violation"; readonly text: string; readonly stack: string | null }

/** A run broke an invariant; the message says where, and how to see it again. */
export class RunBroken extends Error {
  override readonly name = "RunBroken"
}

const HEAP_MEGABYTES = 12_000
/** Messages live for a moment: with room for many of them, nearly all are gone when the garbage is looked for. */
const YOUNG_MEGABYTES = 192

/** @throws {RunBroken} */
export async function playInWorker(
  scenario: Scenario,
  options: PlayOptions,
  report: (progress: Progress) => void,
): Promise<SimulationResult> {
  const { promise, resolve, reject } = Promise.withResolvers<SimulationResult>()
  const { blockBytes, found, trace, until, limitSeconds } = options
  const worker = new Worker(new URL("./worker.ts", import.meta.url), {
    workerData: { scenario, options: { blockBytes, found, trace, until, limitSeconds } },
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MEGABYTES, maxYoungGenerationSizeMb: YOUNG_MEGABYTES },
  })
  worker.on("message", (message: WorkerMessage) => {
    if (message.kind === "progress") report(message.progress)
    else if (message.kind === "result") resolve(message.result)
    else reject(new RunBroken(message.stack === null ? message.text : `${message.text}\n${message.stack}`))
  })
  worker.on("error", reject)
  worker.on("exit", (code) => reject(new Error(`the simulation ended with ${code} and no result`)))
  return promise
}
