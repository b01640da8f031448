import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

/**
 * Buffers are counted with the rest of the heap's limit. By default each 64 MB of them, however short-lived, starts a full collection: 40 % of the
 * CPU that a deploy takes, against some 70 MB of memory (docs/performance.md).
 */
export function countBuffersWithTheHeap(): void {
  setFlagsFromString("--external-memory-accounted-in-global-limit")
}

const LOOK_INTERVAL_MS = 50

/** The other way round, where memory is scarce: buffers that nobody uses any more are collected whenever so many bytes of them came. */
export function collectBuffersEach(bytes: number): Disposable {
  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc") as () => void
  let leftBytes = 0
  const looking = setInterval(() => {
    if (process.memoryUsage().arrayBuffers < leftBytes + bytes) return
    collect()
    leftBytes = process.memoryUsage().arrayBuffers
  }, LOOK_INTERVAL_MS)
  looking.unref()
  return { [Symbol.dispose]: () => clearInterval(looking) }
}
