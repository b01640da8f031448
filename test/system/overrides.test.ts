import assert from "node:assert/strict"
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { test } from "node:test"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

function writeScript(path: string, text: string): void {
  writeFileSync(path, `#!/bin/sh\n${text}\n`)
  chmodSync(path, 0o755)
}

/** A server with os:1, which has overrides for a group, for some hosts and for one, a boot payload and scripts; and a client of groups default and web. */
async function published(grid: TestGrid): Promise<void> {
  const [tree, server] = [grid.home("tree"), grid.home("server-1")]
  makeTree(tree, 300_000)
  mkdirSync(`${tree}/etc`, { recursive: true })
  writeFileSync(`${tree}/etc/role`, "none\n")
  writeFileSync(`${tree}/etc/name`, "unnamed\n")
  writeFileSync(`${tree}/etc/machine-id`, "")
  for (const [name, role] of [
    ["web", "web"],
    ["nodes", "node"],
    ["node07", "seven"],
  ] as const) {
    mkdirSync(grid.home(`${name}/etc/new`), { recursive: true, mode: 0o700 })
    writeFileSync(grid.home(`${name}/etc/role`), `${role}\n`)
    writeFileSync(grid.home(`${name}/etc/new/${name}`), `for ${name}\n`)
  }
  writeFileSync(grid.home("node07/etc/name"), "node07\n")
  mkdirSync(grid.home("boot"))
  writeFileSync(grid.home("boot/vmlinuz"), "kernel\n")
  writeScript(
    grid.home("before"),
    `echo "before $IMAGEGRID_ACTION $IMAGEGRID_VERSION"; test -e "$IMAGEGRID_TARGET/etc/role" || echo "nothing there"`,
  )
  writeScript(grid.home("after"), `echo "role $(cat "$IMAGEGRID_TARGET/etc/role")" >&2`)
  await grid.site(["--groups", "web,db"])
  const overrides = [`host:node07=${grid.home("node07")}`, `group:web=${grid.home("web")}`, `host:node*=${grid.home("nodes")}`]
  const beside = ["--boot", grid.home("boot"), "--before", grid.home("before"), "--after", grid.home("after")]
  const publish = ["publish", tree, "os:1", "--home", server, "--group", "default,web", "--exclude", "/etc/machine-id"]
  await grid.run([...publish, "--override", ...overrides, ...beside])
  await grid.joinClient("client", ["--group", "web"])
}

const done = ["--seed-until", "done"]

test("overrides are laid over an image in their order, for a group, for hosts by pattern and for one host", async () => {
  await using grid = new TestGrid()
  await published(grid)
  const home = grid.home("client")
  const deploy = (host: string) =>
    grid
      .run(["deploy", "os:1", "--home", home, "--target", grid.home(`on-${host}`), "--host", host, ...done])
      .then(() => grid.home(`on-${host}`))
  const role = (root: string) => readFileSync(`${root}/etc/role`, "utf8")

  const other = await deploy("db1.example")
  assert.equal(role(other), "web\n")
  assert.ok(!existsSync(`${other}/etc/new/nodes`))
  const node = await deploy("NODE08.example")
  assert.deepEqual([role(node), readFileSync(`${node}/etc/name`, "utf8")], ["node\n", "unnamed\n"])
  const seven = await deploy("node07")
  assert.deepEqual([role(seven), readFileSync(`${seven}/etc/name`, "utf8")], ["seven\n", "node07\n"])
  for (const name of ["web", "nodes", "node07"]) assert.equal(readFileSync(`${seven}/etc/new/${name}`, "utf8"), `for ${name}\n`)
  // A directory that the image has stays as the image has it; a new one is as the override has it.
  assert.equal(statSync(`${seven}/etc`).mode & 0o777, statSync(grid.home("tree/etc")).mode & 0o777)
  assert.equal(statSync(`${seven}/etc/new`).mode & 0o777, 0o700)
  assert.equal(grid.outcome(["verify", "--home", home, "--target", seven]).code, 0)
  assert.ok(!existsSync(`${seven}/.imagegrid`))

  const shown = grid.outcome(["show", "os:1", "--home", home]).events.find(({ event }) => event === "image")
  const layers = shown?.["layers"] as { readonly kind: string; readonly appliesTo?: object }[]
  assert.deepEqual(
    layers.filter(({ kind }) => kind === "override").map(({ appliesTo }) => appliesTo),
    [{ group: "web" }, { hosts: "node*" }, { hosts: "node07" }],
  )
})

test("an update takes over overrides, replaces and withdraws them, and what they hid comes back; a rollback too", async () => {
  await using grid = new TestGrid()
  await published(grid)
  const [home, root, tree, server] = [grid.home("client"), grid.home("root"), grid.home("tree"), grid.home("server-1")]
  const client = (...words: string[]) => [...words, "--home", home, "--target", root]
  const publish = (version: string, from: string, ...options: string[]) =>
    grid.run([
      "publish",
      tree,
      `os:${version}`,
      "--home",
      server,
      "--group",
      "default,web",
      "--from",
      `os:${from}`,
      "--full",
      "never",
      ...options,
    ])
  const role = () => readFileSync(`${root}/etc/role`, "utf8")
  await grid.run([...client("deploy", "os:1"), "--host", "node07", ...done])
  // What belongs to the machine: the image says so.
  writeFileSync(`${root}/etc/machine-id`, "4711\n")

  writeFileSync(`${tree}/etc/other`, "two\n")
  writeFileSync(grid.home("node07/etc/role"), "seven of two\n")
  await publish("2", "1", "--override", `host:node07=${grid.home("node07")}`)
  const second = await grid.run([...client("update", "os:2"), ...done])
  assert.equal((await second.event("update-planned"))["by"], "deltas")
  assert.equal((await second.event("changes"))["localChanges"], 0)
  assert.deepEqual([role(), readFileSync(`${root}/etc/name`, "utf8")], ["seven of two\n", "node07\n"])
  assert.ok(existsSync(`${root}/etc/new/nodes`))

  // The image's own files, which no delta brings.
  await publish("3", "2", "--no-inherit", "--exclude", "/etc/machine-id")
  await grid.run([...client("update"), ...done])
  assert.deepEqual([role(), readFileSync(`${root}/etc/name`, "utf8")], ["none\n", "unnamed\n"])
  assert.ok(!existsSync(`${root}/etc/new`))
  assert.equal(readFileSync(`${root}/etc/machine-id`, "utf8"), "4711\n")
  assert.equal(grid.outcome(client("verify")).code, 0)

  await grid.run(client("rollback"))
  assert.equal(role(), "seven of two\n")
  assert.equal(grid.outcome(client("verify")).code, 0)
  // Of the same version: the host is another now.
  const again = await grid.run([...client("update", "os:2"), "--host", "node08", ...done])
  assert.equal(Number((await again.event("update-planned"))["sealedBytes"]), 0)
  assert.deepEqual([role(), readFileSync(`${root}/etc/name`, "utf8")], ["node\n", "unnamed\n"])
  assert.equal(grid.outcome(client("verify")).code, 0)
})

test("scripts run only where the client allows them, and a boot payload is fetched by itself", async () => {
  await using grid = new TestGrid()
  await published(grid)
  const home = grid.home("client")
  const deploy = (name: string, ...options: string[]) =>
    grid.outcome(["deploy", "os:1", "--home", home, "--target", grid.home(name), "--host", "db1", ...done, ...options])
  const lines = ({ events }: ReturnType<typeof deploy>) =>
    events.flatMap(({ event, script, line }) => (event === "script-output" ? [`${String(script)}: ${String(line)}`] : []))

  const silent = deploy("silent")
  assert.deepEqual([silent.code, lines(silent)], [0, []])
  assert.ok(silent.events.some(({ event }) => event === "scripts-left-out"))
  const loud = deploy("loud", "--allow-scripts")
  assert.deepEqual([loud.code, lines(loud)], [0, ["before: before deploy 1", "before: nothing there", "after: role web"]])

  await grid.run(["boot", "os:1", "--home", home, "--to", grid.home("tftp")])
  assert.equal(readFileSync(grid.home("tftp/vmlinuz"), "utf8"), "kernel\n")
  const again = grid.outcome(["boot", "os:1", "--home", home, "--to", grid.home("tftp")])
  assert.equal(again.events.at(-1)?.["code"], "TARGET_NOT_EMPTY")
})

test("a script that fails, hangs or can't be started stops a deploy with its cause, before the target is touched", async () => {
  await using grid = new TestGrid()
  await published(grid)
  const home = grid.home("client")
  const failing = async (version: string, text: string, ...options: string[]) => {
    writeScript(grid.home("before"), text)
    await grid.run([
      "publish",
      grid.home("tree"),
      `os:${version}`,
      "--home",
      grid.home("server-1"),
      "--group",
      "default,web",
      "--before",
      grid.home("before"),
    ])
    const target = grid.home(`of-${version}`)
    const { code, events } = grid.outcome([
      "deploy",
      `os:${version}`,
      "--home",
      home,
      "--target",
      target,
      "--allow-scripts",
      ...done,
      ...options,
    ])
    assert.ok(!existsSync(`${target}/etc`))
    assert.deepEqual([code, events.at(-1)?.["code"]], [74, "SCRIPT_FAILED"])
    return String(events.at(-1)?.["message"])
  }
  assert.match(await failing("bad", "exit 3"), /exit code 3/)
  const pidFile = grid.home("pid")
  assert.match(await failing("slow", `sleep 600 & echo $! > ${pidFile}; wait`, "--script-timeout", "1s"), /ended after 1 s/)
  // With all that it started.
  const sleeper = `/proc/${readFileSync(pidFile, "utf8").trim()}/stat`
  assert.ok(!existsSync(sleeper) || readFileSync(sleeper, "utf8").includes(") Z "))
})

test("an override that does not fit its image, or is for nobody, is refused before anything is published", async () => {
  await using grid = new TestGrid()
  const [tree, server] = [grid.home("tree"), grid.home("server-1")]
  makeTree(tree, 100_000)
  mkdirSync(`${tree}/etc`, { recursive: true })
  const small = grid.home("small")
  mkdirSync(small)
  writeFileSync(`${small}/etc`, "a file\n")
  await grid.site()
  const refusal = (...options: string[]) => {
    const { code, events } = grid.outcome(["publish", tree, "os:1", "--home", server, ...options])
    return [code, events.at(-1)?.["code"], String(events.at(-1)?.["message"])] as const
  }
  const conflict = refusal("--override", `host:a=${small}`)
  assert.deepEqual(conflict.slice(0, 2), [65, "OVERRIDE_CONFLICT"])
  assert.match(conflict[2], /host:a: etc is a directory in the image and a file in the override/)
  rmSync(`${small}/etc`)
  assert.deepEqual(refusal("--override", `group:nobody=${small}`).slice(0, 2), [64, "GROUP_UNKNOWN"])
  assert.deepEqual(refusal("--override", `host:a/b=${small}`).slice(0, 2), [64, "NAME_INVALID"])
  assert.deepEqual(refusal("--override", `hosts=${small}`).slice(0, 2), [64, "USAGE"])
  assert.deepEqual(refusal("--override", `host:a=${small}`, `host:a=${small}`).slice(0, 2), [64, "USAGE"])
  assert.deepEqual(refusal("--override", `host:a=${small}/absent`).slice(0, 2), [66, "SOURCE_MISSING"])
  assert.deepEqual(refusal("--before", `${small}/absent`).slice(0, 2), [66, "SOURCE_MISSING"])
  assert.deepEqual(refusal("--exclude", "**/".repeat(20)).slice(0, 2), [64, "NAME_INVALID"])
  assert.deepEqual(
    grid.outcome(["images", "--home", server]).events.filter(({ event }) => event === "image"),
    [],
  )
})
