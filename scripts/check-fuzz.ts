/**
 * `npm run check:fuzz -- [--seconds 60] [--seed N] [--megabytes 100] [--phase NAME]`: random and mutated bytes against a running server's ports while honest clients
 * deploy from it. Fails when the server ends, an honest client does not get its image, or memory grows beyond its bound. Linux alone.
 */
import { parseArgs } from "node:util"
import { FuzzGrid, GROWTH_BYTES_MAX, median, phases } from "./fuzz/fuzz-grid.ts"

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    megabytes: { type: "string", default: "100" },
    phase: { type: "string", multiple: true, default: [] },
  },
})
const seconds = Number(values.seconds)
const seed = Number(values.seed)
const megabytes = Number(values.megabytes)
const chosen = phases.filter((phase) => values.phase.length === 0 || values.phase.includes(phase))
if (!(seconds > 0) || !Number.isSafeInteger(seed) || !(megabytes > 0) || chosen.length === 0) {
  console.error(`check:fuzz takes --seconds, --seed and --megabytes, each a number, and --phase, one of: ${phases.join(", ")}`)
  process.exit(64)
}

const mebibytes = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(0)} MiB`
const secondsOf = (ms: number) => `${(ms / 1000).toFixed(1)} s`

console.log(`seed ${seed}, ${seconds} s a phase, image of ${megabytes} MB`)
await using grid = await FuzzGrid.open({ imageBytes: megabytes * 1e6 })
const calm: number[] = []
for (let count = 0; count < 4; count += 1) calm.push(await grid.deploy())
await grid.lookUp()
const calmMs = median(calm)
console.log(`without attack an honest deploy takes ${secondsOf(calmMs)} (median of ${calm.length})`)
let failed = 0
for (const phase of chosen) {
  const { sent, deployMs, lookupMs, residentBytes, failures } = await grid.run(phase, seconds * 1000, seed)
  console.log(`\n${phase}`)
  console.log(`  sent      ${sent.toString()}`)
  console.log(
    `  deploys   ${deployMs.length} honest, median ${secondsOf(median(deployMs))} = ${(median(deployMs) / calmMs).toFixed(2)} times the calm one, longest ${secondsOf(Math.max(...deployMs))}`,
  )
  console.log(`  lookups   ${lookupMs.length} honest, median ${secondsOf(median(lookupMs))}, longest ${secondsOf(Math.max(...lookupMs))}`)
  const { start, peak, highWater, end, creep } = residentBytes
  console.log(
    `  memory    start ${mebibytes(start)}, peak ${mebibytes(peak)}, end ${mebibytes(end)}, high water since it began ${mebibytes(highWater)}; last third against middle third ${mebibytes(creep)}; bound: start + ${mebibytes(GROWTH_BYTES_MAX)}`,
  )
  for (const failure of failures) console.log(`  FAILED    ${failure}`)
  failed += failures.length
}
console.log(
  failed === 0 ? "\nthe server lives, honest traffic went on, memory stayed bounded" : `\n${failed} failures; again with --seed ${seed}`,
)
process.exitCode = failed === 0 ? 0 : 1
