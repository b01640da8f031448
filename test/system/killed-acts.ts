/**
 * Kills servers and commands with SIGKILL while they publish, copy, retire, import and let machines in, again and again. What was acknowledged
 * before a kill must be there after it; what was not may have come about or not, but whole; and nothing that is listed may be half there.
 */
import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { createReadStream, existsSync, rmSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import type { ChildProgram } from "../../cli/child-program.ts"
import type { Layer } from "../../core/documents.ts"
import { ServerState } from "../../nodes/state.ts"
import { LAYER_FILE } from "#store/file-piece-store.ts"
import { seededRandom, type Random } from "#swarm/core/random.ts"
import { loopback, TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

export const acts = ["publish", "replicate", "retire", "import", "join"] as const
export type Act = (typeof acts)[number]

export type KilledActsOptions = {
  readonly kills: number
  readonly seed: number
  /** Incompressible content of each image. */
  readonly contentBytes: number
  readonly onKill?: (kill: ActKill) => void
}
export type ActKill = {
  readonly number: number
  readonly act: Act
  /** Which program was killed, and how long after the act began. */
  readonly killed: "server" | "command" | "both"
  readonly afterMs: number
  /** Whether it had been acknowledged by then. */
  readonly acknowledged: boolean
}
export type KilledActsResult = {
  readonly kills: readonly ActKill[]
  /** Images that were acknowledged and deployed at the end, byte for byte as they were signed. */
  readonly deployed: number
  readonly members: number
}

type Listed = { readonly retired: boolean; readonly layers: readonly Layer[] }

/** @throws {AssertionError} when something that was acknowledged is lost, or something listed is not whole */
export async function killActs(options: KilledActsOptions): Promise<KilledActsResult> {
  await using scene = await KilledActs.open(options)
  const kills: ActKill[] = []
  for (let number = 1; number <= options.kills; number++) {
    const act = acts[(number - 1) % acts.length] ?? "publish"
    const kill = await scene.killDuring(act, number)
    kills.push(kill)
    options.onKill?.(kill)
    await scene.check()
  }
  return { kills, ...(await scene.finish()) }
}

class KilledActs implements AsyncDisposable {
  readonly #grid: TestGrid
  readonly #random: Random
  readonly #servers = new Map<string, ChildProgram>()
  /** Images whose publication, retirement or import was acknowledged, by what they must be since then. */
  readonly #acknowledged = new Map<string, { retired: boolean }>()
  /** Images whose state a command was about to change when it was killed: either is right. */
  readonly #undecided = new Set<string>()
  readonly #members: string[] = []
  readonly #usuallyMs: Record<Act, number> = { publish: 800, replicate: 500, retire: 400, import: 400, join: 350 }
  #images = 0

  private constructor(grid: TestGrid, seed: number) {
    this.#grid = grid
    this.#random = seededRandom(seed)
  }

  static async open(options: KilledActsOptions): Promise<KilledActs> {
    await using opening = new AsyncDisposableStack()
    const grid = opening.use(new TestGrid())
    const scene = new KilledActs(grid, options.seed)
    makeTree(grid.home("tree"), options.contentBytes, String(options.seed))
    scene.#servers.set("server-1", await grid.site())
    scene.#servers.set("server-2", await grid.joinServer("server-2"))
    // A server that never runs: it gets its images from files alone.
    const invite = await grid.invite(["--role", "server"])
    await grid.run(["join", invite, "--home", grid.home("island"), "--api", "127.0.0.1:0", ...loopback])
    await scene.#publish("server-1")
    opening.move()
    return scene
  }

  killDuring(act: Act, number: number): Promise<ActKill> {
    if (act === "publish") return this.#killCommand(act, number, this.#publishWords("server-1"), (image) => this.#acknowledge(image, false))
    if (act === "retire") return this.#killCommand(act, number, this.#retireWords(), (image) => this.#acknowledge(image, true))
    if (act === "replicate") return this.#killCopying(number)
    return act === "import" ? this.#killImport(number) : this.#killJoin(number)
  }

  /** All that was acknowledged is there, and all that is listed is whole. */
  async check(): Promise<void> {
    const listed = await this.#listedSoon("server-1")
    for (const [image, { retired }] of this.#acknowledged) {
      const found = listed.get(image)
      assert.ok(found !== undefined, `${image} was acknowledged, and is gone`)
      if (!this.#undecided.has(image)) assert.equal(found.retired, retired, `${image} is ${found.retired ? "" : "not "}retired`)
    }
    for (const image of this.#undecided) {
      const found = listed.get(image)
      if (found === undefined) this.#acknowledged.delete(image)
      else this.#acknowledged.set(image, { retired: found.retired })
    }
    this.#undecided.clear()
    for (const home of ["server-1", "server-2"]) await this.#requireWhole(home)
  }

  /** Every server alone gives every image in use to a newcomer, and the audit log holds. */
  async finish(): Promise<{ readonly deployed: number; readonly members: number }> {
    const grid = this.#grid
    for (const home of ["server-1", "server-2"]) {
      const verify = grid.outcome(["audit", "--verify", "--home", grid.home(home)])
      assert.equal(verify.code, 0, verify.stderr)
    }
    for (const home of this.#members) {
      const images = grid.outcome(["images", "--home", grid.home(home)])
      assert.equal(images.code, 0, images.stderr)
    }
    const inUse = [...this.#acknowledged].filter(([, { retired }]) => !retired).map(([image]) => image)
    await grid.joinClient("client")
    for (const [at, image] of inUse.entries()) {
      const target = grid.home(`target-${at}`)
      const deploy = grid.outcome(["deploy", image, "--home", grid.home("client"), "--target", target, "--seed-until", "done"])
      assert.equal(deploy.code, 0, deploy.stderr)
      assert.equal(grid.outcome(["verify", "--home", grid.home("client"), "--target", target]).code, 0)
      rmSync(target, { recursive: true })
    }
    return { deployed: inUse.length, members: this.#members.length }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#grid[Symbol.asyncDispose]()
  }

  // The acts.

  async #killCommand(
    act: Act,
    number: number,
    { words, image }: { readonly words: readonly string[]; readonly image: string },
    acknowledge: (image: string) => void,
  ): Promise<ActKill> {
    const killed = (["server", "command", "both"] as const)[this.#random.below(3)] ?? "both"
    const command = this.#grid.start(words)
    let acknowledged = false
    const done = command.finished().then(
      () => (acknowledged = true),
      () => false,
    )
    const startedMs = Date.now()
    await Promise.race([done, sleep(this.#someTimeIn(act))])
    const afterMs = Date.now() - startedMs
    const before = acknowledged
    if (killed !== "server") command.kill("SIGKILL")
    if (killed !== "command") await this.#killServer("server-1")
    await command.ended()
    await done
    this.#took(act, before, afterMs)
    if (acknowledged) acknowledge(image)
    else this.#undecided.add(image)
    if (killed !== "command") await this.#startServer("server-1")
    return { number, act, killed, afterMs, acknowledged: before }
  }

  /** The second server publishes; the first is killed while it copies. */
  async #killCopying(number: number): Promise<ActKill> {
    // Of two publications at once only one could stay, and people would be told to repeat the other (docs/operating.md, "displaced").
    for (const deadlineMs = Date.now() + 60_000; ; await sleep(200)) {
      const there = this.#listed("server-2")
      const states = [...this.#listed("server-1")].map(([image, { retired }]) => there.get(image)?.retired === retired)
      if (states.every(Boolean)) break
      assert.ok(Date.now() < deadlineMs, "server-2 does not hear of what server-1 has")
    }
    await this.#publish("server-2")
    const afterMs = this.#someTimeIn("replicate")
    await sleep(afterMs)
    await this.#killServer("server-1")
    await this.#startServer("server-1")
    return { number, act: "replicate", killed: "server", afterMs, acknowledged: true }
  }

  async #killImport(number: number): Promise<ActKill> {
    const grid = this.#grid
    const image = [...this.#acknowledged].findLast(([, { retired }]) => !retired)?.[0] ?? assert.fail("no image is in use")
    const file = grid.home(`bundle-${number}.tar`)
    await this.#untilHeld("server-1", image)
    await grid.run(["export", image, file, "--home", grid.home("server-1")])
    const words = ["import", file, "--home", grid.home("island")]
    const command = grid.start(words)
    const startedMs = Date.now()
    await Promise.race([command.ended(), sleep(this.#someTimeIn("import"))])
    const afterMs = Date.now() - startedMs
    command.kill("SIGKILL")
    const acknowledged = await command.finished().then(
      () => true,
      () => false,
    )
    this.#took("import", acknowledged, afterMs)
    if (!acknowledged) {
      await this.#requireWhole("island")
      await grid.run(words)
    }
    const layers = this.#listed("island").get(image)?.layers ?? assert.fail(`${image} was imported, and is not listed`)
    for (const layer of layers) await requireDigest(grid.home("island"), layer)
    rmSync(file)
    return { number, act: "import", killed: "command", afterMs, acknowledged }
  }

  async #killJoin(number: number): Promise<ActKill> {
    const grid = this.#grid
    const invite = await grid.invite()
    const home = `member-${number}`
    const words = ["join", invite, "--home", grid.home(home), ...loopback]
    const command = grid.start(words)
    const startedMs = Date.now()
    await Promise.race([command.ended(), sleep(this.#someTimeIn("join"))])
    const afterMs = Date.now() - startedMs
    await this.#killServer("server-1")
    command.kill("SIGKILL")
    const acknowledged = await command.finished().then(
      () => true,
      () => false,
    )
    this.#took("join", acknowledged, afterMs)
    await this.#startServer("server-1")
    // The same machine goes on with the same use of the invite; another machine finds it used.
    if (!acknowledged) await grid.run(words)
    const another = grid.outcome(["join", invite, "--home", grid.home(`${home}-other`), ...loopback])
    assert.equal(another.events.at(-1)?.["code"], "INVITE_USED", "an invite for one let two in")
    this.#members.push(home)
    return { number, act: "join", killed: "both", afterMs, acknowledged }
  }

  /** From its begin to somewhat after the moment at which it most often ends: most kills come in the middle. */
  #someTimeIn(act: Act): number {
    return this.#random.below(Math.ceil(1.15 * this.#usuallyMs[act]))
  }

  #took(act: Act, toItsEnd: boolean, ms: number): void {
    if (toItsEnd) this.#usuallyMs[act] = (this.#usuallyMs[act] + ms) / 2
    else if (ms > this.#usuallyMs[act]) this.#usuallyMs[act] = ms
  }

  async #publish(home: string): Promise<void> {
    const { words, image } = this.#publishWords(home)
    await this.#grid.run(words)
    this.#acknowledge(image, false)
  }

  #publishWords(home: string): { readonly words: readonly string[]; readonly image: string } {
    const image = `os:${++this.#images}`
    const key = this.#grid.home("server-1/keys/publisher.key")
    return { words: ["publish", this.#grid.home("tree"), image, "--home", this.#grid.home(home), "--key", key], image }
  }

  #retireWords(): { readonly words: readonly string[]; readonly image: string } {
    const image = [...this.#acknowledged].find(([, { retired }]) => !retired)?.[0] ?? assert.fail("no image is in use")
    return { words: ["retire", image, "--home", this.#grid.home("server-1")], image }
  }

  #acknowledge(image: string, retired: boolean): void {
    this.#acknowledged.set(image, { retired })
  }

  async #killServer(home: string): Promise<void> {
    const server = this.#servers.get(home)
    server?.kill("SIGKILL")
    await server?.ended()
  }

  async #startServer(home: string): Promise<void> {
    this.#servers.set(home, await this.#grid.server(home))
  }

  // What there is.

  /** What was acknowledged by another server takes a moment to come here. */
  async #listedSoon(home: string): Promise<Map<string, Listed>> {
    for (const deadlineMs = Date.now() + 60_000; ; await sleep(200)) {
      const listed = this.#listed(home)
      if ([...this.#acknowledged.keys()].every((image) => listed.has(image)) || Date.now() > deadlineMs) return listed
    }
  }

  #listed(home: string): Map<string, Listed> {
    const grid = this.#grid
    const images = grid.outcome(["images", "--all", "--home", grid.home(home)])
    assert.equal(images.code, 0, images.stderr)
    return new Map(
      images.events
        .filter(({ event }) => event === "image")
        .map(({ image, retiredAtMs }) => {
          const shown = grid.outcome(["show", String(image), "--home", grid.home(home)]).events.find(({ event }) => event === "image")
          return [String(image), { retired: retiredAtMs !== null, layers: shown?.["layers"] as readonly Layer[] }]
        }),
    )
  }

  /** What a server's database says is whole has the digest that was signed. */
  async #requireWhole(home: string): Promise<void> {
    const directory = this.#grid.home(home)
    if (!existsSync(join(directory, "state.sqlite"))) return
    const state = new ServerState(join(directory, "state.sqlite"))
    const whole = state.wholeLayers()
    state.close()
    for (const layer of whole) await requireDigest(directory, layer)
  }

  async #untilHeld(home: string, image: string): Promise<void> {
    const layers = this.#listed(home).get(image)?.layers ?? assert.fail(image)
    for (const deadlineMs = Date.now() + 60_000; ; await sleep(100)) {
      const state = new ServerState(join(this.#grid.home(home), "state.sqlite"))
      const whole = new Set(state.wholeLayers().map(({ infohash }) => infohash))
      state.close()
      if (layers.every(({ infohash }) => whole.has(infohash))) return
      assert.ok(Date.now() < deadlineMs, `${home} does not come to hold ${image}`)
    }
  }
}

async function requireDigest(home: string, layer: { readonly infohash: string; readonly sealedSha256: string }): Promise<void> {
  const hash = createHash("sha256")
  for await (const chunk of createReadStream(join(home, "layers", layer.infohash, LAYER_FILE))) hash.update(chunk as Buffer)
  assert.equal(hash.digest("hex"), layer.sealedSha256, `layer ${layer.infohash} of ${home} is said to be whole, and is not`)
}
