/** SIGKILL while servers and commands act; `npm run check:killed-acts` does the same many more times. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { acts, killActs, type ActKill } from "./killed-acts.ts"

test("servers and commands killed while they publish, copy, retire, import and let members in lose nothing that was acknowledged", async () => {
  const seed = 21
  const kills: ActKill[] = []
  try {
    const { deployed, members } = await killActs({ kills: acts.length, seed, contentBytes: 2_000_000, onKill: (kill) => kills.push(kill) })
    assert.ok(deployed > 0 && members === 1)
  } catch (error) {
    throw new Error(`seed ${seed}, kills so far: ${JSON.stringify(kills)}`, { cause: error })
  }
})
