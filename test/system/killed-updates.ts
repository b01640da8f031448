/**
 * Kills a client with SIGKILL at random moments of an update and of a rollback, again and again. The same command, run again, must end in the new tree;
 * until then `verify` must say of nothing else that it is good. Trees are compared by what the system says of every name, not by the product.
 */
import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import {
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { seededRandom } from "#swarm/core/random.ts"
import { TestGrid } from "./grid.ts"
import { makeTree, noise } from "./trees.ts"

export type KilledUpdate = {
  readonly number: number
  readonly action: "update" | "rollback"
  /** What the client said last before it was killed. */
  readonly during: string
  readonly afterStartMs: number
  /** By the client's record. */
  readonly left: "old" | "midway" | "new"
}

/** @throws {AssertionError} where a tree is neither the old nor the new one after the same command was run again */
export async function killUpdates(options: {
  readonly kills: number
  readonly seed: number
  /** Files of the tree, of which two thirds change. */
  readonly files: number
  readonly onKill?: (kill: KilledUpdate) => void
}): Promise<KilledUpdate[]> {
  const random = seededRandom(options.seed)
  await using grid = new TestGrid()
  const [tree, root, home, server] = [grid.home("tree"), grid.home("root"), grid.home("client"), grid.home("server-1")]
  await grid.site()
  makeFirst(tree, options.files)
  await grid.run(["publish", tree, "os:1", "--home", server])
  const first = describeTree(tree)
  makeSecond(tree, options.files)
  await grid.run(["publish", tree, "os:2", "--home", server, "--from", "os:1"])
  const second = describeTree(tree)
  await grid.joinClient("client")
  await grid.run(["deploy", "os:1", "--home", home, "--target", root, "--seed-until", "done"])
  assert.deepEqual(describeTree(root), first)

  const words = (action: KilledUpdate["action"]) =>
    action === "update"
      ? ["update", "os:2", "--home", home, "--target", root, "--seed-until", "done"]
      : ["rollback", "--home", home, "--target", root]
  const kills: KilledUpdate[] = []
  // How long after the program's start, after it knew what to change, and after it began to change it, a kill comes at the latest.
  const tookMs = { start: 2_500, changes: 1_500, changing: 400 }
  let action: KilledUpdate["action"] = "update"
  let deadRunsInARow = 0
  while (kills.length < options.kills) {
    const [before, after]: [string[], string[]] = action === "update" ? [first, second] : [second, first]
    const startedMs = performance.now()
    const program = grid.start(words(action))
    let during = "start"
    program.onEvent(({ event, phase }) => (during = [event, phase].filter((word) => typeof word === "string").join(" ")))
    const moment = random.below(3)
    const reached = moment === 1 ? "changes" : "changing"
    if (moment === 0) await sleep(random.below(tookMs.start))
    else {
      await Promise.race([program.event(reached), program.ended()])
      await sleep(random.below(tookMs[reached]))
    }
    program.kill("SIGKILL")
    await program.ended()
    const afterStartMs = Math.round(performance.now() - startedMs)
    const left = stateOf(home, action)
    if (left === "new" && (during === "good" || during === "left")) {
      // It was faster than the kill.
      assert.deepEqual(describeTree(root), after)
      const late = moment === 0 ? "start" : reached
      tookMs[late] = Math.max(50, Math.round(0.9 * tookMs[late]))
      action = action === "update" ? "rollback" : "update"
      deadRunsInARow = 0
      continue
    }
    if (left !== "midway") assert.deepEqual(describeTree(root), left === "old" ? before : after)
    const verified = grid.outcome(["verify", "--home", home, "--target", root])
    if (verified.code === 0) assert.deepEqual(describeTree(root), left === "new" ? after : before, "verify called something else good")
    const kill: KilledUpdate = { number: kills.length + 1, action, during, afterStartMs, left }
    kills.push(kill)
    options.onKill?.(kill)
    // Now and then it is killed again before it has come to its end.
    deadRunsInARow += 1
    if (left !== "new" && deadRunsInARow < 3 && random.below(3) === 0 && kills.length < options.kills) continue
    deadRunsInARow = 0
    const again = grid.outcome(left === "new" ? ["verify", "--home", home, "--target", root] : words(action))
    assert.equal(again.code, 0, again.stderr)
    assert.deepEqual(describeTree(root), after)
    assert.equal(grid.outcome(["verify", "--home", home, "--target", root]).code, 0)
    action = action === "update" ? "rollback" : "update"
  }
  return kills
}

function stateOf(home: string, action: KilledUpdate["action"]): KilledUpdate["left"] {
  const [name = ""] = readdirSync(join(home, "deployments"))
  const { state, version } = JSON.parse(readFileSync(join(home, "deployments", name), "utf8")) as { state: string; version: string }
  if (state === "updating") return "midway"
  return (version === "2") === (action === "update") ? "new" : "old"
}

function makeFirst(tree: string, files: number): void {
  makeTree(tree, 200_000)
  for (let number = 0; number < files; number += 1) {
    const directory = join(tree, `d${number % 20}`)
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, `f${number}`), noise(200 + (number % 7) * 400, String(number)))
  }
  mkdirSync(join(tree, "becomes-file/deep"), { recursive: true })
  writeFileSync(join(tree, "becomes-file/deep/inner"), "inner\n")
  writeFileSync(join(tree, "becomes-directory"), "a file\n")
  linkSync(join(tree, "d1/f1"), join(tree, "link-of-f1"))
}

function makeSecond(tree: string, files: number): void {
  for (let number = 0; number < files; number += 1) {
    const path = join(tree, `d${number % 20}`, `f${number}`)
    if (number % 3 === 0) writeFileSync(path, noise(300 + (number % 5) * 500, `second ${number}`))
    else if (number % 6 === 1) rmSync(path)
    else if (number % 6 === 4) renameSync(path, `${path}.moved`)
  }
  rmSync(join(tree, "becomes-file"), { recursive: true })
  writeFileSync(join(tree, "becomes-file"), "a file now\n")
  rmSync(join(tree, "becomes-directory"))
  mkdirSync(join(tree, "becomes-directory/deep"), { recursive: true })
  symlinkSync("../d1", join(tree, "becomes-directory/deep/link"))
}

/** Every name with all that the system tells of it, and its content's digest; hard links by their first name. */
function describeTree(top: string): string[] {
  const lines: string[] = []
  const firsts = new Map<bigint, string>()
  const visit = (path: string): void => {
    const { mode, uid, gid, mtimeNs, size, ino, nlink } = lstatSync(join(top, path), { bigint: true })
    const kind = Number(mode) & 0o170000
    const common = `${path} ${mode.toString(8)} ${uid}:${gid} ${mtimeNs}`
    if (kind === 0o040000) {
      lines.push(common)
      for (const name of readdirSync(join(top, path)).sort()) if (path !== "." || name !== ".imagegrid") visit(join(path, name))
      return
    }
    const first = firsts.get(ino) ?? path
    if (nlink > 1n) firsts.set(ino, first)
    const content =
      kind === 0o120000
        ? readlinkSync(join(top, path))
        : kind === 0o100000
          ? createHash("sha256")
              .update(readFileSync(join(top, path)))
              .digest("hex")
          : ""
    lines.push(`${common} ${size} ${first} ${content}`)
  }
  visit(".")
  return lines
}
