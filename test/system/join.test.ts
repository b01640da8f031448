import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readFileSync } from "node:fs"
import { test } from "node:test"
import { loopback, TestGrid } from "./grid.ts"

const main = new URL("../../cli/main.ts", import.meta.url).pathname

test("an invite is taken from standard input, where no other user of the machine can see it", async () => {
  await using grid = new TestGrid()
  await grid.site()
  const invite = await grid.invite()
  const join = spawn(process.execPath, [main, "join", "-", "--home", grid.home("client"), ...loopback], {
    stdio: ["pipe", "ignore", "inherit"],
  })
  join.stdin.end(`${invite}\n`)
  const [code] = (await once(join, "close")) as [number | null]
  assert.equal(code, 0)
  assert.ok(existsSync(grid.home("client/member.json")))
})

test("an invite that was given on the command line does not stay in the list of processes", async () => {
  await using grid = new TestGrid()
  const server = await grid.site()
  const invite = await grid.invite()
  // Nobody answers any more, so that the join goes on long enough to be looked at.
  server.kill("SIGSTOP")
  const join = spawn(process.execPath, [main, "join", invite, "--home", grid.home("client"), ...loopback], { stdio: "ignore" })
  try {
    const commandLine = () => readFileSync(`/proc/${join.pid}/cmdline`, "utf8")
    const deadlineMs = Date.now() + 20_000
    while (!commandLine().startsWith("imagegrid join")) {
      assert.ok(Date.now() < deadlineMs, "the title was never set")
      await new Promise((wake) => setTimeout(wake, 20))
    }
    assert.ok(!commandLine().includes(invite.slice(20, 60)))
  } finally {
    join.kill("SIGKILL")
    await once(join, "close")
    server.kill("SIGCONT")
  }
})
