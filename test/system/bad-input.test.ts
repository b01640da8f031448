import assert from "node:assert/strict"
import { createServer } from "node:net"
import { once } from "node:events"
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { after, before, test, type TestContext } from "node:test"
import { loopback, TestGrid, type Outcome } from "./grid.ts"
import { makeTree } from "./trees.ts"

let grid: TestGrid
const root = process.getuid?.() === 0

before(async () => {
  grid = new TestGrid()
  makeTree(grid.home("tree"), 4_000_000)
  await grid.site()
  await grid.run(["publish", grid.home("tree"), "os:1", "--home", grid.home("server-1"), "--wait-copies", "1"])
  await grid.joinClient("client")
})
after(() => grid[Symbol.asyncDispose]())

/** One refusal: its code, its documented exit code, and words that a person can act on. */
function refused(outcome: Outcome, code: string, exitCode: number, words: RegExp): void {
  assert.equal(outcome.events.at(-1)?.["code"], code, outcome.stderr)
  assert.equal(outcome.code, exitCode)
  assert.match(outcome.stderr, words)
}

function publish(directory: string, image: string): Outcome {
  return grid.outcome(["publish", directory, image, "--home", grid.home("server-1")])
}

function deploy(target: string, more: readonly string[] = []): Outcome {
  return grid.outcome(["deploy", "os:1", "--home", grid.home("client"), "--target", target, "--seed-until", "done", ...more])
}

/** A file system of its own of this size; unmounted after the test. Needs root. */
function smallFileSystem(context: TestContext, name: string, bytes: number): string {
  const at = grid.home(name)
  mkdirSync(at)
  assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", `size=${bytes},mode=0700`, "tmpfs", at]).status, 0)
  context.after(() => spawnSync("umount", ["-l", at]))
  return at
}

test("publish refuses a directory that is missing, or is a file", () => {
  refused(publish(grid.home("nowhere"), "os:2"), "SOURCE_MISSING", 66, /nowhere/)
  writeFileSync(grid.home("file"), "x")
  refused(publish(grid.home("file"), "os:2"), "SOURCE_MISSING", 66, /file/)
})

test("publish refuses a directory that can't be read", { skip: root && "root reads everything" }, () => {
  mkdirSync(grid.home("closed"))
  chmodSync(grid.home("closed"), 0)
  refused(publish(grid.home("closed"), "os:2"), "SOURCE_MISSING", 66, /closed/)
})

test("publish refuses names and versions out of form, and a version that exists, before it seals anything", () => {
  for (const image of ["Os:2", "os:", "os", "../os:2", "a/b/c/d/e:1", "os:2{}", "os:1:2", ":1"])
    refused(publish(grid.home("tree"), image), "NAME_INVALID", 64, /is not/)
  refused(publish(grid.home("tree"), "os:1"), "IMAGE_EXISTS", 73, /os:1/)
  assert.deepEqual(
    readdirSync(grid.home("server-1/publishing")).filter((name) => name.startsWith("work-")),
    [],
  )
})

test("publish refuses a group that the site does not have", () => {
  const outcome = grid.outcome(["publish", grid.home("tree"), "os:2", "--group", "nobody", "--home", grid.home("server-1")])
  refused(outcome, "GROUP_UNKNOWN", 64, /default/)
})

test("a client's home can't publish, and a server's can't deploy", () => {
  refused(grid.outcome(["publish", grid.home("tree"), "os:2", "--home", grid.home("client")]), "KEY_MISSING", 77, /publisher/)
  refused(grid.outcome(["deploy", "os:1", "--home", grid.home("server-1"), "--target", grid.home("x")]), "ROLE_WRONG", 64, /server/)
})

test("a damaged invite, and text that is none, are told apart from other troubles and change nothing", async () => {
  const invite = await grid.invite()
  const middle = invite.length >> 1
  const damaged = invite.slice(0, middle) + (invite[middle] === "A" ? "B" : "A") + invite.slice(middle + 1)
  for (const text of [damaged, invite.slice(0, -5), "imagegrid1:", "hello"])
    refused(grid.outcome(["join", text, "--home", grid.home("joiner"), ...loopback]), "INVITE_INVALID", 65, /invite/)
  assert.equal(existsSync(grid.home("joiner")), false)
})

test("an expired invite is refused with both times", async () => {
  const invite = await grid.invite(["--expires", "1s"])
  await new Promise((wake) => setTimeout(wake, 1_100))
  const outcome = grid.outcome(["join", invite, "--home", grid.home("joiner"), ...loopback])
  refused(outcome, "INVITE_EXPIRED", 77, /ended at .*clock here says/)
  assert.equal(existsSync(grid.home("joiner")), false)
})

test("an invite for one machine joins one machine", async () => {
  const invite = await grid.invite()
  await grid.run(["join", invite, "--home", grid.home("first"), ...loopback])
  refused(grid.outcome(["join", invite, "--home", grid.home("second"), ...loopback]), "INVITE_USED", 77, /ask for another/)
  assert.equal(existsSync(grid.home("second/member.json")), false)
})

test("joining into a home that exists is refused", async () => {
  refused(grid.outcome(["join", await grid.invite(), "--home", grid.home("client"), ...loopback]), "HOME_EXISTS", 73, /another/)
})

test("a home that holds nothing, and none at all, are refused with what to do", () => {
  refused(grid.outcome(["images", "--home", grid.home("nothing")]), "HOME_INVALID", 78, /join/)
  const { IMAGEGRID_HOME: _, ...env } = process.env
  refused(grid.outcome(["images"], { env }), "USAGE", 64, /--home|IMAGEGRID_HOME/)
})

test("a second server in the same home is refused while the first runs", () => {
  refused(grid.outcome(["server", "run", "--home", grid.home("server-1")]), "HOME_IN_USE", 75, /server-1/)
})

test("a port in use is named", async () => {
  const taken = createServer().listen(0, "127.0.0.1")
  await once(taken, "listening")
  const bound = taken.address()
  assert.ok(bound !== null && typeof bound === "object")
  const busy = `127.0.0.1:${bound.port}`
  for (const [index, flags] of [
    ["--api", busy, "--swarm", "127.0.0.1:0"],
    ["--api", "127.0.0.1:0", "--swarm", busy],
  ].entries()) {
    const home = grid.home(`busy-${index}`)
    await grid.run(["site", "create", "busy", "--home", home, ...flags, "--dht", "127.0.0.1:0"])
    refused(grid.outcome(["server", "run", "--home", home]), "ADDRESS_IN_USE", 78, new RegExp(busy))
  }
  taken.close()
})

test("a target that is not empty is refused and left as it was", () => {
  const target = grid.home("occupied")
  mkdirSync(target)
  writeFileSync(join(target, "mine"), "keep")
  refused(deploy(target), "TARGET_NOT_EMPTY", 73, /occupied/)
  assert.deepEqual(readdirSync(target), ["mine"])
})

test("an image that does not exist is refused with those that do", () => {
  refused(grid.outcome(["deploy", "oss:1", "--home", grid.home("client"), "--target", grid.home("x")]), "IMAGE_UNKNOWN", 66, /os/)
})

test(
  "a disk that is full at publish leaves no version and no file",
  { skip: !root && "needs root for a small file system" },
  async (context) => {
    const small = smallFileSystem(context, "small-home", 3_000_000)
    const home = join(small, "home")
    await grid.run(["site", "create", "small", "--home", home, "--api", "127.0.0.1:0", ...loopback])
    refused(grid.outcome(["publish", grid.home("tree"), "os:1", "--home", home]), "DISK_FULL", 74, /free|room/)
    assert.deepEqual(
      readdirSync(join(home, "publishing")).filter((name) => name.startsWith("work-")),
      [],
    )
    assert.deepEqual(grid.outcome(["images", "--home", home]).events, [])
  },
)

test(
  "a stage without room is refused before anything is downloaded",
  { skip: !root && "needs root for a small file system" },
  (context) => {
    const small = smallFileSystem(context, "small-stage", 3_000_000)
    refused(deploy(grid.home("staged"), ["--stage", small]), "DISK_FULL", 74, /small-stage/)
  },
)

test(
  "a target that fills up is not marked good, and the same command finishes when there is room",
  { skip: !root && "needs root for a small file system" },
  (context) => {
    const small = smallFileSystem(context, "small-target", 2_000_000)
    const target = join(small, "root")
    refused(deploy(target, ["--stage", grid.home("roomy-stage")]), "DISK_FULL", 74, /small-target/)
    assert.equal(spawnSync("mount", ["-o", "remount,size=20000000", small]).status, 0)
    const again = deploy(target, ["--stage", grid.home("roomy-stage")])
    assert.equal(again.code, 0, again.stderr)
    assert.ok(again.events.some((event) => event["event"] === "good"))
  },
)

test("usage errors exit with 64", () => {
  for (const words of [
    ["deploy"],
    ["frobnicate"],
    ["invite", "--uses", "0", "--home", grid.home("server-1")],
    ["invite", "--expires", "soon", "--home", grid.home("server-1")],
  ])
    assert.equal(grid.outcome(words).code, 64, words.join(" "))
})
