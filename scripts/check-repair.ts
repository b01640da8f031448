/**
 * `npm run check:repair -- [--images N] [--size BYTES] [--copies N]` (root, for network namespaces): three sites of two servers each; every image is to have two
 * copies (or N) on two sites. One server that holds copies is killed, and stays dead: when is every goal met again, by how many bytes, and what do the servers that
 * live spend on it? Exit code 1 where a goal is not met again.
 */
import { mkdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { setTimeout as sleep } from "node:timers/promises"
import { parseArgs } from "node:util"
import { clearLeftovers } from "../bench/lab/leftovers.ts"
import { makeTree } from "../test/system/trees.ts"
import { SitesGrid } from "./sites/grid.ts"

/** With one live copy left the others wait for a minute, with more for ten. */
const PATIENCE_MS = 960_000
const AT_REST_MS = 20_000

const { values } = parseArgs({
  options: {
    images: { type: "string", default: "8" },
    size: { type: "string", default: "20000000" },
    copies: { type: "string", default: "2" },
  },
})
const [imageCount, contentBytes, copies] = [Number(values.images), Number(values.size), Number(values.copies)]
if (process.getuid?.() !== 0 || !(contentBytes >= 1_000_000) || !(imageCount >= 1 && imageCount <= 200) || !(copies >= 2 && copies <= 5)) {
  console.error("check:repair needs root; --size is in bytes, a million at least, --images 1 to 200, --copies 2 to 5")
  process.exit(64)
}
type Status = {
  readonly memberId: string
  readonly images: number
  readonly underGoal: number
  readonly held: number
  readonly surplus: number
}

const startedMs = Date.now()
const say = (text: string) => console.log(`[${((Date.now() - startedMs) / 1000).toFixed(1).padStart(6)} s] ${text}`)

await clearLeftovers(tmpdir())
{
  await using grid = await SitesGrid.start({
    sites: ["a", "b", "c"],
    servers: 2,
    clients: 1,
    wanBytesPerSecond: 100e6 / 8,
    wanDelayMs: 0,
    uploadLimit: null,
  })
  const stop = () => void grid[Symbol.asyncDispose]().finally(() => process.exit(130))
  process.once("SIGINT", stop).once("SIGTERM", stop)
  await grid.populate()
  const statusOf = async (name: string) =>
    (await grid.run(name, ["grid", "status"])).find(({ event }) => event === "grid") as unknown as Status
  const all = async (names: readonly string[], holds: (status: Status) => boolean) => (await Promise.all(names.map(statusOf))).every(holds)
  const until = async (what: string, holds: () => Promise<boolean>) => {
    for (const deadlineMs = Date.now() + PATIENCE_MS; !(await holds()); await sleep(250))
      if (Date.now() > deadlineMs) throw new Error(`in ${PATIENCE_MS / 1000} s it did not come to this: ${what}`)
  }
  const servers = grid.serverNames()
  await grid.run("a1", ["place", "*", "--copies", String(copies), "--sites", "2"])
  for (let number = 1; number <= imageCount; number++) {
    const tree = grid.home(`tree-${number}`)
    mkdirSync(grid.home("trees"), { recursive: true })
    makeTree(tree, contentBytes, String(number))
    await grid.run("a1", ["publish", tree, `os:${number}`, "--group", "default,b/default,c/default"])
    rmSync(tree, { recursive: true })
  }
  await until("every image has its copies on two sites", () =>
    all(servers, ({ images, underGoal }) => images === imageCount && underGoal === 0),
  )
  const held = new Map<string, number>()
  for (const name of servers) held.set(name, (await statusOf(name)).held)
  say(`${imageCount} images published at a1; copies: ${[...held].map(([name, count]) => `${name} ${count}`).join(", ")}`)

  const victim = servers.slice(1).reduce((most, name) => ((held.get(name) ?? 0) > (held.get(most) ?? 0) ? name : most))
  const others = servers.filter((name) => name !== victim)
  /** CPU-seconds of the servers that live on, one of them on average. */
  const cpuSeconds = () => others.reduce((sum, name) => sum + grid.cpuSeconds(name), 0) / others.length
  const [restFromMs, restFrom] = [Date.now(), cpuSeconds()]
  await sleep(AT_REST_MS)
  const shareOfCore = (from: number, fromMs: number) => `${(((cpuSeconds() - from) / ((Date.now() - fromMs) / 1000)) * 100).toFixed(1)} %`
  say(`at rest a server takes ${shareOfCore(restFrom, restFromMs)} of a core`)
  const crossedBefore = await Promise.all([0, 1, 2].map((site) => grid.network.crossed(site)))
  await grid.killServer(victim)
  const killedMs = Date.now()
  say(`${victim} was killed; it held ${held.get(victim)} copies`)
  await until("the others have noticed that it is gone", async () => !(await all(others, ({ underGoal }) => underGoal === 0)))
  say(`${((Date.now() - killedMs) / 1000).toFixed(1)} s after its death its copies do not count any more`)
  const [repairFromMs, repairFrom] = [Date.now(), cpuSeconds()]
  await until("every goal is met again", () => all(others, ({ images, underGoal }) => images === imageCount && underGoal === 0))
  say(`${((Date.now() - killedMs) / 1000).toFixed(1)} s after its death every goal is met again`)
  say(
    `while they repaired a server that lives took ${shareOfCore(repairFrom, repairFromMs)} of a core, what was asked of them to see it included`,
  )
  for (const [site, name] of ["a", "b", "c"].entries()) {
    const { inBytes } = await grid.network.crossed(site)
    say(`over the link of site ${name} since then: ${((inBytes - (crossedBefore[site]?.inBytes ?? 0)) / 1e6).toFixed(1)} MB in`)
  }
  await grid.startServer(victim)
  await sleep(20_000)
  const after = await Promise.all(servers.map(statusOf))
  say(
    `it is back: ${after.every(({ underGoal }) => underGoal === 0) ? "all goals are met" : "A GOAL IS NOT MET"}, ${after.reduce((sum, { surplus }) => sum + surplus, 0)} copies are more than asked for, and stay while there is room`,
  )
}
