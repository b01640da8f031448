/**
 * `npm run bench:catalog -- [--images N,N,...] [--publishes N]`: what a site costs with so many image versions (100,1000,10000): starts, publications, their way to a second
 * server and to a client, listings, memory. Real programs on loopback; each version has its place in a lineage of ten, its grant, and each image a tag. Linux alone.
 */
import { readFileSync } from "node:fs"
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { parseArgs } from "node:util"
import { address, type Address } from "#core/address.ts"
import { CATALOG_BYTES_MAX, readCatalogSeq, routes } from "#core/wire.ts"
import { ApiClient } from "#member/api-client.ts"
import { Home } from "#member/home.ts"
import { ChildProgram, type ChildEvent } from "../cli/child-program.ts"
import { keepLayers, makeSite } from "./catalog/site.ts"
import { newClient } from "./memory/site.ts"

const SETTLE_MS = 8_000
const POLL_MS = 50
const SAMPLE_MS = 10
const MEGA = 1e6
const loopback = ["--swarm", "127.0.0.1:0", "--dht", "127.0.0.1:0"] as const

const { values } = parseArgs({
  options: { images: { type: "string", default: "100,1000,10000" }, publishes: { type: "string", default: "2" } },
})
const sizes = values.images.split(",").map(Number)
const publishCount = Number(values.publishes)
if (![...sizes, publishCount].every((value) => Number.isSafeInteger(value) && value > 0)) {
  console.error("bench:catalog takes --images, whole numbers with commas between, and --publishes, a whole number, each from 1")
  process.exit(64)
}

type Figures = Record<string, number>
/** What the kernel counts of a process: memory, and bytes that it read and wrote, files and sockets together. */
type Usage = {
  readonly residentBytes: number
  readonly peakBytes: number
  readonly readBytes: number
  readonly writtenBytes: number
  readonly cpuMs: number
}
type Timed = { readonly tookMs: number; readonly usage: Usage; readonly events: readonly ChildEvent[] }

const rows = new Map<string, Figures>()
for (const size of sizes) {
  const directory = await mkdtemp(join(tmpdir(), "imagegrid-catalog-"))
  try {
    rows.set(String(size), await measure(directory, size))
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
const names = [...new Set([...rows.values()].flatMap((figures) => Object.keys(figures)))]
console.table(
  Object.fromEntries(names.map((name) => [name, Object.fromEntries([...rows].map(([size, figures]) => [size, figures[name]]))])),
)
console.log(JSON.stringify({ event: "catalog", rows: Object.fromEntries(rows) }))

async function measure(directory: string, size: number): Promise<Figures> {
  const figures: Figures = {}
  const at = (name: string) => join(directory, name)
  const note = (name: string, value: number, digits = 2): void => {
    figures[name] = Number(value.toFixed(digits))
    console.error(`${size}: ${name} ${figures[name]}`)
  }
  const seconds = (name: string, { tookMs, usage }: Timed): void => {
    note(`${name}, s`, tookMs / 1000)
    note(`${name}, CPU-s`, usage.cpuMs / 1000)
    note(`${name}, peak MB`, usage.peakBytes / MEGA, 0)
  }
  const { home, torrents } = await makeSite(at("server-1"), size)
  await mkdir(at("tree"))
  await writeFile(join(at("tree"), "file"), "one small file\n")

  await using one = await start(["server", "run", "--home", at("server-1")])
  note("server starts, s", one.readyMs / 1000)
  note("server starts, CPU-s", usageOf(one.program).cpuMs / 1000)
  const { admission } = await newClient(home)
  const api = new ApiClient(admission)
  const catalog = await api.bytes(one.api, { path: routes.catalog, maxBytes: CATALOG_BYTES_MAX, timeoutMs: 60_000 })
  note("catalog, MB", catalog.length / MEGA)
  for (const [name, path] of [
    ["/v1/status", routes.status],
    ["/v1/grid", routes.grid],
    ["/metrics", routes.metrics],
  ] as const)
    note(`${name}, KB`, (await api.bytes(one.api, { path, maxBytes: 1e9, timeoutMs: 60_000 })).length / 1000, 1)

  const serverInvite = await invite(at("server-1"), "--role", "server")
  await run(["join", serverInvite, "--home", at("server-2"), "--api", "127.0.0.1:0", ...loopback])
  await keepLayers(await Home.open(at("server-2")), torrents)
  await using two = await start(["server", "run", "--home", at("server-2")])

  seconds("client joins", await run(["join", await invite(at("server-1")), "--home", at("client"), ...loopback]))
  await cp(at("client"), at("client-before"), { recursive: true })

  await pause(SETTLE_MS)
  note("server at rest, MB", usageOf(one.program).residentBytes / MEGA, 0)
  const restBefore = [usageOf(one.program), usageOf(two.program)] as const
  const restMs = 30_000
  await pause(restMs)
  const restAfter = [usageOf(one.program), usageOf(two.program)] as const
  note("two servers at rest, CPU-s a minute each", ((cpu(restAfter) - cpu(restBefore)) / 2 / restMs) * 60, 2)
  note("two servers at rest, MB read a minute each", ((read(restAfter) - read(restBefore)) / 2 / restMs / MEGA) * 60_000, 1)

  for (let count = 1; count <= publishCount; count += 1) {
    const word = count === 1 ? "" : ` (${count})`
    const before = { one: usageOf(one.program), two: usageOf(two.program) }
    const seqBefore = await seqOf(api, one.api)
    const publishing = run(["publish", at("tree"), `bench/one:${count}`, "--home", at("server-1")])
    const [published, hadMs] = await Promise.all([
      publishing,
      publishing.then(async () => {
        const startedMs = performance.now()
        while ((await seqOf(api, two.api)) <= seqBefore) await pause(POLL_MS)
        return performance.now() - startedMs
      }),
    ])
    seconds(`publish one more${word}`, published)
    note(`second server has it after${word}, s`, hadMs / 1000)
    await pause(SETTLE_MS)
    const after = { one: usageOf(one.program), two: usageOf(two.program) }
    note(`second server read for it${word}, MB`, (after.two.readBytes - before.two.readBytes) / MEGA)
    note(`publish: first server${word}, CPU-s`, (after.one.cpuMs - before.one.cpuMs) / 1000)
    note(`publish: second server${word}, CPU-s`, (after.two.cpuMs - before.two.cpuMs) / 1000)
  }
  note("server at peak, MB", usageOf(one.program).peakBytes / MEGA, 0)
  note("second server at peak, MB", usageOf(two.program).peakBytes / MEGA, 0)

  const refreshed = await run(["status", "--home", at("client")])
  seconds("client's status, which refreshes", refreshed)
  note("client read for it, MB", refreshed.usage.readBytes / MEGA)
  const listed = await run(["images", "--home", at("client")])
  if (listed.events.filter(({ event }) => event === "image").length !== size + publishCount) throw new Error("images lists all of them")
  seconds("client's images --json, nothing new", listed)
  note("client read for that, MB", listed.usage.readBytes / MEGA)
  seconds("server's images --json", await run(["images", "--home", at("server-1")]))
  seconds("server's status", await run(["status", "--home", at("server-1")]))
  seconds("server's tag", await run(["tag", "bench/one:stable", "1", "--home", at("server-1")]))
  return figures
}

async function seqOf(api: ApiClient, server: Address): Promise<number> {
  return (await api.json(server, { path: routes.catalogSeq, timeoutMs: 60_000 }, readCatalogSeq)).catalogSeq
}

async function invite(home: string, ...options: string[]): Promise<string> {
  const made = await run(["invite", "--home", home, ...options])
  return String(made.events.find(({ event }) => event === "invite")?.["invite"])
}

async function start(
  words: readonly string[],
): Promise<AsyncDisposable & { readonly program: ChildProgram; readonly readyMs: number; readonly api: Address }> {
  const startedMs = performance.now()
  const program = new ChildProgram(words.slice(0, 2).join(" "), words, new AbortController().signal)
  const running = await program.event("server-running")
  return {
    program,
    readyMs: performance.now() - startedMs,
    api: address(String(running["api"])),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  }
}

/** Runs a command to its end. What it used is what was seen of it last. */
async function run(words: readonly string[]): Promise<Timed> {
  const startedMs = performance.now()
  const program = new ChildProgram(words.slice(0, 2).join(" "), words, new AbortController().signal)
  const events: ChildEvent[] = []
  program.onEvent((event) => events.push(event))
  let usage: Usage = { residentBytes: 0, peakBytes: 0, readBytes: 0, writtenBytes: 0, cpuMs: 0 }
  const sampling = setInterval(() => {
    try {
      usage = usageOf(program)
    } catch {
      // It has ended.
    }
  }, SAMPLE_MS)
  try {
    await program.finished()
  } finally {
    clearInterval(sampling)
  }
  return { tookMs: performance.now() - startedMs, usage, events }
}

function usageOf({ pid }: ChildProgram): Usage {
  const [status, io, stat] = ["status", "io", "stat"].map((name) => readFileSync(`/proc/${pid}/${name}`, "utf8")) as [
    string,
    string,
    string,
  ]
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  const usage = {
    residentBytes: numberIn(status, "VmRSS") * 1024,
    peakBytes: numberIn(status, "VmHWM") * 1024,
    readBytes: numberIn(io, "rchar"),
    writtenBytes: numberIn(io, "wchar"),
    // utime and stime (proc_pid_stat(5)), in hundredths of a second.
    cpuMs: (Number(fields[11]) + Number(fields[12])) * 10,
  }
  if (Number.isNaN(usage.residentBytes)) throw new Error(`process ${pid} has ended`)
  return usage
}

/** Of a line `name: number` among others. */
function numberIn(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? Number.NaN)
}

function cpu(usages: readonly Usage[]): number {
  return usages.reduce((sum, { cpuMs }) => sum + cpuMs, 0)
}

function read(usages: readonly Usage[]): number {
  return usages.reduce((sum, { readBytes }) => sum + readBytes, 0)
}
