import { setFlagsFromString } from "node:v8"

/**
 * Buffers are counted with the rest of the heap's limit. By default each 64 MB of them, however short-lived, starts a full collection: 40 % of the
 * CPU that a deploy takes, against some 70 MB of memory (docs/performance.md).
 */
export function countBuffersWithTheHeap(): void {
  setFlagsFromString("--external-memory-accounted-in-global-limit")
}
