/**
 * `npm run bench:deploy -- [--size BYTES] [--files N] [--rate RATE] [--runs N] [--compressible SHARE]`: from the command to the verified tree, staged and with
 * a window alone, beside what each stage takes by itself; on a loopback that is shaped to the rate, in a network of its own. Linux, root.
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { parseArgs } from "node:util"
import { seededRandom } from "#swarm/core/random.ts"
import type { ChildProgram } from "../cli/child-program.ts"
import { TestGrid } from "../test/system/grid.ts"
import { noise } from "../test/system/trees.ts"

const INSIDE = "IMAGEGRID_BENCH_INSIDE"
const IMAGE = "os/image:1"
const POLL_MS = 20

const { values } = parseArgs({
  options: {
    size: { type: "string", default: "1000000000" },
    files: { type: "string", default: "20000" },
    rate: { type: "string", default: "1gbit" },
    runs: { type: "string", default: "3" },
    compressible: { type: "string", default: "0.5" },
  },
})
const [size, files, runs, compressible] = [values.size, values.files, values.runs, values.compressible].map(Number) as [
  number,
  number,
  number,
  number,
]
if (![size, files, runs].every((value) => Number.isSafeInteger(value) && value > 0) || !(compressible >= 0 && compressible <= 1)) {
  console.error("--size, --files and --runs are whole numbers above 0, --compressible a share from 0 to 1")
  process.exit(64)
}
if (process.env[INSIDE] === undefined) process.exit(runInside())

// In memory: a disk would be what is measured.
const place = mkdtempSync("/dev/shm/imagegrid-bench-")
try {
  await using grid = new TestGrid(place)
  makeTree(grid.home("tree"))
  await grid.site()
  await grid.run(["publish", grid.home("tree"), IMAGE, "--home", grid.home("server-1"), "--wait-copies", "1"])
  const rows: Record<string, string | number>[] = []
  for (let run = 1; run <= runs; run += 1) rows.push(await measure(grid, run))
  console.table(rows)
  console.log(JSON.stringify({ event: "deploy", size, files, rate: values.rate, compressible, rows }))
} finally {
  rmSync(place, { recursive: true, force: true })
}

/** This program again, in a network that has a shaped loopback and nothing else. */
function runInside(): number {
  const shape = `ip link set lo up && tc qdisc add dev lo root tbf rate ${values.rate} burst 256kb latency 20ms`
  const { status } = spawnSync(
    "unshare",
    ["--net", "sh", "-c", `${shape} && exec "$0" "$@"`, process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    {
      stdio: "inherit",
      env: { ...process.env, [INSIDE]: "1" },
    },
  )
  return status ?? 1
}

async function measure(grid: TestGrid, run: number): Promise<Record<string, string | number>> {
  const alone = await stagesAlone(grid, `alone-${run}`)
  const slowest = Math.max(...["download", "open", "decompress", "unpack"].map((stage) => alone.seconds[stage] ?? Number.NaN))
  const staged = await deploy(grid, `staged-${run}`, grid.home(`stage-${run}`))
  const windowed = await deploy(grid, `windowed-${run}`, "none")
  const shown = Object.fromEntries(Object.entries(alone.seconds).map(([stage, seconds]) => [`${stage}, s`, seconds.toFixed(2)]))
  return {
    "sealed, MB": Math.round(alone.sealedBytes / 1e6),
    ...shown,
    "staged, s": staged.seconds.toFixed(2),
    "before + download + after, s": partsOf(staged),
    "staged / slowest": (staged.seconds / slowest).toFixed(3),
    "staged, MB": Math.round(staged.peakBytes / 1e6),
    "windowed, s": windowed.seconds.toFixed(2),
    "before + download + after ": partsOf(windowed),
    "windowed / slowest": (windowed.seconds / slowest).toFixed(3),
    "windowed, MB": Math.round(windowed.peakBytes / 1e6),
  }
}

function partsOf({ parts }: Deployed): string {
  return parts.map((part) => part.toFixed(2)).join(" + ")
}

type Alone = { readonly seconds: Readonly<Record<string, number>>; readonly sealedBytes: number }

async function stagesAlone(grid: TestGrid, name: string): Promise<Alone> {
  await grid.joinClient(name)
  const work = grid.home(`${name}-work`)
  mkdirSync(work)
  const script = join(import.meta.dirname, "deploy-stages.ts")
  const words = [...process.execArgv, "--external-memory-accounted-in-global-limit", script, grid.home(name), IMAGE, work]
  const { stdout, stderr, status } = spawnSync(process.execPath, words, { encoding: "utf8" })
  if (status !== 0) throw new Error(`the stages by themselves: ${stderr}`)
  rmSync(work, { recursive: true })
  return JSON.parse(stdout) as Alone
}

type Deployed = {
  /** From the command, Node's start included, to the line that says that the tree is good. */
  readonly seconds: number
  /** Of those, before the download began, while it ran, and after it. */
  readonly parts: readonly number[]
  readonly peakBytes: number
}

async function deploy(grid: TestGrid, name: string, stage: string): Promise<Deployed> {
  await grid.joinClient(name)
  const target = grid.home(`${name}-root`)
  const startedMs = performance.now()
  const program = grid.start(["deploy", IMAGE, "--home", grid.home(name), "--target", target, "--stage", stage, "--seed-until", "done"])
  const moments: number[] = []
  program.onEvent(({ event }) => {
    if (event === "download-started" || event === "downloaded" || event === "good") moments.push((performance.now() - startedMs) / 1000)
  })
  let peakBytes = 0
  const looking = setInterval(() => (peakBytes = Math.max(peakBytes, peakBytesOf(program))), POLL_MS)
  await program.event("good")
  clearInterval(looking)
  await program.finished()
  rmSync(target, { recursive: true })
  rmSync(stage, { recursive: true, force: true })
  return { seconds: moments.at(-1) ?? Number.NaN, parts: moments.map((moment, number) => moment - (moments[number - 1] ?? 0)), peakBytes }
}

function peakBytesOf({ pid }: ChildProgram): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

/** Sizes from a tenth of the mean to five times that. */
function makeTree(directory: string): void {
  const random = seededRandom(4711)
  const block = noise(8 * 1024 * 1024, "block")
  const text = Buffer.alloc(8 * 1024 * 1024, "all work and no play makes a dull line of text, ")
  const weights = Array.from({ length: files }, () => 0.1 + (random.below(1_000_000) / 1_000_000) ** 3 * 4.9)
  const sum = weights.reduce((total, weight) => total + weight, 0)
  for (const [number, weight] of weights.entries()) {
    const path = join(directory, `d${number % 200}`, `f${number}`)
    if (number < 200) mkdirSync(dirname(path), { recursive: true })
    const bytes = Math.min(text.length, Math.round((weight / sum) * size))
    const dull = Math.round(bytes * compressible)
    const from = random.below(block.length - (bytes - dull) + 1)
    // Each file's noise is another's, turned round by its number: it does not compress.
    const sharp = Buffer.from(block.subarray(from, from + bytes - dull))
    for (let at = 0; at + 8 <= sharp.length; at += 8)
      sharp.writeUInt32LE((sharp.readUInt32LE(at) ^ Math.imul(number + 1, 2654435761)) >>> 0, at)
    writeFileSync(path, Buffer.concat([Buffer.from(`${number}\n`), sharp, text.subarray(0, dull)]))
  }
}
