/** The lab as it is used: real namespaces, links and peers. Needs root, ip, tc and nsenter. */
import assert from "node:assert/strict"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { existsSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { text } from "node:stream/consumers"
import { test, type TestContext } from "node:test"
import { fileURLToPath } from "node:url"
import { programPath } from "../../bench/lab/command.ts"
import { labName } from "../../bench/lab/leftovers.ts"
import type { LabResult } from "../../bench/lab/lab.ts"
import { eventually } from "../swarm/fixture.ts"

const lab = fileURLToPath(new URL("../../bench/swarm.ts", import.meta.url))
const missing =
  process.getuid?.() === 0
    ? (["ip", "tc", "nsenter"].find((tool) => programPath(tool) === null) ?? null)
    : "root, without whom there are no namespaces"
const needsLab = { skip: missing === null ? false : `needs ${missing}` }
const workRoot = existsSync("/dev/shm") ? "/dev/shm" : tmpdir()

/** Namespaces, files and processes that the lab of this process id has. */
function tracesOf(pid: number): string[] {
  const mark = labName(pid, "")
  const namespaces = spawnSync("ip", ["netns", "list"], { encoding: "utf8" }).stdout.split("\n")
  const commands = globSync("/proc/[0-9]*/cmdline").map((path) => {
    try {
      return readFileSync(path, "utf8").replaceAll("\0", " ")
    } catch {
      return ""
    }
  })
  return [...namespaces, ...readdirSync(workRoot), ...commands].filter((trace) => trace.includes(mark))
}

function startLab(t: TestContext, ...words: string[]) {
  const child = spawn(process.execPath, [lab, "--rest", "0", ...words], { stdio: ["ignore", "pipe", "pipe"] })
  t.after(() => child.kill("SIGKILL"))
  assert.ok(child.pid !== undefined)
  return Object.assign(child, { pid: child.pid })
}

/** Bytes that host 2, the first that is no origin, has on its file system. */
function receivedBlocks(pid: number): number {
  const files = globSync(join(workRoot, `${labName(pid, "")}*`, "imagegrid-*", "2", "*", "*"))
  return files.reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.blocks ?? 0), 0)
}

test("a file reaches two hosts, each byte the same, and nothing of the lab is left", needsLab, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "imagegrid-lab-test-"))
  t.after(() => rmSync(directory, { recursive: true }))
  const [json, figures] = [join(directory, "result.json"), join(directory, "figures")]
  const child = startLab(t, "--hosts", "2", "--size", "1MiB", "--rate", "100mbit", "--json", json, "--figures", figures)
  const [output, complaint] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")])
  assert.equal(child.exitCode, 0, complaint)
  assert.match(output, /^imagegrid +2\/2 /m)
  const { comparisons } = JSON.parse(readFileSync(json, "utf8")) as LabResult
  const [run] = comparisons[0]?.runs ?? []
  assert.equal(run?.outcome, "finished")
  const [origin, ...hosts] = run.hosts
  const contentBytes = 1024 * 1024
  assert.ok((origin?.report?.uploadedBytes ?? 0) >= contentBytes, "the origin sent it")
  assert.ok((origin?.wireSentBytes ?? 0) > contentBytes, "over its link")
  for (const host of hosts) {
    assert.ok((host.seconds ?? 0) > contentBytes / 12.5e6 / 2, `${host.seconds} s: the link has a rate`)
    assert.ok(host.wireReceivedBytes > contentBytes)
  }
  assert.deepEqual(readdirSync(figures), ["rates-imagegrid-2.svg"])
  assert.deepEqual(tracesOf(child.pid), [])
})

test("a lab that is interrupted midway clears everything away before it ends", needsLab, async (t) => {
  const child = startLab(t, "--hosts", "2", "--size", "32MiB", "--rate", "20mbit")
  await eventually(() => receivedBlocks(child.pid) > 0)
  assert.notDeepEqual(tracesOf(child.pid), [])
  child.kill("SIGINT")
  await once(child, "exit")
  assert.equal(child.exitCode, 130)
  assert.deepEqual(tracesOf(child.pid), [])
})

test("a lab that is ended while it still sets up leaves nothing either", needsLab, async (t) => {
  const child = startLab(t, "--hosts", "8")
  await eventually(() => tracesOf(child.pid).some((trace) => trace.startsWith(labName(child.pid, 9))))
  child.kill("SIGTERM")
  await once(child, "exit")
  assert.equal(child.exitCode, 130)
  assert.deepEqual(tracesOf(child.pid), [])
})

test("what a killed lab left is cleared away by the next one", needsLab, async (t) => {
  const killed = startLab(t, "--hosts", "2", "--size", "32MiB", "--rate", "20mbit")
  await eventually(() => receivedBlocks(killed.pid) > 0)
  killed.kill("SIGKILL")
  await once(killed, "exit")
  assert.notDeepEqual(tracesOf(killed.pid), [], "namespaces and files outlive their lab")
  const next = startLab(t, "--hosts", "1", "--size", "64KiB", "--rate", "100mbit")
  await once(next, "exit")
  assert.equal(next.exitCode, 0)
  assert.deepEqual(tracesOf(killed.pid), [])
  assert.deepEqual(tracesOf(next.pid), [])
})

test("without root the lab says what it needs", { skip: process.getuid?.() === 0 ? false : "needs root, to give it up" }, () => {
  const nobody = 65_534
  const run = spawnSync(
    process.execPath,
    ["--input-type=module", "-e", `process.setuid(${nobody}); process.argv.length = 1; await import(${JSON.stringify(lab)})`],
    {
      encoding: "utf8",
    },
  )
  assert.equal(run.status, 77, run.stderr)
  assert.match(run.stderr, /network namespaces.*run it as root/)
})
