/**
 * `npm run check:sites -- [--size BYTES] [--wan RATE]` (root, for network namespaces): three sites of three servers and three clients each, behind links
 * of their own. One publishes; when every server has its copy all nine clients deploy, and in the middle of it six of the nine servers are killed, the
 * publisher's whole site among them. All clients must finish and verify. Exit code 1 otherwise.
 */
import { mkdirSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { parseArgs } from "node:util"
import { clearLeftovers } from "../bench/lab/leftovers.ts"
import { makeTree } from "../test/system/trees.ts"
import { tmpdir } from "node:os"
import { SitesGrid } from "./sites/grid.ts"

const KILLED = ["a1", "a2", "a3", "b1", "b2", "c1"]
/** Of all downloads together, when the servers die. */
const KILL_AT_SHARE = 0.3

const { values } = parseArgs({ options: { size: { type: "string", default: "100000000" }, wan: { type: "string", default: "100" } } })
const [contentBytes, wanMegabits] = [Number(values.size), Number(values.wan)]
if (process.getuid?.() !== 0 || !(contentBytes > 1_000_000) || !(wanMegabits > 0)) {
  console.error("check:sites needs root; --size is in bytes, above a million, --wan in Mbit/s")
  process.exit(64)
}

const startedMs = Date.now()
const say = (text: string) => console.log(`[${((Date.now() - startedMs) / 1000).toFixed(1).padStart(6)} s] ${text}`)

await clearLeftovers(tmpdir())
{
  await using grid = await SitesGrid.start({
    sites: ["a", "b", "c"],
    servers: 3,
    clients: 3,
    wanBytesPerSecond: (wanMegabits * 1e6) / 8,
    wanDelayMs: 0,
    uploadLimit: Math.round(contentBytes / 12),
  })
  const stop = () => void grid[Symbol.asyncDispose]().finally(() => process.exit(130))
  process.once("SIGINT", stop).once("SIGTERM", stop)
  await grid.populate()
  say("three sites with three servers each run; all have agreements with one another; three clients have joined at each")

  mkdirSync(grid.home("trees"))
  makeTree(grid.home("trees/image"), contentBytes)
  say("an image is published at a1")
  await grid.run("a1", ["publish", grid.home("trees/image"), "os:1", "--group", "default,b/default,c/default", "--wait-copies", "9"])
  say("published at a1, and shown by all nine servers, of all sites, to be held by them")
  for (const [site, name] of ["a", "b", "c"].entries()) {
    const { inBytes, outBytes } = await grid.network.crossed(site)
    say(`over the link of site ${name}: ${megabytes(outBytes)} out, ${megabytes(inBytes)} in`)
  }

  const shares = new Map<string, number>()
  const results = new Map<string, Record<string, unknown>>()
  const deploys = grid.clientNames().map((name) => {
    const image = name.startsWith("a-") ? "os" : "a/os"
    const deploy = grid.start(name, ["deploy", image, "--target", grid.home(`${name}-target`), "--stage", grid.home(`${name}-stage`)])
    deploy.onEvent((event) => {
      if (event["event"] === "progress" && event["phase"] === "downloading")
        shares.set(name, Number(event["bytes"]) / Number(event["totalBytes"]))
      if (event["event"] === "downloaded") {
        shares.set(name, 1)
        results.set(name, event)
      }
    })
    return { name, deploy }
  })
  const share = () => [...shares.values()].reduce((sum, one) => sum + one, 0) / deploys.length
  while (share() < KILL_AT_SHARE) await sleep(20)
  const atShare = share()
  await Promise.all(KILLED.map((name) => grid.killServer(name)))
  say(`${KILLED.join(", ")} were killed (SIGKILL) when ${(100 * atShare).toFixed(0)} % of all downloads were done`)
  await Promise.all(
    deploys.map(async ({ name, deploy }) => {
      await deploy.event("good")
      say(`${name}: every entry is as the publisher signed it`)
    }),
  )
  await Promise.all(deploys.map(({ deploy }) => deploy.finished()))
  for (const { name } of deploys) {
    const verify = await grid.run(name, ["verify", "--target", grid.home(`${name}-target`)])
    if (verify.at(-1)?.["differences"] !== 0) throw new Error(`${name} does not verify`)
  }
  console.table(
    Object.fromEntries(
      [...results].map(([name, { bytes, fromOrigins, fromClients }]) => [
        name,
        { sealed: megabytes(bytes), "from servers": megabytes(fromOrigins), "from clients": megabytes(fromClients) },
      ]),
    ),
  )
  say(`nine of nine clients finished and verify; ${9 - KILLED.length} of nine servers were left`)
}

function megabytes(bytes: unknown): string {
  return `${(Number(bytes) / 1e6).toFixed(1)} MB`
}
