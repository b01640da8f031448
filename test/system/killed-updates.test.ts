/** SIGKILL in the middle of updates and rollbacks; `npm run check:killed-updates` does the same many more times. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { killUpdates, type KilledUpdate } from "./killed-updates.ts"

test("a client killed in updates and rollbacks ends in the old or the new tree when the command is run again", async () => {
  const seed = 1
  const told: KilledUpdate[] = []
  try {
    const kills = await killUpdates({ kills: 5, seed, files: 900, onKill: (kill) => told.push(kill) })
    assert.equal(kills.length, 5)
  } catch (error) {
    throw new Error(`seed ${seed}, kills so far: ${JSON.stringify(told)}`, { cause: error })
  }
})
