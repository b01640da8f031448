/** What the program asks a person: run at a real terminal, which util-linux' `script` makes. */
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { isLocked, unlockKey } from "../../crypto/key-file.ts"

const main = new URL("../../cli/main.ts", import.meta.url).pathname
const directory = mkdtempSync(join(tmpdir(), "imagegrid-questions-"))
after(() => rmSync(directory, { recursive: true }))
const { IMAGEGRID_HOME: _, ...env } = process.env
const PATIENCE_MS = 60_000

/** Sends SIGTERM to the program inside the terminal. */
function end(terminal: number | undefined): void {
  const [shell = ""] = readFileSync(`/proc/${terminal}/task/${terminal}/children`, "utf8").split(" ")
  const [inner = ""] = readFileSync(`/proc/${shell}/task/${shell}/children`, "utf8").split(" ")
  // A shell that has one command may become it.
  process.kill(Number(inner === "" ? shell : inner), "SIGTERM")
}

type Talk = { readonly code: number | null; readonly screen: string }

/** Runs the program at a terminal. Each answer is typed once its question stands on the screen. */
async function talk(words: readonly string[], answers: readonly (readonly [question: RegExp, typed: string])[]): Promise<Talk> {
  const command = [process.execPath, main, ...words].map((word) => `'${word}'`).join(" ")
  const child = spawn("script", ["-qefc", command, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"], env })
  const impatience = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS)
  const left = [...answers]
  let screen = ""
  let unanswered = ""
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    screen += text
    unanswered += text
    const [next] = left
    if (next === undefined || !next[0].test(unanswered)) return
    left.shift()
    unanswered = ""
    if (next[1] === "SIGTERM") end(child.pid)
    else child.stdin.write(next[1])
  })
  const code = await new Promise<number | null>((resolve, reject) => child.once("close", resolve).once("error", reject))
  clearTimeout(impatience)
  assert.deepEqual(left, [], `not asked; the screen says:\n${screen}`)
  return { code, screen }
}

const listen = ["--api", "127.0.0.1:0", "--swarm", "127.0.0.1:0", "--dht", "127.0.0.1:0"]
const secret = "nobody sees this"
const home = join(directory, "home")

test("site create asks how many root keys, how many sign and for a passphrase, and protects the keys with it", async () => {
  const { code, screen } = await talk(
    ["site", "create", "lab", "--home", home, ...listen, "--root-threshold", "2"],
    [
      [/How many root keys.*\[1\] /, "2\r"],
      [/Passphrase for the root/, `${secret}\r`],
      [/The same again/, `${secret}\r`],
    ],
  )
  assert.equal(code, 0, screen)
  assert.match(screen, /The root has 2 keys\. Whoever has 2 of them is the site; when one is lost/)
  assert.match(screen, /Move each to another machine/)
  assert.ok(!screen.includes(secret), "what is typed is not shown")
  const keys = join(home, "keys")
  for (const name of ["root-1.key", "root-2.key", "targets.key", "publisher.key"])
    assert.ok(isLocked(readFileSync(join(keys, name))), `${name} of ${readdirSync(keys).join(" ")}`)
  assert.equal((await unlockKey(readFileSync(join(keys, "root-2.key")), secret, "root-2.key")).length, 32)
})

const change = join(directory, "targets.change")

test("a command asks for the passphrase of the one key that it signs with", async () => {
  const { code, screen } = await talk(
    ["trust", "propose", change, "--role", "targets", "--renew", "--home", home],
    [[/Passphrase of .*targets\.key: /, `${secret}\r`]],
  )
  assert.equal(code, 0, screen)
  assert.match(screen, /has all its signatures/)
})

test("trust sign asks before it signs, and anything but yes leaves the file as it is", async () => {
  const before = readFileSync(change)
  const words = ["trust", "sign", change, "--key", join(home, "keys", "targets.key")]
  for (const typed of ["\r", "n\r", "yess\r"]) {
    const { code, screen } = await talk(words, [[/Sign this\? \[y\/N\] /, typed]])
    assert.equal(code, 77, screen)
    assert.match(screen, /DECLINED/)
    assert.match(screen, /nothing else is different/)
  }
  assert.deepEqual(readFileSync(change), before)
  const { code, screen } = await talk(words, [
    [/Sign this\? \[y\/N\] /, "y\r"],
    [/Passphrase of/, `${secret}\r`],
  ])
  assert.equal(code, 0, screen)
})

test("Ctrl-C, Ctrl-D and SIGTERM at a question end the command with 130, and nothing was made", async () => {
  const other = join(directory, "other")
  for (const key of ["\u0003", "\u0004"]) {
    const { code, screen } = await talk(["site", "create", "lab", "--home", other, ...listen], [[/How many root keys/, key]])
    assert.equal(code, 130, screen)
    assert.match(screen, /INTERRUPTED/)
  }
  const { code, screen } = await talk(["trust", "key", join(directory, "a.key")], [[/Passphrase for/, "\u0003"]])
  assert.equal(code, 130, screen)
  const signalled = await talk(["trust", "key", join(directory, "a.key")], [[/Passphrase for/, "SIGTERM"]])
  assert.equal(signalled.code, 130, signalled.screen)
  assert.ok(!readdirSync(directory).some((name) => ["other", "a.key", "a.pub"].includes(name)))
})

test("a new passphrase that is typed differently the second time, or is empty, makes no key", async () => {
  const file = join(directory, "b.key")
  const differing = await talk(
    ["trust", "key", file],
    [
      [/Passphrase for/, `${secret}\r`],
      [/The same again/, "something else\r"],
    ],
  )
  assert.match(differing.screen, /KEY_LOCKED.*the two passphrases differ/)
  const empty = await talk(["trust", "key", file], [[/Passphrase for/, "\r"]])
  assert.match(empty.screen, /KEY_LOCKED.*b\.key needs one/)
  assert.ok(!readdirSync(directory).some((name) => name.startsWith("b.")))
})
