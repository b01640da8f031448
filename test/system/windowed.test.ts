import assert from "node:assert/strict"
import { createCipheriv } from "node:crypto"
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import type { ChildProgram } from "../../cli/child-program.ts"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

const MEBI = 1024 * 1024
/** More than the window of a client without a stage, twice. */
const IMAGE_BYTES = 112 * MEBI
const MEMORY_BYTES_MAX = 200 * 1000 * 1000

/** Bytes that do not compress, in a moment. */
function addLargeFile(directory: string): void {
  const cipher = createCipheriv("aes-128-ctr", Buffer.alloc(16, 7), Buffer.alloc(16))
  writeFileSync(join(directory, "large"), cipher.update(Buffer.alloc(IMAGE_BYTES)))
}

function peakBytesOf({ pid }: ChildProgram): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8")
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024
}

function stagesOf(grid: TestGrid, home: string): string[] {
  const { memberId } = JSON.parse(readFileSync(join(grid.home(home), "member.json"), "utf8")) as { readonly memberId: string }
  return ["/dev/shm", "/tmp", grid.directory]
    .map((place) => join(place, `imagegrid-${memberId.slice(0, 12)}`))
    .filter((path) => existsSync(path))
}

test("clients without a stage deploy from a server and one another in 200 MB of memory, keep nothing, and say that they can't seed", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 100_000)
  addLargeFile(grid.home("tree"))
  // Slow enough that clients have something to give one another.
  await grid.run([
    "site",
    "create",
    "demo",
    "--home",
    grid.home("server-1"),
    "--api",
    "127.0.0.1:0",
    "--swarm",
    "127.0.0.1:0",
    "--dht",
    "127.0.0.1:0",
  ])
  await grid.server("server-1", ["--upload-limit", "20MB"])
  await grid.run(["publish", grid.home("tree"), "os/large:1", "--home", grid.home("server-1"), "--wait-copies", "1"])
  const names = ["one", "two"]
  for (const name of names) await grid.joinClient(name)
  const peaks = new Map<string, number>()
  const deploys = names.map((name) => {
    const words = ["deploy", "os/large", "--home", grid.home(name), "--target", grid.home(`root-${name}`), "--stage", "none"]
    const program = grid.start(words)
    program.onEvent((event) => {
      if (event["event"] === "progress") peaks.set(name, peakBytesOf(program))
    })
    return program
  })
  let fromClients = 0
  for (const deploy of deploys) {
    await deploy.finished()
    assert.equal((await deploy.event("resolved"))["stage"], null)
    const downloaded = await deploy.event("downloaded")
    assert.equal(downloaded["heldBytes"], 0)
    fromClients += Number(downloaded["fromClients"])
    assert.equal((await deploy.event("good"))["entries"], 11)
    assert.match(String((await deploy.event("left"))["why"]), /nothing to seed/)
  }
  assert.ok(fromClients > IMAGE_BYTES / 10, `${fromClients} bytes came from clients`)
  for (const name of names) {
    assert.deepEqual(stagesOf(grid, name), [])
    const peak = peaks.get(name) ?? Number.POSITIVE_INFINITY
    assert.ok(peak <= MEMORY_BYTES_MAX, `${name}: ${peak} bytes`)
    const verified = await grid.run(["verify", "--home", grid.home(name), "--target", grid.home(`root-${name}`)])
    assert.equal((await verified.event("verified"))["differences"], 0)
  }
  // What is left to give is what homes keep of every image: its index.
  const seed = grid.start(["seed", "--home", grid.home("one")])
  const held = await seed.event("seeding")
  assert.deepEqual([held["layers"], Number(held["sealedBytes"]) < 10_000], [1, true])
})

test("a deploy without a stage that was killed begins again in an emptied target, and takes up nothing that an earlier run staged", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 12 * MEBI)
  await grid.run([
    "site",
    "create",
    "demo",
    "--home",
    grid.home("server-1"),
    "--api",
    "127.0.0.1:0",
    "--swarm",
    "127.0.0.1:0",
    "--dht",
    "127.0.0.1:0",
  ])
  await grid.server("server-1", ["--upload-limit", "3MB"])
  await grid.run(["publish", grid.home("tree"), "os/small:1", "--home", grid.home("server-1"), "--wait-copies", "1"])
  await grid.joinClient("client")
  const stage = grid.home("stage")
  const deploy = (place: string) =>
    grid.start(["deploy", "os/small", "--home", grid.home("client"), "--target", grid.home("root"), "--stage", place])
  const someProgress = (program: ChildProgram) =>
    new Promise<void>((resolve) => program.onEvent((event) => event["event"] === "progress" && Number(event["bytes"]) > MEBI && resolve()))
  const heldIn = (directory: string) => readdirSync(directory, { recursive: true }).filter((name) => String(name).endsWith("layer.age"))
  for (const place of [stage, "none"]) {
    const program = deploy(place)
    await someProgress(program)
    if (place === stage) assert.equal(heldIn(stage).length, 1)
    program.kill("SIGKILL")
    await program.ended()
  }
  assert.deepEqual(heldIn(stage), [])
  const last = deploy("none")
  await last.finished()
  assert.equal((await last.event("download-started"))["heldBytes"], 0)
  assert.equal((await last.event("good"))["entries"], 10)
})

test("seeding for ever without a stage is refused before anything is done", async () => {
  await using grid = new TestGrid()
  const { code, events } = grid.outcome([
    "deploy",
    "os/small",
    "--home",
    grid.directory,
    "--target",
    grid.directory,
    "--stage",
    "none",
    "--seed-until",
    "forever",
  ])
  assert.deepEqual([code, events.at(-1)?.["code"]], [64, "USAGE"])
})
