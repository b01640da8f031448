/**
 * `npm run bench:publish-version -- [--size BYTES] [--files N] [--runs N]`: how long it takes to publish a version of which one file in a hundred changed,
 * beside publishing the whole tree, warm in the page cache. Prints what was read of the tree.
 */
import { spawnSync } from "node:child_process"
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { parseArgs } from "node:util"
import { seededRandom } from "#swarm/core/random.ts"
import { TestGrid } from "../test/system/grid.ts"
import { noise } from "../test/system/trees.ts"

const { values } = parseArgs({
  options: {
    size: { type: "string", default: "2000000000" },
    files: { type: "string", default: "40000" },
    runs: { type: "string", default: "3" },
  },
})
const [size, files, runs] = [values.size, values.files, values.runs].map(Number) as [number, number, number]
if (![size, files, runs].every((value) => Number.isSafeInteger(value) && value > 0)) {
  console.error("--size, --files and --runs are whole numbers above 0")
  process.exit(64)
}
const CHANGED_SHARE = 0.01

await using grid = new TestGrid()
const [tree, home] = [grid.home("tree"), grid.home("server-1")]
makeTree()
await grid.site()
const rows: Record<string, string | number>[] = []
for (let run = 1; run <= runs; run += 1) {
  const base = `os:${run}.0`
  warm()
  const whole = await publish(base)
  const random = seededRandom(run)
  const changed = Math.round(files * CHANGED_SHARE)
  for (let count = 0; count < changed; count += 1) appendFileSync(pathOf(random.below(files)), `run ${run}, change ${count}\n`)
  // What changed just before a reading is read again the next time.
  await sleep(2_100)
  warm()
  const part = await publish(`os:${run}.1`, "--from", base, "--full", "never")
  const { files: readFiles, bytes: readBytes } = part["read"] as { files: number; bytes: number }
  const { sealedBytes } = part["delta"] as { sealedBytes: number }
  rows.push({
    run,
    "whole, s": (Number(whole["tookMs"]) / 1000).toFixed(2),
    "1 % changed, s": (Number(part["tookMs"]) / 1000).toFixed(2),
    ratio: (Number(part["tookMs"]) / Number(whole["tookMs"])).toFixed(3),
    "files read": readFiles,
    "MB read": (readBytes / 1e6).toFixed(1),
    "delta, MB": (sealedBytes / 1e6).toFixed(2),
    "whole, MB": (Number(whole["sealedBytes"]) / 1e6).toFixed(0),
  })
}
console.table(rows)
console.log(JSON.stringify({ event: "publish-version", size, files, rows }))

async function publish(image: string, ...options: string[]): Promise<Record<string, unknown>> {
  return (await grid.run(["publish", tree, image, "--home", home, ...options])).event("published")
}

function warm(): void {
  spawnSync("sh", ["-c", `find "${tree}" -type f -exec cat {} + > /dev/null`])
}

function pathOf(number: number): string {
  return join(tree, `d${number % 200}`, `f${number}`)
}

/** Sizes from a tenth of the mean to five times that; one half of each file does not compress. */
function makeTree(): void {
  const random = seededRandom(4711)
  const block = noise(4 * 1024 * 1024, "block")
  const text = Buffer.alloc(2 * 1024 * 1024, "all work and no play makes a dull line of text, ")
  const weights = Array.from({ length: files }, () => 0.1 + (random.below(1_000_000) / 1_000_000) ** 3 * 4.9)
  const sum = weights.reduce((total, weight) => total + weight, 0)
  for (let number = 0; number < 200; number += 1) mkdirSync(join(tree, `d${number}`), { recursive: true })
  for (const [number, weight] of weights.entries()) {
    const half = Math.min(text.length, Math.round(((weight / sum) * size) / 2))
    const from = random.below(block.length - half)
    writeFileSync(pathOf(number), Buffer.concat([Buffer.from(`${number}\n`), block.subarray(from, from + half), text.subarray(0, half)]))
  }
}
