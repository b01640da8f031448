/**
 * `npm run check:kills -- [--kills N] [--seed N] [--size BYTES]`: kills a client, the only server and a server that copies with SIGKILL at
 * random moments of a deploy, N times each. Every restart must go on with the pieces that were durable, fetch none of them again, and
 * end in a tree that verifies. Exit code 1 when anything was lost.
 */
import { randomInt } from "node:crypto"
import { parseArgs } from "node:util"
import { killClient, killOnlyServer, killSecondServer, survived, type Kill, type KillingResult } from "../test/system/killing.ts"

const { values } = parseArgs({ options: { kills: { type: "string" }, seed: { type: "string" }, size: { type: "string" } } })
const kills = positive("--kills", values.kills ?? "20")
const seed = positive("--seed", values.seed ?? String(randomInt(1, 2 ** 31)))
const contentBytes = positive("--size", values.size ?? String(96 * 1024 * 1024))
/** Slow enough for the kills to land in the download, which takes 16 s without them. */
const uploadBytesPerSecond = Math.ceil(contentBytes / 16)

const scenarios = [
  { name: "client, from its start to its verification", run: killClient },
  { name: "the only server, while a client downloads", run: killOnlyServer },
  { name: "a second server, while it copies", run: killSecondServer },
] as const

console.log(`seed ${seed}, ${kills} kills each, ${contentBytes} bytes of content, servers send ${uploadBytesPerSecond} bytes a second`)
const summary: Record<string, Record<string, string | number>> = {}
for (const { name, run } of scenarios) {
  console.log(`\nkilled: ${name}`)
  const startedMs = Date.now()
  try {
    const result = await run({ kills, seed, contentBytes, uploadBytesPerSecond, onKill: tell })
    const good = survived(result)
    if (!good) process.exitCode = 1
    summary[name] = { ...figures(result), seconds: Math.round((Date.now() - startedMs) / 1000), outcome: good ? "nothing lost" : "LOST" }
  } catch (error) {
    process.exitCode = 1
    console.error(error)
    summary[name] = { outcome: "FAILED" }
  }
}
console.log("")
console.table(summary)
console.log(`seed ${seed}: ${process.exitCode === 1 ? "something was lost" : "every restart went on, and every tree verified"}`)

function tell({ number, during, afterStartMs, durableBytes, lostBytes }: Kill): void {
  const lost = lostBytes === 0 ? "all of it there at the next start" : `${lostBytes} BYTES LOST`
  console.log(`  kill ${number} after ${afterStartMs} ms (${during}): ${durableBytes} bytes durable, ${lost}`)
}

function figures(result: KillingResult): Record<string, number> {
  const downloading = result.kills.filter((kill) => /download|copying/.test(kill.during)).length
  return {
    kills: result.kills.length,
    "in the download": downloading,
    sealed: result.sealedBytes,
    "last run held": result.lastHeldBytes,
    "and fetched": result.lastFetchedBytes,
    duplicate: result.duplicateBytes,
    "entries verified": result.entries,
  }
}

function positive(option: string, text: string): number {
  const value = Number(text)
  if (!/^\d{1,15}$/.test(text) || value === 0) {
    console.error(`${option} is a whole number above 0, not ${JSON.stringify(text)}`)
    process.exit(64)
  }
  return value
}
