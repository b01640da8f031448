import assert from "node:assert/strict"
import { spawn, type ChildProcess } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { test, type TestContext } from "node:test"
import { lockHome } from "#store/home-lock.ts"
import { temporaryDirectory } from "./torrents.ts"

const program = new URL("./lock-holder.ts", import.meta.url).pathname

async function holder(context: TestContext, home: string): Promise<{ readonly child: ChildProcess; readonly said: string }> {
  const child = spawn(process.execPath, [program, home], { stdio: ["ignore", "pipe", "inherit"] })
  context.after(() => child.kill("SIGKILL"))
  const [said] = (await once(createInterface({ input: child.stdout }), "line")) as [string]
  return { child, said }
}

test("a home that another process holds is refused with that process's number", async (context) => {
  const home = temporaryDirectory(context)
  const { child, said } = await holder(context, home)
  assert.equal(said, "locked")
  assert.throws(() => lockHome(home), { code: "HOME_IN_USE", message: new RegExp(`held by process ${child.pid}; wait`) })
  assert.match((await holder(context, home)).said, new RegExp(`held by process ${child.pid}`))
})

test("a home is free at the moment that its holder is killed", async (context) => {
  const home = temporaryDirectory(context)
  const { child } = await holder(context, home)
  child.kill("SIGKILL")
  await once(child, "exit")
  using lock = lockHome(home)
  assert.throws(() => lockHome(home), { code: "HOME_IN_USE", message: new RegExp(`process ${process.pid}`) })
  lock.release()
})

test("a home is locked against its own process too, until the lock is released", async (context) => {
  const home = temporaryDirectory(context)
  {
    using _ = lockHome(home)
    assert.throws(() => lockHome(home), { code: "HOME_IN_USE" })
    // The refused attempt opened and closed the same file, which must not have freed it for others.
    assert.match((await holder(context, home)).said, new RegExp(`held by process ${process.pid}`))
  }
  const again = lockHome(home)
  again.release()
  again.release()
  assert.equal((await holder(context, home)).said, "locked")
})

test("releasing leaves a home as free as it was, with one empty file", (context) => {
  const home = temporaryDirectory(context)
  lockHome(home).release()
  assert.deepEqual(readdirSync(home), ["lock"])
})

test("a lock file that is none, or can't be one, is refused with what to do", (context) => {
  const home = temporaryDirectory(context)
  writeFileSync(join(home, "lock"), "this is not a database, and long enough to be told from one: ".repeat(100))
  assert.throws(() => lockHome(home), { code: "STATE_DAMAGED", message: /remove that file/ })
  rmSync(join(home, "lock"))
  mkdirSync(join(home, "lock"))
  assert.throws(() => lockHome(home), { code: "NOT_PERMITTED" })
  assert.throws(() => lockHome(join(home, "nowhere")), { code: "HOME_INVALID", message: /join/ })
})

test("the number of a holder that is gone is not passed on", async (context) => {
  const home = temporaryDirectory(context)
  const { child } = await holder(context, home)
  const dead = spawn("true")
  await once(dead, "exit")
  writeFileSync(join(home, "lock.pid"), `${dead.pid}\n`)
  assert.throws(() => lockHome(home), { code: "HOME_IN_USE", message: /held by another process/ })
  writeFileSync(join(home, "lock.pid"), "x".repeat(100_000))
  assert.throws(() => lockHome(home), { code: "HOME_IN_USE", message: /held by another process/ })
  child.kill("SIGKILL")
})
