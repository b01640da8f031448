/**
 * `npm run bench:memory`: resident memory of a real `imagegrid server run` on loopback with many layers: once it has settled, while it serves a few clients,
 * and while it serves many at once. Options: --layers N (200), of 2,000 pieces each; --leechers N (50); --size MiB (256), of the layer that
 * they all fetch. Linux alone.
 */
import { spawn, type ChildProcess } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as pause } from "node:timers/promises"
import { parseArgs } from "node:util"
import { address } from "#core/address.ts"
import type { Torrent } from "#core/torrent.ts"
import { ChildProgram } from "../cli/child-program.ts"
import { makeLayeredServer } from "./memory/site.ts"

const PIECES = 2_000
/** 2,000 pieces of 64 KiB. */
const LAYER_BYTES = PIECES * 64 * 1024
const LEECHERS_OF_ONE_PROCESS = 13
const FEW = 4
const SETTLE_MS = 5_000
const MEBI = 1024 * 1024

const { values } = parseArgs({
  options: {
    layers: { type: "string", default: "200" },
    leechers: { type: "string", default: "50" },
    size: { type: "string", default: "256" },
  },
})
const layerCount = Number(values.layers)
const leecherCount = Number(values.leechers)
const sizeBytes = Number(values.size) * MEBI
if (!(layerCount >= 1) || !(leecherCount >= 1) || !(sizeBytes >= 1)) {
  console.error("bench:memory takes --layers, --leechers and --size (MiB), each a number from 1")
  process.exit(64)
}

/** The memory of one process, as the kernel counts it. */
class Memory {
  readonly #directory: string

  constructor(pid: number) {
    this.#directory = `/proc/${pid}`
  }

  /** `anonymousBytes`: without the program's own file and other mapped ones. `peakBytes`: since `begin`. */
  async now(): Promise<{ readonly residentBytes: number; readonly anonymousBytes: number; readonly peakBytes: number }> {
    const status = await readFile(join(this.#directory, "status"), "utf8")
    const bytesOf = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]) * 1024
    return { residentBytes: bytesOf("VmRSS"), anonymousBytes: bytesOf("RssAnon"), peakBytes: bytesOf("VmHWM") }
  }

  /** Peaks count from here (proc_pid_clear_refs(5)). */
  async begin(): Promise<void> {
    await writeFile(join(this.#directory, "clear_refs"), "5")
  }
}

/** Clients in processes of their own, all of which begin at once. */
class Leechers implements AsyncDisposable {
  readonly #processes: { readonly child: ChildProcess; readonly exit: Promise<unknown>; readonly lines: AsyncIterator<string> }[] = []

  /** One client for each info dictionary. */
  constructor(home: string, port: number, infoPaths: readonly string[]) {
    const program = join(import.meta.dirname, "memory/leechers.ts")
    for (let at = 0; at < infoPaths.length; at += LEECHERS_OF_ONE_PROCESS) {
      const words = [program, home, String(port), ...infoPaths.slice(at, at + LEECHERS_OF_ONE_PROCESS)]
      const child = spawn(process.execPath, words, { stdio: ["pipe", "pipe", "inherit"] })
      this.#processes.push({ child, exit: once(child, "exit"), lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() })
    }
  }

  /** Resolves with the bytes that all have got. */
  async run(): Promise<number> {
    await this.#lines()
    for (const { child } of this.#processes) child.stdin?.write("go\n")
    const got = await this.#lines()
    return got.reduce((sum, line) => sum + Number(line), 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { child } of this.#processes) child.stdin?.end()
    await Promise.all(this.#processes.map(({ exit }) => exit))
  }

  #lines(): Promise<string[]> {
    return Promise.all(
      this.#processes.map(async ({ lines }) => {
        const line = await lines.next()
        if (line.done === true) throw new Error("a process of clients ended before its time")
        return line.value
      }),
    )
  }
}

const directory = await mkdtemp(join(tmpdir(), "imagegrid-memory-"))
try {
  const home = join(directory, "server")
  const sizes = [sizeBytes, ...Array.from({ length: layerCount - 1 }, () => LAYER_BYTES)]
  const torrents = await makeLayeredServer(home, sizes)
  const infoPathOf = (torrent: Torrent) => join(home, "layers", torrent.infohash, "info")
  await using server = new ChildProgram("server run", ["server", "run", "--home", home], new AbortController().signal)
  const running = await server.event("server-running")
  const { port } = address(String(running["swarm"]))
  const memory = new Memory(server.pid ?? 0)
  await pause(SETTLE_MS)

  console.log(
    `${torrents.length} layers; ${torrents[0]?.pieceCount} pieces of ${(torrents[0]?.pieceBytes ?? 0) / 1024} KiB in the one that all fetch, ${PIECES} in the others`,
  )
  console.log("MiB                                    resident   of it anonymous   peak   goal")
  const report = async (what: string, goalMebibytes: number) => {
    const { residentBytes, anonymousBytes, peakBytes } = await memory.now()
    const [resident, anonymous, peak] = [residentBytes, anonymousBytes, peakBytes].map((bytes) => (bytes / MEBI).toFixed(0))
    const met = peakBytes <= goalMebibytes * MEBI ? "" : "   missed"
    console.log(`${what.padEnd(38)} ${resident?.padStart(8)} ${anonymous?.padStart(17)} ${peak?.padStart(6)}   ${goalMebibytes}${met}`)
  }
  await report("settled", 200)
  const serve = async (infoPaths: readonly string[]) => {
    await memory.begin()
    await using leechers = new Leechers(home, port, infoPaths)
    const startedMs = performance.now()
    const bytes = await leechers.run()
    return `${(bytes / 1000 / (performance.now() - startedMs)).toFixed(0)} MB/s`
  }
  const few = torrents.slice(1, 1 + FEW)
  await report(`${few.length} clients, a layer each, ${await serve(few.map(infoPathOf))}`, 200)
  const crowd = Array.from({ length: leecherCount }, () => infoPathOf(torrents[0] as Torrent))
  await report(`${leecherCount} clients, one layer, ${await serve(crowd)}`, 250)
  await memory.begin()
  await pause(SETTLE_MS)
  await report("settled again", 200)
} finally {
  await rm(directory, { recursive: true, force: true })
}
