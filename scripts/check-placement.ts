/**
 * `npm run check:placement -- [--sequences N] [--events N] [--servers N] [--images N] [--seed N] [--trace]`: random sequences of kills, returns, wipes, partitions and
 * the rest over the placement logic, in virtual time. Sequence n has seed N + n and can be run alone by `--seed` of its own and `--sequences 1`. Exit code 1 when a
 * goal was not met again, a drop went under a goal, more moved than 1.2 times what was needed, or a return or heal set off a storm.
 */
import { randomInt } from "node:crypto"
import { parseArgs } from "node:util"
import { timeFullPass } from "./placement/full-pass.ts"
import { clock, playSequence, type SequenceResult } from "./placement/sequence.ts"
import { figuresOf, faultsOf } from "./placement/figures.ts"

const { values } = parseArgs({
  options: {
    sequences: { type: "string", default: "20" },
    events: { type: "string", default: "50" },
    servers: { type: "string", default: "50" },
    images: { type: "string", default: "10000" },
    seed: { type: "string", default: String(randomInt(1, 2 ** 30)) },
    trace: { type: "boolean", default: false },
  },
})
const numberOf = (name: "sequences" | "events" | "servers" | "images" | "seed") => {
  const number = Number(values[name])
  if (!Number.isSafeInteger(number) || number <= 0) {
    console.error(`--${name} is a whole number above 0, not ${values[name]}`)
    process.exit(64)
  }
  return number
}
const [sequences, events, servers, images, seed] = [
  numberOf("sequences"),
  numberOf("events"),
  numberOf("servers"),
  numberOf("images"),
  numberOf("seed"),
]

console.log(`${sequences} sequences of ${events} events, ${servers} servers, ${images} images, seed ${seed}`)
const results: SequenceResult[] = []
let failures = 0
const startedMs = performance.now()
for (let number = 0; number < sequences; number += 1) {
  const own = seed + number
  try {
    const result = playSequence({ seed: own, events, servers, images }, values.trace ? console.log : undefined)
    results.push(result)
    const faults = faultsOf(result)
    failures += faults.length > 0 ? 1 : 0
    for (const fault of faults) console.log(`FAILED: ${fault}; alone: --sequences 1 --seed ${own}`)
    const seconds = ((performance.now() - startedMs) / 1_000).toFixed(0)
    console.log(
      `${number + 1} seed ${own}: moved/needed ${result.movedByNeeded.toFixed(3)}, ${result.tally.copies} copies, ${result.tally.drops} drops, longest to goal ${clock(Math.max(...result.toGoalMs))}, storm ${result.worstStormRatio.toFixed(3)}, ${clock(result.simulatedMs)} simulated, ${seconds} s so far`,
    )
  } catch (error) {
    failures += 1
    console.log(
      `FAILED: ${error instanceof Error ? (error.name === "Violation" ? error.message : error.stack) : String(error)}; alone: --sequences 1 --seed ${own}`,
    )
  }
}
console.log("")
for (const line of figuresOf(results)) console.log(line)
const { rankMs, passMs } = timeFullPass(servers, images)
console.log(`one core: all rankings ${rankMs.toFixed(0)} ms, a full pass over all images ${passMs.toFixed(0)} ms`)
console.log(failures === 0 ? `${sequences} sequences held` : `${failures} of ${sequences} sequences failed`)
process.exitCode = failures === 0 ? 0 : 1
