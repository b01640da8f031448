/**
 * Kills programs of a grid with SIGKILL in the middle of a deploy, again and again, and looks at what they had made durable: all that a
 * `held` record names must be there at the next start, and must not be fetched again.
 */
import assert from "node:assert/strict"
import { existsSync, readdirSync } from "node:fs"
import { createServer, type AddressInfo } from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import type { ChildEvent, ChildProgram } from "../../cli/child-program.ts"
import { pieceBytesAt, parseTorrent, type Torrent } from "#core/torrent.ts"
import { readBounded } from "#store/atomic-file.ts"
import { durablePieces, INFO_FILE } from "#store/file-piece-store.ts"
import { heldBytes, type PieceSet } from "#store/piece-set.ts"
import { seededRandom, type Random } from "#swarm/core/random.ts"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

export type KillingOptions = {
  readonly kills: number
  readonly seed: number
  /** Incompressible content of the image. */
  readonly contentBytes: number
  /** What the servers may send: it makes the download last long enough to be killed in. */
  readonly uploadBytesPerSecond: number
  /** A kill in a download comes no sooner than this after its begin: with more than a flush's time, something is durable. */
  readonly leastMs?: number
  readonly onKill?: (kill: Kill) => void
}

/** One SIGKILL and what stood on the disk after it. */
export type Kill = {
  readonly number: number
  /** What the program was doing. */
  readonly during: string
  readonly afterStartMs: number
  /** Named by the `held` record. */
  readonly durableBytes: number
  /** Of them, what the next run did not have at its start, or fetched again. Anything but 0 is a defect. */
  readonly lostBytes: number
}

export type KillingResult = {
  readonly kills: readonly Kill[]
  readonly sealedBytes: number
  /** Fetched by the run that came to the end, without what came twice. */
  readonly lastFetchedBytes: number
  readonly lastHeldBytes: number
  readonly duplicateBytes: number
  readonly entries: number
}

type Durable = { readonly torrent: Torrent | null; readonly pieces: PieceSet | null; readonly bytes: number }

const nothing: Durable = { torrent: null, pieces: null, bytes: 0 }
const IMAGE = "os/killed:1"
/** Of the kills of a client, how many in a hundred come when everything is downloaded: while it unpacks and verifies. */
const LATE_KILLS_PERCENT = 30

/** Kills the client at random moments from its start to the end of its verification, then lets it finish. */
export async function killClient(options: KillingOptions): Promise<KillingResult> {
  await using scene = await Scene.open(options)
  const { grid, random } = scene
  await scene.publish()
  await grid.joinClient("client")
  const stage = grid.home("stage")
  const late = Math.ceil((options.kills * LATE_KILLS_PERCENT) / 100)
  const early = options.kills - late
  const downloadMs = (options.contentBytes / options.uploadBytesPerSecond) * 1000
  let lateMs = 1_500
  let targets = 0
  const start = () => {
    const target = grid.home(`root-${targets}`)
    const words = ["deploy", IMAGE, "--home", grid.home("client"), "--target", target, "--stage", stage, "--seed-until", "done"]
    return new Run(grid.start(words))
  }
  const ledger = new Ledger(options)
  for (let number = 0; number < options.kills;) {
    const run = start()
    if (number < early && !ledger.whole) {
      // One in eight before the first byte of the layer, the others through the download.
      if (random.below(8) === 0) await sleep(random.below(900))
      else {
        await run.reaches("download-started")
        await sleep((options.leastMs ?? 0) + random.below(Math.ceil((1.4 * downloadMs) / early)))
      }
    } else {
      await run.reaches("downloaded")
      await sleep(random.below(Math.ceil(lateMs)))
    }
    const phase = run.phase
    await run.kill()
    if (run.events.some(({ event }) => event === "good")) {
      // It was faster than the kill: from now on a kill comes sooner, and the next deploy goes to another target.
      lateMs = Math.max(50, run.msBetween("downloaded", "good"))
      targets++
      ledger.started(run.heldBytes, run.refetchedBytes)
      ledger.keep(await durableIn(stage))
      continue
    }
    ledger.started(run.heldBytes, run.refetchedBytes)
    ledger.killed({ number: ++number, during: phase, afterStartMs: run.ageMs }, await durableIn(stage))
  }
  const last = start()
  await last.program.finished()
  ledger.started(last.heldBytes, last.refetchedBytes)
  const { entries } = await scene.verify("client", `root-${targets}`)
  return { ...ledger.result(), ...last.fetched(), entries }
}

/** Kills the only server at random moments while a client downloads from it; the client runs through. */
export async function killOnlyServer(options: KillingOptions): Promise<KillingResult> {
  await using scene = await Scene.open(options)
  const { grid, random } = scene
  await scene.publish()
  await grid.joinClient("client")
  const layers = grid.home("server-1/layers")
  const target = grid.home("root")
  const words = ["deploy", IMAGE, "--home", grid.home("client"), "--target", target, "--stage", grid.home("stage"), "--seed-until", "done"]
  const client = new Run(grid.start(words))
  const ledger = new Ledger(options)
  ledger.keep(await durableIn(layers))
  const shareMs = ((options.contentBytes / options.uploadBytesPerSecond) * 1000) / options.kills
  for (let number = 1; number <= options.kills; number++) {
    // Waits for the client to get on, so that a kill comes in the middle of a transfer and not before it.
    const grows = client.grows()
    await Promise.race([grows, client.program.finished()])
    await sleep(random.below(Math.ceil(shareMs)))
    const during = client.phase
    const afterStartMs = await scene.killServer()
    ledger.killed({ number, during: `client: ${during}`, afterStartMs }, await durableIn(layers))
    const log = await scene.startServer()
    const damaged = log.some((line) => line.includes("damaged or gone"))
    ledger.started(damaged ? 0 : (await durableIn(layers)).bytes)
  }
  await client.program.finished()
  const { entries } = await scene.verify("client", "root")
  return { ...ledger.result(), ...client.fetched(), entries }
}

/** Kills a second server at random moments while it copies the image from the first, then lets it finish, alone. */
export async function killSecondServer(options: KillingOptions): Promise<KillingResult> {
  await using scene = await Scene.open(options)
  const { grid, random } = scene
  let second = await grid.joinServer("server-2")
  await scene.publish()
  const layers = grid.home("server-2/layers")
  const ledger = new Ledger(options)
  const shareMs = ((1.4 * options.contentBytes) / options.uploadBytesPerSecond / options.kills) * 1000
  for (let number = 1; number <= options.kills; number++) {
    const log = new FetchLog(second, options.contentBytes)
    const startedMs = Date.now()
    if (number > 1 && random.below(8) === 0) await sleep(random.below(900))
    else {
      if (number > 1) await log.fetching
      await sleep((options.leastMs ?? 0) + random.below(Math.ceil(shareMs)))
    }
    second.kill("SIGKILL")
    await second.ended()
    ledger.started(number === 1 ? null : log.heldBytes)
    const during = log.held !== null ? "whole" : number > 1 && log.heldBytes === null ? "starting" : "copying"
    ledger.killed({ number, during, afterStartMs: Date.now() - startedMs }, await durableIn(layers))
    second = grid.start(["server", "run", "--home", grid.home("server-2")])
  }
  const last = new FetchLog(second, options.contentBytes)
  const whole = await Promise.race([last.whole, wholeWithoutFetching(second, layers)])
  ledger.started(whole === null ? (await durableIn(layers)).bytes : whole.heldBytes)
  await scene.killServer()
  await grid.run([
    "join",
    await grid.invite([], "server-2"),
    "--home",
    grid.home("client"),
    "--swarm",
    "127.0.0.1:0",
    "--dht",
    "127.0.0.1:0",
  ])
  const stage = ["--stage", grid.home("stage")]
  const words = ["deploy", IMAGE, "--home", grid.home("client"), "--target", grid.home("root"), ...stage, "--seed-until", "done"]
  await grid.run(words)
  const { entries } = await scene.verify("client", "root")
  const result = ledger.result()
  return {
    ...result,
    lastHeldBytes: whole?.heldBytes ?? result.sealedBytes,
    lastFetchedBytes: whole === null ? 0 : whole.downloadedBytes - whole.duplicateBytes,
    duplicateBytes: whole?.duplicateBytes ?? 0,
    entries,
  }
}

/** A site with one server on ports that stay, a tree to publish, and a source of randomness. */
class Scene implements AsyncDisposable {
  readonly grid: TestGrid
  readonly random: Random
  readonly #options: KillingOptions
  #server: ChildProgram
  #serverStartedMs = Date.now()

  private constructor(grid: TestGrid, options: KillingOptions, server: ChildProgram) {
    this.grid = grid
    this.#options = options
    this.#server = server
    this.random = seededRandom(options.seed)
  }

  static async open(options: KillingOptions): Promise<Scene> {
    await using opening = new AsyncDisposableStack()
    const grid = opening.use(new TestGrid())
    const [api, swarm, dht] = await Promise.all([freePort(), freePort(), freePort()])
    const listen = ["--api", `127.0.0.1:${api}`, "--swarm", `127.0.0.1:${swarm}`, "--dht", `127.0.0.1:${dht}`]
    await grid.run(["site", "create", "demo", "--home", grid.home("server-1"), ...listen])
    const scene = new Scene(grid, options, await grid.server("server-1", limitOf(options)))
    opening.move()
    return scene
  }

  async publish(): Promise<void> {
    makeTree(this.grid.home("tree"), this.#options.contentBytes)
    await this.grid.run(["publish", this.grid.home("tree"), IMAGE, "--home", this.grid.home("server-1"), "--wait-copies", "1"])
  }

  /** Gives how long it had run, in ms. */
  async killServer(): Promise<number> {
    const ageMs = Date.now() - this.#serverStartedMs
    this.#server.kill("SIGKILL")
    await this.#server.ended()
    return ageMs
  }

  /** On the same ports as before; gives what it logged until it ran. */
  async startServer(): Promise<readonly string[]> {
    const lines: string[] = []
    this.#serverStartedMs = Date.now()
    this.#server = this.grid.start(["server", "run", "--home", this.grid.home("server-1"), ...limitOf(this.#options)])
    this.#server.onLog((line) => lines.push(line))
    await this.#server.event("server-running")
    return lines
  }

  async verify(home: string, target: string): Promise<{ readonly entries: number }> {
    const verify = await this.grid.run(["verify", "--home", this.grid.home(home), "--target", this.grid.home(target)])
    const verified = await verify.event("verified")
    assert.equal(verified["differences"], 0)
    return { entries: Number(verified["entries"]) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.grid[Symbol.asyncDispose]()
  }
}

function limitOf({ uploadBytesPerSecond }: KillingOptions): readonly string[] {
  return ["--upload-limit", String(uploadBytesPerSecond)]
}

/** A deploy that runs, and how far it came. */
class Run {
  readonly program: ChildProgram
  readonly events: ChildEvent[] = []
  readonly #startedMs = Date.now()
  #ageMs: number | null = null
  #phase = "starting"

  constructor(program: ChildProgram) {
    this.program = program
    program.onEvent((event) => {
      if (event["event"] === "progress") {
        if (this.#phase !== "download" || event["phase"] !== "unpack") this.#phase = String(event["phase"])
        return
      }
      this.events.push(event)
      if (event["event"] === "download-started") this.#phase = "download"
      if (event["event"] === "downloaded") this.#phase = "unpack"
    })
  }

  get phase(): string {
    return this.#phase
  }

  get ageMs(): number {
    return this.#ageMs ?? Date.now() - this.#startedMs
  }

  /** What it had at its start; null when it did not come so far. */
  get heldBytes(): number | null {
    const started = this.events.find(({ event }) => event === "download-started")
    return started === undefined ? null : Number(started["heldBytes"])
  }

  /** What a run that downloaded the layer to its end fetched beyond what it lacked at its start. */
  get refetchedBytes(): number {
    const downloaded = this.events.find(({ event }) => event === "downloaded")
    if (downloaded === undefined) return 0
    const { lastFetchedBytes, lastHeldBytes } = this.fetched()
    return lastFetchedBytes + lastHeldBytes - Number(downloaded["bytes"])
  }

  /** Resolves when the event was seen. @throws when the program fails before */
  async reaches(name: string): Promise<void> {
    await this.program.event(name)
  }

  /** Resolves when bytes of the layer have come since this was called. */
  async grows(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<null>()
    let before: number | null = null
    this.program.onEvent((event) => {
      if (event["event"] !== "progress") return
      const bytes = Number(event["bytes"])
      if (event["phase"] !== "download" || (before !== null && bytes > before)) resolve(null)
      before ??= bytes
    })
    await promise
  }

  async kill(): Promise<void> {
    this.#ageMs = this.ageMs
    this.program.kill("SIGKILL")
    await this.program.ended()
  }

  msBetween(first: string, second: string): number {
    const at = (name: string) => Number(this.events.find(({ event }) => event === name)?.["atMs"])
    return at(second) - at(first)
  }

  fetched(): Pick<KillingResult, "lastFetchedBytes" | "lastHeldBytes" | "duplicateBytes"> {
    const downloaded = this.events.find(({ event }) => event === "downloaded") ?? {}
    const duplicateBytes = Number(downloaded["duplicateBytes"])
    const came = Number(downloaded["fromOrigins"]) + Number(downloaded["fromClients"])
    return { lastFetchedBytes: came - duplicateBytes, lastHeldBytes: Number(downloaded["heldBytes"]), duplicateBytes }
  }
}

type Fetched = { readonly heldBytes: number; readonly downloadedBytes: number; readonly duplicateBytes: number }

/** What a server's log says of its copying of the large layer. */
class FetchLog {
  readonly #fetching = Promise.withResolvers<null>()
  readonly #whole = Promise.withResolvers<Fetched>()
  heldBytes: number | null = null
  held: Fetched | null = null

  constructor(server: ChildProgram, leastBytes: number) {
    server.onLog((line) => {
      const entry = line.startsWith("{") ? (JSON.parse(line) as ChildEvent) : {}
      if (Number(entry["sealedBytes"] ?? 0) < leastBytes) return
      if (entry["msg"] === "layer is fetched") {
        this.heldBytes = Number(entry["heldBytes"])
        this.#fetching.resolve(null)
      } else if (entry["msg"] === "layer held") {
        const [held, downloaded, duplicate] = ["heldBytes", "downloadedBytes", "duplicateBytes"].map((name) => Number(entry[name]))
        this.held = { heldBytes: held ?? NaN, downloadedBytes: downloaded ?? NaN, duplicateBytes: duplicate ?? NaN }
        this.#whole.resolve(this.held)
      }
    })
    void server.ended().then(() => this.#fetching.resolve(null))
  }

  /** Resolves when it begins to fetch, or ends. */
  get fetching(): Promise<null> {
    return this.#fetching.promise
  }

  get whole(): Promise<Fetched> {
    return this.#whole.promise
  }
}

/** Null once a server runs that had recorded its copy as whole before it was killed: it has nothing to fetch, and says nothing of it. */
async function wholeWithoutFetching(server: ChildProgram, layers: string): Promise<null> {
  await server.event("server-running")
  const { torrent, bytes } = await durableIn(layers)
  const fetches = bytes !== torrent?.contentBytes
  return fetches ? new Promise<never>(() => {}) : null
}

/** Compares what was durable at each kill with what the next run began with. */
class Ledger {
  readonly #options: KillingOptions
  readonly #kills: Kill[] = []
  #durable = nothing
  /** Kills that no later run has answered for: it may have been killed before it looked at what it had. */
  #open: Omit<Kill, "lostBytes">[] = []

  constructor(options: KillingOptions) {
    this.#options = options
  }

  /** All of the layer was durable at the last look. */
  get whole(): boolean {
    return this.#durable.torrent !== null && this.#durable.bytes === this.#durable.torrent.contentBytes
  }

  /** A run began with so many bytes and fetched some of them again; null: it did not come so far. */
  started(heldAtStart: number | null, refetchedBytes = 0): void {
    if (heldAtStart === null) return
    this.#settle(Math.max(0, this.#durable.bytes - heldAtStart, refetchedBytes))
  }

  killed(kill: Pick<Kill, "number" | "during" | "afterStartMs">, durable: Durable): void {
    const forgottenBytes = this.keep(durable)
    if (forgottenBytes > 0) this.#settle(forgottenBytes)
    this.#open.push({ ...kill, durableBytes: durable.bytes })
  }

  /** Takes what is durable now; gives the bytes of pieces that were durable before and are not named any more. */
  keep(durable: Durable): number {
    const { torrent, pieces } = this.#durable
    let forgottenBytes = 0
    if (torrent !== null && pieces !== null)
      for (let piece = 0; piece < torrent.pieceCount; piece++)
        if (pieces.has(piece) && durable.pieces?.has(piece) !== true) forgottenBytes += pieceBytesAt(torrent, piece)
    this.#durable = durable
    return forgottenBytes
  }

  result(): Pick<KillingResult, "kills" | "sealedBytes"> {
    assert.equal(this.#open.length, 0, "every kill must be answered for by a later run")
    return { kills: this.#kills, sealedBytes: this.#durable.torrent?.contentBytes ?? 0 }
  }

  #settle(lostBytes: number): void {
    for (const open of this.#open) {
      const kill = { ...open, lostBytes }
      this.#kills.push(kill)
      this.#options.onKill?.(kill)
    }
    this.#open = []
  }
}

/** What the largest layer under `parent` has durable, read by the store's own reader without touching it. */
async function durableIn(parent: string): Promise<Durable> {
  let largest = nothing
  const directories = existsSync(parent) ? readdirSync(parent, { recursive: true, withFileTypes: true }) : []
  for (const entry of directories) {
    if (!entry.isFile() || entry.name !== INFO_FILE) continue
    const torrent = parseTorrent(await readBounded(join(entry.parentPath, INFO_FILE), 8 * 1024 * 1024))
    if (largest.torrent !== null && torrent.contentBytes <= largest.torrent.contentBytes) continue
    const pieces = await durablePieces(entry.parentPath, torrent)
    largest = { torrent, pieces, bytes: heldBytes(torrent, pieces) }
  }
  return largest
}

async function freePort(): Promise<number> {
  const server = createServer()
  const { promise, resolve } = Promise.withResolvers<null>()
  server.listen(0, "127.0.0.1", () => resolve(null))
  await promise
  const { port } = server.address() as AddressInfo
  const closed = Promise.withResolvers<null>()
  server.close(() => closed.resolve(null))
  await closed.promise
  return port
}

/** True when every kill was survived without loss and the last run fetched just what was missing. */
export function survived({ kills, sealedBytes, lastFetchedBytes, lastHeldBytes }: KillingResult): boolean {
  return kills.every((kill) => kill.lostBytes === 0) && lastFetchedBytes + lastHeldBytes === sealedBytes
}
