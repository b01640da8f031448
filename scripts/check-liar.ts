/**
 * `npm run check:liar -- [--images N] [--lies N]` (root, for network namespaces): three sites of two servers each, every image with three copies on two sites. One
 * server loses the bytes of some layers, and is made to go on saying that it has them (sites/lie.ts); by its own audits with such bytes it slanders the honest ones. When is
 * it found by the audits of the others, against the time that their rates give; are the images it lost made again elsewhere, and no others; and does any good copy go?
 * Exit code 1 where one of that is not as promised.
 *
 * Each server audits one copy a minute: an image of those it holds, at another holder of that image, both drawn with equal chances. So a lie about an image is drawn by
 * one honest holder with the rate 1 / (60 s x images that it holds x other holders of the image), and the first draw of any lie comes after a time that is spread
 * exponentially, by the sum of those rates. In one of a thousand runs it takes longer than ln(1000) times the mean.
 */
import { statSync, truncateSync } from "node:fs"
import { tmpdir } from "node:os"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { clearLeftovers } from "../bench/lab/leftovers.ts"
import { SitesGrid } from "./sites/grid.ts"
import { PublishedImages } from "./sites/published-images.ts"

const AUDIT_EVERY_S = 60
const CONTENT_BYTES = 2_000_000
const COPIES = 3
/** From the moment in which it is found: audits of the rest, and the fetches. */
const HEAL_WITHIN_S = 300
const SETTLE_WITHIN_S = 120

const { values } = parseArgs({ options: { images: { type: "string", default: "12" }, lies: { type: "string", default: "6" } } })
const [imageCount, lieCount] = [Number(values.images), Number(values.lies)]
if (process.getuid?.() !== 0 || !(imageCount >= 3 && imageCount <= 200) || !(lieCount >= 1)) {
  console.error("check:liar needs root; --images is 3 to 200, --lies one at least")
  process.exit(64)
}
type Status = { readonly memberId: string; readonly images: number; readonly underGoal: number; readonly doubted: readonly string[] }

const startedMs = Date.now()
const say = (text: string) => console.log(`[${((Date.now() - startedMs) / 1000).toFixed(1).padStart(6)} s] ${text}`)

await clearLeftovers(tmpdir())
await using grid = await SitesGrid.start({
  sites: ["a", "b", "c"],
  servers: 2,
  clients: 0,
  wanBytesPerSecond: 100e6 / 8,
  wanDelayMs: 0,
  uploadLimit: null,
})
const stop = () => void grid[Symbol.asyncDispose]().finally(() => process.exit(130))
process.once("SIGINT", stop).once("SIGTERM", stop)
await grid.populate()
const servers = grid.serverNames()
const published = new PublishedImages(grid, CONTENT_BYTES)
const statusOf = async (name: string) =>
  (await grid.run(name, ["grid", "status"])).find(({ event }) => event === "grid") as unknown as Status

async function until(what: string, withinS: number, holds: () => Promise<boolean>): Promise<number> {
  const sinceMs = Date.now()
  while (!(await holds())) {
    if (Date.now() - sinceMs > withinS * 1000) throw new Error(`in ${withinS.toFixed(0)} s it did not come to this: ${what}`)
    await sleep(1_000)
  }
  return (Date.now() - sinceMs) / 1000
}

/** Nobody fetches, and nobody knows of an image under its goal. */
async function allSettled(): Promise<boolean> {
  return (await Promise.all(honest.map(statusOf))).every(({ underGoal }) => underGoal === 0)
}

await grid.run("a1", ["place", "*", "--copies", String(COPIES), "--sites", "2"])
for (let number = 0; number < imageCount; number += 1) await published.publish()
await until("every image has its copies", SETTLE_WITHIN_S, async () => {
  const [there, statuses] = await Promise.all([published.copies(servers), Promise.all(servers.map(statusOf))])
  const isAtGoal = [...there.values()].every((holders) => holders.length >= COPIES)
  return isAtGoal && statuses.every(({ images, underGoal }) => images === imageCount && underGoal === 0)
})
const before = await published.copies(servers)
const heldBy = (name: string) => [...before].filter(([, holders]) => holders.includes(name))
// Not the publisher's server: it holds everything.
const liar = servers.slice(1).reduce((most, name) => (heldBy(name).length > heldBy(most).length ? name : most))
const liarId = (await statusOf(liar)).memberId
const nameOf = new Map(await Promise.all(servers.map(async (name): Promise<[string, string]> => [(await statusOf(name)).memberId, name])))
const lies = heldBy(liar).slice(0, lieCount)
say(`${imageCount} images with ${COPIES} copies each; ${liar} holds ${heldBy(liar).length} of them and loses ${lies.length}`)

await grid.killServer(liar)
for (const [image] of lies)
  for (const layer of image.layers) {
    const file = published.fileOf(liar, layer)
    const { size } = statSync(file)
    truncateSync(file, 0)
    truncateSync(file, size)
  }
const preload = `NODE_OPTIONS=${process.env["NODE_OPTIONS"] ?? ""} --import=${fileURLToPath(new URL("./sites/lie.ts", import.meta.url))}`
await grid.startServer(liar, [
  "env",
  preload,
  `IMAGEGRID_LIES=${lies
    .flatMap(([image]) => image.layers)
    .map(({ infohash }) => infohash)
    .join(",")}`,
])
const honest = servers.filter((name) => name !== liar)
let drawsPerSecond = 0
for (const name of honest)
  for (const [, holders] of lies)
    if (holders.includes(name)) drawsPerSecond += 1 / AUDIT_EVERY_S / heldBy(name).length / (holders.length - 1)
const meanS = 1 / drawsPerSecond
const boundS = meanS * Math.log(1000)
say(
  `by the rates of the audits it is found after ${meanS.toFixed(0)} s on average, and in all but one of a thousand runs within ${boundS.toFixed(0)} s`,
)

const foundS = await until("it is found by audits", boundS, async () =>
  (await Promise.all(honest.map(statusOf))).some(({ doubted }) => doubted.includes(liarId)),
)
say(`found after ${foundS.toFixed(0)} s`)
const healedS = await until("the images that it lost have their copies elsewhere", HEAL_WITHIN_S, async () =>
  [...(await published.copies(servers))].every(([, holders]) => holders.length >= COPIES) ? allSettled() : false,
)
say(`${(foundS + healedS).toFixed(0)} s after the loss each image has ${COPIES} good copies again`)
const after = await published.copies(servers)
const made = [...after].reduce(
  (sum, [image, holders]) => sum + holders.filter((name) => before.get(image)?.includes(name) !== true).length,
  0,
)
say(`copies made: ${made} for ${lies.length} that were lost`)
const lost = [...before].flatMap(([image, holders]) =>
  holders.filter((name) => !(name === liar && lies.some(([lied]) => lied === image)) && after.get(image)?.includes(name) !== true),
)
say(`good copies that were dropped meanwhile: ${lost.length}`)
const doubters = await Promise.all(honest.map(async (name) => ({ name, doubted: (await statusOf(name)).doubted })))
say(
  `doubted at last, by whom: ${doubters.map(({ name, doubted }) => `${name} doubts ${doubted.map((id) => nameOf.get(id)).join(", ") || "nobody"}`).join("; ")}`,
)
const slandered = doubters.flatMap(({ doubted }) => doubted.filter((server) => server !== liarId))
if (lost.length + slandered.length > 0 || made > lies.length) process.exitCode = 1
