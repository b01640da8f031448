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

/**
 * Beside that, where memory is scarce: a full collection whenever so many bytes of buffers came since the last, at once and not in steps: after a first full
 * collection the engine would begin one of its own with every few megabytes, and spend more than the deploy itself. To be called when all modules are loaded:
 * with other flags their compiled forms are not taken from Node's cache, which costs a second.
 */
export function collectBuffersEach(bytes: number): Disposable {
  setFlagsFromString("--no-incremental-marking")
  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc") as () => void
  let leftBytes = process.memoryUsage().arrayBuffers
  const looking = setInterval(() => {
    if (process.memoryUsage().arrayBuffers < leftBytes + bytes) return
    collect()
    leftBytes = process.memoryUsage().arrayBuffers
  }, LOOK_INTERVAL_MS)
  looking.unref()
  return { [Symbol.dispose]: () => clearInterval(looking) }
}
