/**
 * `scripts/node bench/fuzz-dht.ts [--seconds N] [--seed N]`: random and mutated packets against the DHT port for a minute. Fails when the node
 * throws, honest traffic fails or memory grows without bound; prints what was sent and what became of it.
 */
import { parseArgs } from "node:util"
import { fuzzDht } from "../test/swarm/dht-fuzz.ts"

const { values } = parseArgs({
  options: { seconds: { type: "string", default: "60" }, seed: { type: "string", default: String(Date.now() % 1_000_000) } },
})
const RESIDENT_GROWTH_MAX_BYTES = 128 * 1024 * 1024

const report = await fuzzDht({ seed: Number(values.seed), durationMs: Number(values.seconds) * 1_000 })
console.log(JSON.stringify({ seed: Number(values.seed), seconds: Number(values.seconds), ...report }, null, 2))
const grownBytes = report.residentBytesAfter - report.residentBytesBefore
if (report.victim.thrown > 0 || grownBytes > RESIDENT_GROWTH_MAX_BYTES) process.exitCode = 1
