/** Where a file has whole zero blocks (content-digest.ts). */
import { createReadStream } from "node:fs"
import { ZERO_BLOCK_BYTES } from "./content-digest.ts"

/** In blocks of `ZERO_BLOCK_BYTES`. */
export type ZeroRun = readonly [first: number, count: number]

/** In order, neighbours as one. */
export async function zeroRunsOf(path: Buffer): Promise<ZeroRun[]> {
  const runs: [number, number][] = []
  let block = 0
  for await (const bytes of createReadStream(path, { highWaterMark: ZERO_BLOCK_BYTES }) as AsyncIterable<Buffer>) {
    if (bytes.length === ZERO_BLOCK_BYTES && bytes.every((byte) => byte === 0)) {
      const last = runs.at(-1)
      if (last !== undefined && last[0] + last[1] === block) last[1] += 1
      else runs.push([block, 1])
    }
    block += 1
  }
  return runs
}

/** What lies between the runs, in bytes. */
export function partsBetween(runs: readonly ZeroRun[], size: number): { readonly offset: number; readonly length: number }[] {
  const parts: { offset: number; length: number }[] = []
  let offset = 0
  for (const [first, count] of [...runs, [Math.ceil(size / ZERO_BLOCK_BYTES), 0] as const]) {
    const end = Math.min(first * ZERO_BLOCK_BYTES, size)
    if (end > offset) parts.push({ offset, length: end - offset })
    offset = end + count * ZERO_BLOCK_BYTES
  }
  return parts
}
