/**
 * `npm run check:killed-acts -- [--kills N] [--seed N] [--size BYTES]`: kills servers and commands with SIGKILL while they publish, copy, retire,
 * import and let machines in. Exit code 1 when anything that was acknowledged is lost, or anything half-made is listed or served.
 */
import { randomInt } from "node:crypto"
import { parseArgs } from "node:util"
import { killActs } from "../test/system/killed-acts.ts"

const { values } = parseArgs({ options: { kills: { type: "string" }, seed: { type: "string" }, size: { type: "string" } } })
const kills = positive("--kills", values.kills ?? "50")
const seed = positive("--seed", values.seed ?? String(randomInt(1, 2 ** 31)))
const contentBytes = positive("--size", values.size ?? String(8 * 1024 * 1024))

console.log(`seed ${seed}, ${kills} kills, images of ${contentBytes} bytes`)
try {
  const { deployed, members } = await killActs({
    kills,
    seed,
    contentBytes,
    onKill: ({ number, act, killed, afterMs, acknowledged }) =>
      console.log(`  kill ${number}: ${act}, ${killed} after ${afterMs} ms, ${acknowledged ? "acknowledged" : "not acknowledged"}`),
  })
  console.log(`Nothing that was acknowledged was lost. ${deployed} images deployed and verified, ${members} members joined.`)
} catch (error) {
  process.exitCode = 1
  console.error(error)
  console.error(`seed ${seed}: something was lost`)
}

function positive(option: string, text: string): number {
  const value = Number(text)
  if (!/^\d{1,15}$/.test(text) || value === 0) {
    console.error(`${option} is a whole number above 0, not ${JSON.stringify(text)}`)
    process.exit(64)
  }
  return value
}
