/** SIGKILL in the middle of a deploy; `npm run check:kills` does the same many more times. */
import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { killClient, killOnlyServer, killSecondServer, survived, type KillingOptions, type KillingResult } from "./killing.ts"

const light = { contentBytes: 3_000_000, uploadBytesPerSecond: 1_000_000, leastMs: 800 } as const

async function assertSurvived(run: (options: KillingOptions) => Promise<KillingResult>, kills: number, seed: number): Promise<void> {
  const told: string[] = []
  const onKill: KillingOptions["onKill"] = (kill) => told.push(JSON.stringify(kill))
  try {
    const result = await run({ ...light, kills, seed, onKill })
    assert.equal(result.kills.length, kills)
    assert.ok(survived(result), JSON.stringify(result))
    assert.equal(result.entries, 10)
    const telling = result.kills.some(({ durableBytes }) => durableBytes > 0)
    assert.ok(telling, "no kill came when anything was durable: nothing was put to the test")
  } catch (error) {
    throw new Error(`seed ${seed}, kills so far: ${told.join(" ") || "none"}`, { cause: error })
  }
}

suite("killed midway", { concurrency: true }, () => {
  test("a client killed three times midway goes on with every piece that was durable, fetches none again, and verifies", () =>
    assertSurvived(killClient, 3, 11))

  test("a client finishes, and verifies, though the only server is killed twice while it downloads", () =>
    assertSurvived(killOnlyServer, 2, 12))

  test("a second server killed while it copies goes on with every piece that was durable, and serves a client alone", () =>
    assertSurvived(killSecondServer, 1, 13))
})
