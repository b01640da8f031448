/**
 * `npm run bench:pair`: one seeder process to one leecher process on loopback, both on tmpfs; ours over mutual TLS, libtorrent without encryption, in turns in the
 * same run. Prints the medians. Options: --size MiB (1024), --rounds N (3), --only ours|libtorrent.
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process"
import { createHash, randomFillSync } from "node:crypto"
import { once } from "node:events"
import { link, mkdir, mkdtemp, open, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { existsSync } from "node:fs"
import { parseArgs } from "node:util"
import { makeTorrent, pieceBytesFor, type Torrent } from "#core/torrent.ts"
import { LayerStore } from "#store/layer-store.ts"

const { values: options } = parseArgs({
  options: { size: { type: "string", default: "1024" }, rounds: { type: "string", default: "3" }, only: { type: "string" } },
})
const contentBytes = Number(options.size) * 1024 * 1024
const rounds = Number(options.rounds)
const here = import.meta.dirname

type Figures = { readonly tookMs: number; readonly cpuSeconds: number; readonly residentBytes: number }
type Engine = { readonly name: string; readonly command: readonly string[] }

const ours: Engine = { name: "imagegrid, mutual TLS", command: [process.execPath, join(here, "pair-peer.ts")] }
const libtorrent: Engine = { name: "libtorrent, plain", command: ["/usr/bin/python3", join(here, "pair_libtorrent.py")] }

/** Random bytes in a file, and their torrent. */
async function makeContent(path: string): Promise<Torrent> {
  const pieceBytes = pieceBytesFor(contentBytes)
  const piece = Buffer.allocUnsafe(pieceBytes)
  const digests: Buffer[] = []
  await using file = await open(path, "w")
  for (let at = 0; at < contentBytes; at += pieceBytes) {
    const part = randomFillSync(piece).subarray(0, Math.min(pieceBytes, contentBytes - at))
    digests.push(createHash("sha1").update(part).digest())
    await file.write(part)
  }
  return makeTorrent({ name: "content", contentBytes, pieceBytes, pieceDigests: Buffer.concat(digests) })
}

async function nextLine(child: ChildProcess, lines: AsyncIterator<string>): Promise<Figures & { readonly port: number }> {
  const line = await lines.next()
  if (line.done === true) throw new Error(`${child.spawnargs.join(" ")} ended without an answer`)
  return JSON.parse(line.value)
}

async function run(engine: Engine, seedDirectory: string, leechDirectory: string, infoPath: string) {
  const start = (...args: string[]) => {
    const [program = "", ...first] = engine.command
    const child = spawn(program, [...first, ...args], { stdio: ["pipe", "pipe", "inherit"] })
    return { child, exit: once(child, "exit"), lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() }
  }
  const seeder = start("seed", seedDirectory, infoPath)
  try {
    const { port } = await nextLine(seeder.child, seeder.lines)
    const leecher = start("leech", leechDirectory, infoPath, String(port))
    const leech = await nextLine(leecher.child, leecher.lines)
    await leecher.exit
    seeder.child.stdin.end()
    const seed = await nextLine(seeder.child, seeder.lines)
    await seeder.exit
    return { leech, seed }
  } finally {
    seeder.child.stdin.end()
  }
}

function median(figures: readonly number[]): number {
  const sorted = [...figures].sort((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? Number.NaN
}

const directory = await mkdtemp(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "imagegrid-pair-"))
try {
  const contentPath = join(directory, "sealed")
  const infoPath = join(directory, "info")
  const torrent = await makeContent(contentPath)
  await writeFile(infoPath, torrent.infoBytes)
  const plainSeed = join(directory, "plain-seed")
  await mkdir(plainSeed)
  await link(contentPath, join(plainSeed, "content"))
  const ourSeed = join(directory, "our-seed")
  const store = await LayerStore.open(ourSeed)
  await store.adopt(torrent, contentPath)
  await store.close()

  const engines = [ours, libtorrent].filter((engine) => {
    if (options.only !== undefined && !engine.name.startsWith(options.only === "ours" ? "imagegrid" : options.only)) return false
    const missing = engine === libtorrent && spawnSync("/usr/bin/python3", ["-c", "import libtorrent"]).status !== 0
    if (missing) console.log("skipped: libtorrent (python3-libtorrent is not installed)")
    return !missing
  })
  const results = new Map<Engine, { megabytesPerSecond: number[]; seed: number[]; leech: number[]; residentMiB: number[] }>()
  for (let round = 0; round < rounds; round += 1)
    for (const engine of engines) {
      const target = join(directory, "leech")
      await mkdir(target)
      const { leech, seed } = await run(engine, engine === ours ? ourSeed : plainSeed, target, infoPath)
      await rm(target, { recursive: true })
      const figures = results.get(engine) ?? { megabytesPerSecond: [], seed: [], leech: [], residentMiB: [] }
      results.set(engine, figures)
      const gigabytes = contentBytes / 1e9
      figures.megabytesPerSecond.push(contentBytes / 1e3 / leech.tookMs)
      figures.seed.push(seed.cpuSeconds / gigabytes)
      figures.leech.push(leech.cpuSeconds / gigabytes)
      figures.residentMiB.push(leech.residentBytes / 1024 / 1024)
    }
  console.log(`${options.size} MiB, ${torrent.pieceBytes / 1024} KiB pieces, median of ${rounds}`)
  console.log("                          MB/s   CPU-s/GB seed   CPU-s/GB leech   leecher RSS MiB")
  for (const [engine, figures] of results)
    console.log(
      `${engine.name.padEnd(24)} ${median(figures.megabytesPerSecond).toFixed(0).padStart(5)}   ${median(figures.seed).toFixed(2).padStart(13)}   ` +
        `${median(figures.leech).toFixed(2).padStart(14)}   ${median(figures.residentMiB).toFixed(0).padStart(15)}`,
    )
  console.log(`${"goals for ours".padEnd(24)}    --   ${"<= 1.50".padStart(13)}   ${"<= 2.50".padStart(14)}`)
  const [own, other] = [results.get(ours), results.get(libtorrent)]
  if (own !== undefined && other !== undefined)
    console.log(`ours / libtorrent: ${(median(own.megabytesPerSecond) / median(other.megabytesPerSecond)).toFixed(2)} (goal: >= 1.50)`)
} finally {
  await rm(directory, { recursive: true, force: true })
}
