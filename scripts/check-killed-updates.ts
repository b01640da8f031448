/**
 * `npm run check:killed-updates -- [--kills N] [--seed N] [--files N]`: kills a client with SIGKILL at random moments of updates and rollbacks. Every time
 * the same command, run again, must end in the tree that it is to make. Exit code 1 when one did not.
 */
import { randomInt } from "node:crypto"
import { parseArgs } from "node:util"
import { killUpdates } from "../test/system/killed-updates.ts"

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "50" },
    seed: { type: "string", default: String(randomInt(1, 2 ** 31)) },
    files: { type: "string", default: "3000" },
  },
})
const [kills, seed, files] = [values.kills, values.seed, values.files].map(Number) as [number, number, number]
if (![kills, seed, files].every((value) => Number.isSafeInteger(value) && value > 0)) {
  console.error("--kills, --seed and --files are whole numbers above 0")
  process.exit(64)
}
console.log(`seed ${seed}, ${kills} kills, ${files} files`)
try {
  const all = await killUpdates({
    kills,
    seed,
    files,
    onKill: ({ number, action, during, afterStartMs, left }) =>
      console.log(
        `  kill ${number} of ${action === "update" ? "an update" : "a rollback"} after ${afterStartMs} ms (${during}): left ${left}`,
      ),
  })
  const count = (action: string, left: string) => all.filter((kill) => kill.action === action && kill.left === left).length
  console.table(
    ["update", "rollback"].map((action) => ({
      action,
      kills: all.filter((kill) => kill.action === action).length,
      "left the old tree": count(action, "old"),
      "left midway": count(action, "midway"),
      "left the new tree": count(action, "new"),
    })),
  )
  console.log(`seed ${seed}: every tree was the old or the new one in the end, and verified`)
} catch (error) {
  console.error(error)
  console.log(`seed ${seed}: FAILED`)
  process.exitCode = 1
}
