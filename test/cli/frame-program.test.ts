/** The real program and its frame as child processes: what scripts and people meet. */
import assert from "node:assert/strict"
import { spawn, spawnSync, type ChildProcess } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { test, type TestContext } from "node:test"
import { commands } from "../../cli/commands.ts"

const main = new URL("../../cli/main.ts", import.meta.url).pathname
const fixture = new URL("./frame-fixture.ts", import.meta.url).pathname
const { IMAGEGRID_HOME: _, ...env } = process.env

function outcome(program: string, words: readonly string[], more: NodeJS.ProcessEnv = {}) {
  const run = spawnSync(process.execPath, [program, ...words], { encoding: "utf8", timeout: 60_000, env: { ...env, ...more } })
  return { code: run.status, stdout: run.stdout, stderr: run.stderr }
}

function events(stdout: string): Record<string, unknown>[] {
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

test("--help lists every command with its summary and one example, and is a success", () => {
  const { code, stdout, stderr } = outcome(main, ["--help"])
  assert.deepEqual([code, stderr], [0, ""])
  for (const spec of commands) {
    assert.match(stdout, new RegExp(`^  ${spec.name} +${spec.summary.slice(0, 20)}`, "m"))
    assert.ok(stdout.includes(`\n      ${spec.examples[0]}\n`), spec.name)
  }
})

test("each command's --help shows its arguments, options and examples", () => {
  for (const words of [
    ["help", "deploy"],
    ["deploy", "--help"],
  ]) {
    const { code, stdout } = outcome(main, words)
    assert.equal(code, 0)
    for (const expected of ["NAME[:VERSION]", "--target <DIR>", "--home <DIR>", "--json", "Examples:", "--seed-until forever"])
      assert.ok(stdout.includes(expected), expected)
  }
  assert.match(outcome(main, ["site", "create", "--help"]).stdout, /^Usage: imagegrid site create/)
  assert.doesNotMatch(outcome(main, ["demo", "--help"]).stdout, /--home/)
})

test("--version names the program and its version", () => {
  const { code, stdout } = outcome(main, ["--version"])
  assert.equal(code, 0)
  assert.match(stdout, /^imagegrid \d+\.\d+\.\d+\n$/)
})

test("a command line that is wrong ends with 64, says what is wrong, and changes nothing", () => {
  for (const [words, expected] of [
    [["frobnicate"], /unknown command 'frobnicate'/],
    [["deplo"], /Did you mean deploy/],
    [["images", "--frobnicate"], /unknown option '--frobnicate'/],
    [["images", "one", "two"], /too many arguments/],
    [["join"], /missing required argument 'INVITE'/],
    [["invite", "--uses"], /'--uses <N>' argument missing/],
    [["site"], /names no command/],
    [["images"], /--home DIR, or set IMAGEGRID_HOME/],
    [[], /names no command/],
  ] as const) {
    const { code, stdout, stderr } = outcome(main, words)
    assert.deepEqual([code, stdout], [64, ""], words.join(" "))
    assert.match(stderr, expected)
    assert.match(stderr, /imagegrid: USAGE: /)
  }
})

test("with --json a wrong command line is one object on stdout, and words on stderr", () => {
  for (const words of [
    ["frobnicate", "--json"],
    ["images", "--json", "one"],
    ["images", "--json"],
  ]) {
    const { code, stdout, stderr } = outcome(main, words)
    const [error, ...others] = events(stdout)
    assert.deepEqual([code, error?.["event"], error?.["code"], error?.["exitCode"], others.length], [64, "error", "USAGE", 64, 0])
    assert.ok(stderr.startsWith(`imagegrid: USAGE: ${String(error?.["message"])}`))
  }
})

/** What the command that echoes was given. */
function said(words: readonly string[], more: NodeJS.ProcessEnv): Record<string, unknown> | undefined {
  return events(outcome(fixture, ["echo", "--json", ...words], more).stdout)[0]
}

test("arguments, options and the home reach the command; --home goes before IMAGEGRID_HOME", () => {
  assert.deepEqual(said(["a", "--number", "7", "--home", "/h"], { IMAGEGRID_HOME: "/other" }), {
    event: "echo",
    args: ["a"],
    number: "7",
    home: "/h",
  })
  assert.deepEqual(said([], { IMAGEGRID_HOME: "/other" }), { event: "echo", args: [], number: null, home: "/other" })
  assert.deepEqual(said(["--home", "/h", "--", "--number"], {})?.["args"], ["--number"])
  assert.equal(outcome(fixture, ["echo", "--home", "/h", "--", "--json"]).stdout, "--json  /h\n")
})

test("a refusal ends with the exit code of its kind, and what it quotes can't forge the screen", () => {
  const { code, stdout, stderr } = outcome(fixture, ["refuse"])
  assert.deepEqual([code, stdout], [66, ""])
  assert.equal(stderr, "imagegrid: IMAGE_UNKNOWN: the site has no such image: \\x1b[2Jforged\n  imagegrid: OK\n")
  const [error] = events(outcome(fixture, ["refuse", "--json"]).stdout)
  assert.equal(error?.["message"], "the site has no such image: \u001b[2Jforged\nimagegrid: OK", "programs get the words themselves")
})

test("a defect ends with 70, its stack and a request to report it, wherever it was thrown", () => {
  for (const [name, words] of [
    ["break", /a defect/],
    ["break-later", /a defect behind/],
  ] as const) {
    const { code, stdout, stderr } = outcome(fixture, [name, "--json"])
    assert.equal(code, 70)
    assert.equal(events(stdout).at(-1)?.["code"], "INTERNAL")
    assert.match(stderr, words)
    assert.match(stderr, /frame-fixture\.ts:\d+/)
    assert.match(stderr, /please report/)
  }
})

test("what the operating system refuses has its code even where nobody foresaw it", () => {
  const { code, stderr } = outcome(fixture, ["no-room"])
  assert.equal(code, 74)
  assert.match(stderr, /^imagegrid: DISK_FULL: .*ENOSPC.*make room/)
})

/** A fixture command that has said "ready". */
async function ready(context: TestContext, name: string): Promise<{ readonly child: ChildProcess; readonly lines: string[] }> {
  const child = spawn(process.execPath, [fixture, name, "--json"], { stdio: ["ignore", "pipe", "pipe"], env })
  context.after(() => child.kill("SIGKILL"))
  const lines: string[] = []
  const reader = createInterface({ input: child.stdout })
  reader.on("line", (line) => lines.push(line))
  await once(reader, "line")
  return { child, lines }
}

for (const signal of ["SIGINT", "SIGTERM"] as const)
  test(`${signal} lets a command end in good order, with exit code 130`, async (context) => {
    const { child, lines } = await ready(context, "leave")
    child.kill(signal)
    assert.deepEqual(await once(child, "close"), [130, null])
    assert.equal(JSON.parse(lines[1] ?? "{}").event, "leaving")
    assert.equal(lines.length, 2)
  })

test("a command that gives up because of a signal says INTERRUPTED, however it puts it", async (context) => {
  for (const name of ["give-up", "give-up-otherwise"]) {
    const { child, lines } = await ready(context, name)
    child.kill("SIGTERM")
    assert.deepEqual(await once(child, "close"), [130, null], name)
    assert.equal(JSON.parse(lines[1] ?? "{}").code, "INTERRUPTED", name)
  }
})

test("a second signal ends a command at once that does not end by itself", async (context) => {
  const { child, lines } = await ready(context, "stay")
  child.kill("SIGINT")
  while (lines.length < 2) await once(child.stdout ?? child, "data")
  child.kill("SIGINT")
  assert.deepEqual(await once(child, "close"), [130, null])
})

test("a reader that leaves ends the command quietly", async (context) => {
  const child = spawn(process.execPath, [fixture, "talk"], { stdio: ["ignore", "pipe", "pipe"], env })
  context.after(() => child.kill("SIGKILL"))
  let stderr = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
  await once(child.stdout, "data")
  child.stdout.destroy()
  assert.deepEqual(await once(child, "close"), [0, null])
  assert.equal(stderr, "")
})
