import assert from "node:assert/strict"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { test } from "node:test"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

test("a client deploys what a server published, and verify finds it as signed until a file changes", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 3_000_000)
  await grid.site()
  await grid.run(["publish", grid.home("tree"), "os/small:1", "--home", grid.home("server-1"), "--wait-copies", "1"])
  await grid.joinClient("client")
  const target = grid.home("root")
  const deploy = await grid.run(["deploy", "os/small", "--home", grid.home("client"), "--target", target, "--seed-until", "done"])
  const downloaded = await deploy.event("downloaded")
  assert.equal(Number(downloaded["fromOrigins"]) >= 3_000_000, true)
  assert.equal(downloaded["fromClients"], 0)
  assert.equal((await deploy.event("left"))["why"], "done: the image is good")
  assert.equal(readFileSync(`${target}/etc/deep/ümlaut and space`, "utf8"), "odd name\n")

  const good = await grid.run(["verify", "--home", grid.home("client"), "--target", target])
  assert.equal((await good.event("verified"))["differences"], 0)
  writeFileSync(`${target}/etc/hostname`, "evil\n")
  const bad = grid.outcome(["verify", "--home", grid.home("client"), "--target", target])
  assert.equal(bad.code, 65)
  assert.equal(bad.events.at(-1)?.["code"], "TREE_DIFFERS")
  assert.ok(bad.events.some((event) => event["event"] === "difference" && String(event["path"]).includes("etc/hostname")))
})

test("a second server copies every image, and deploys go on when the publishing server is gone", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 2_000_000)
  const first = await grid.site()
  await grid.joinServer("server-2")
  await grid.run(["publish", grid.home("tree"), "os/small:1", "--home", grid.home("server-1"), "--wait-copies", "2"])
  await grid.joinClient("client")
  first.kill("SIGKILL")
  const deploy = await grid.run([
    "deploy",
    "os/small:1",
    "--home",
    grid.home("client"),
    "--target",
    grid.home("root"),
    "--seed-until",
    "done",
  ])
  assert.equal((await deploy.event("good"))["entries"], 10)
  // A machine that never saw the second server's address joins through it, and an invite made by the first is honoured there.
  const invite = await grid.invite([], "server-2")
  await grid.run(["join", invite, "--home", grid.home("late"), "--swarm", "127.0.0.1:0", "--dht", "127.0.0.1:0"])
  assert.ok(existsSync(grid.home("late/member.json")))
})

test("with every server gone, a client that was here before deploys from another client that the DHT names", async () => {
  await using grid = new TestGrid()
  makeTree(grid.home("tree"), 1_000_000)
  const server = await grid.site()
  for (const version of ["1", "2"])
    await grid.run(["publish", grid.home("tree"), `os/small:${version}`, "--home", grid.home("server-1"), "--wait-copies", "1"])
  await grid.joinClient("early")
  await grid.joinClient("late")
  const deploy = (home: string, version: string, until: string) =>
    grid.start([
      "deploy",
      `os/small:${version}`,
      "--home",
      grid.home(home),
      "--target",
      grid.home(`${home}-${version}`),
      "--seed-until",
      until,
    ])
  const early = deploy("early", "2", "forever")
  await early.event("good")
  await deploy("late", "1", "done").finished()
  server.kill("SIGKILL")
  const late = deploy("late", "2", "done")
  await late.finished()
  const downloaded = await late.event("downloaded")
  assert.equal(downloaded["fromOrigins"], 0)
  assert.equal(Number(downloaded["fromClients"]) >= 1_000_000, true)
})
