/** Waiting that ends: by a signal or by a limit. */
import { setTimeout as pause } from "node:timers/promises"

/** Whether `work` was done within the limit. @throws what it threw, or the signal's reason */
export async function inTime(limitMs: number, work: Promise<unknown>, signal: AbortSignal): Promise<boolean> {
  const over = new AbortController()
  try {
    return await Promise.race([work.then(() => true), pause(limitMs, false, { signal: AbortSignal.any([signal, over.signal]) })])
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    over.abort()
  }
}

/** @throws {Error} `otherwise` when it took longer; what `work` threw; the signal's reason */
export async function within<Value>(limitMs: number, work: Promise<Value>, signal: AbortSignal, otherwise: string): Promise<Value> {
  if (!(await inTime(limitMs, work, signal))) throw new Error(`${otherwise} within ${limitMs / 1_000} s`)
  return await work
}
