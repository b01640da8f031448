/** Random and mutated bytes on every port of a running server, a moment each; `npm run check:fuzz` does the same for as long as one likes. */
import assert from "node:assert/strict"
import { after, before, test } from "node:test"
import { FuzzGrid, phases } from "../../scripts/fuzz/fuzz-grid.ts"

const SEED = 20_261_122
const IMAGE_BYTES = 4_000_000
const PHASE_MS = 2_000
let grid: FuzzGrid

const options = { skip: process.platform !== "linux" && "another process's memory is read from /proc" }

before(async () => {
  if (options.skip === false) grid = await FuzzGrid.open({ imageBytes: IMAGE_BYTES })
})
after(() => grid?.[Symbol.asyncDispose]())

for (const phase of phases)
  test(`a server under hostile bytes, ${phase}, lives, serves honest clients and keeps its memory`, options, async () => {
    const { failures, sent, deployMs, lookupMs } = await grid.run(phase, PHASE_MS, SEED)
    assert.deepEqual(failures, [], `seed ${SEED}; sent ${sent.toString()}`)
    assert.ok(sent.total > 200, `an attack of ${sent.toString()} is none`)
    assert.ok(deployMs.length > 0 && lookupMs.length > 0)
  })
