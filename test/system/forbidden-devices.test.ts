import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { existsSync, lstatSync, readdirSync } from "node:fs"
import { test } from "node:test"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

test(
  "deploy --no-devices refuses an image with a device before its layer is downloaded, and takes the same image without the flag",
  { skip: process.getuid?.() !== 0 && "only root makes devices" },
  async () => {
    await using grid = new TestGrid()
    makeTree(grid.home("tree"), 200_000)
    await grid.site()
    await grid.run(["publish", grid.home("tree"), "os:1", "--home", grid.home("server-1"), "--wait-copies", "1"])
    execFileSync("mknod", [grid.home("tree/null"), "c", "1", "3"])
    await grid.run(["publish", grid.home("tree"), "os:2", "--home", grid.home("server-1"), "--wait-copies", "1"])
    await grid.joinClient("client")
    const deploy = (image: string, target: string, ...more: readonly string[]) =>
      grid.outcome(["deploy", image, "--home", grid.home("client"), "--target", grid.home(target), "--seed-until", "done", ...more])

    const refused = deploy("os:2", "refused", "--no-devices")
    assert.equal(refused.code, 77)
    assert.equal(refused.events.at(-1)?.["code"], "DEVICE_FORBIDDEN")
    assert.match(refused.stderr, /os:2 lists null/)
    assert.ok(!refused.events.some((event) => event["event"] === "download-started"))
    assert.deepEqual(existsSync(grid.home("refused")) ? readdirSync(grid.home("refused")) : [], [])

    assert.equal(deploy("os:1", "plain", "--no-devices").code, 0, "an image without devices is deployed all the same")
    assert.equal(deploy("os:2", "whole").code, 0)
    assert.ok(lstatSync(grid.home("whole/null")).isCharacterDevice())
  },
)
