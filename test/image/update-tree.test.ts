import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { GridError } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { captureTree } from "#image/capture.ts"
import type { Entry } from "#image/entry.ts"
import { makeTree, pathIn } from "#image/staged-tree.ts"
import { WORK_DIRECTORY } from "#image/target.ts"
import { decodeIndex, encodeIndex, type TreeIndex } from "#image/tree-index.ts"
import { applySteps } from "#image/tree-steps.ts"
import { keptContents, planUpdate, type LocalPolicy } from "#image/update-plan.ts"
import { verifyTree } from "#image/verify-tree.ts"
import { editTree, growTree } from "./random-trees.ts"
import { dice, temporaryDirectory } from "./support.ts"

/** Of each of three kinds, the same in every run; `CASES=500 SEED=7` in the environment plays others. */
const CASES = Number(process.env["CASES"] ?? 170)
const firstSeed = Number(process.env["SEED"] ?? 1)
const nothing = () => false

async function indexOfTree(directory: string): Promise<TreeIndex> {
  const entries: Entry[] = []
  await captureTree({ directory, onEntry: (entry) => entries.push(entry) })
  return decodeIndex(encodeIndex(entries))
}

type Contents = ReadonlyMap<Sha256, Buffer>

function contentsOf(directory: string, index: TreeIndex): Contents {
  return new Map([...index.entries()].flatMap((entry) => (entry.kind === "file" ? [[entry.sha256, pathIn(directory, entry.path)]] : [])))
}

/** Makes what the plan needs and takes its steps; `cutAt` of them only, where it is given. */
async function update(target: string, plan: ReturnType<typeof planUpdate>, contents: readonly Contents[], cutAt?: number): Promise<void> {
  const work = join(target, WORK_DIRECTORY)
  const at = (digest: Sha256) => contents.flatMap((one) => one.get(digest) ?? [])[0] ?? null
  mkdirSync(join(work, "new"), { recursive: true })
  await makeTree({ directory: join(work, "new"), entries: plan.made, contents: at })
  if (cutAt !== undefined) await applySteps({ target, work, steps: plan.steps.slice(0, cutAt) })
  await applySteps({ target, work, steps: plan.steps })
}

async function requireSame(directory: string, index: Uint8Array, seed: number): Promise<void> {
  const { differences } = await verifyTree({ directory, index: decodeIndex(index) })
  assert.deepEqual(differences, [], `seed ${seed}; SEED=${seed} CASES=1 runs it alone`)
}

/** Two trees, and a copy of the first. */
async function trees(top: string, roll: () => number) {
  const [old, next, target] = ["old", "new", "target"].map((name) => join(top, name)) as [string, string, string]
  mkdirSync(old)
  growTree(old, roll)
  execFileSync("cp", ["-a", old, next])
  editTree(next, roll)
  execFileSync("cp", ["-a", old, target])
  const [from, to] = [await indexOfTree(old), await indexOfTree(next)]
  return { target, from, to, contents: [contentsOf(next, to), contentsOf(old, from)] }
}

test(`an update makes one tree of another, a run that was cut off is gone on with, and the way back is kept: seeds from ${firstSeed}`, async (t) => {
  for (let seed = firstSeed; seed < firstSeed + CASES; seed += 1) {
    const top = await temporaryDirectory(t)
    const roll = dice(seed * 7919 + 1)
    const { target, from, to, contents } = await trees(top, roll)
    const plan = planUpdate({ from: from.entries(), actual: from.entries(), to: to.entries() }, "refuse", nothing)
    assert.ok(plan.expected.equals(encodeIndex(to.entries())))
    await update(target, plan, contents, Math.floor(roll() * (plan.steps.length + 1)))
    await requireSame(target, plan.expected, seed)

    // Back again, with what was kept aside and what is there.
    const aside = join(top, "aside")
    execFileSync("mv", [join(target, WORK_DIRECTORY, "old"), aside])
    const kept = new Map([...keptContents(plan.steps, from.entries())].map(([digest, at]) => [digest, pathIn(aside, at)]))
    rmSync(join(target, WORK_DIRECTORY), { recursive: true })
    const back = planUpdate({ from: to.entries(), actual: to.entries(), to: from.entries() }, "refuse", nothing)
    await update(target, back, [kept, contentsOf(target, to)])
    await requireSame(target, encodeIndex(from.entries()), seed)
    rmSync(top, { recursive: true })
  }
})

for (const policy of ["keep", "overwrite"] as const satisfies LocalPolicy[])
  test(`of local changes an update makes what '${policy}' says: seeds from ${firstSeed}`, async (t) => {
    for (let seed = firstSeed; seed < firstSeed + CASES; seed += 1) {
      const top = await temporaryDirectory(t)
      const roll = dice(seed * 104_729 + 1)
      const { target, from, to, contents } = await trees(top, roll)
      editTree(target, roll)
      const actual = await indexOfTree(target)
      const plan = planUpdate({ from: from.entries(), actual: actual.entries(), to: to.entries() }, policy, nothing)
      await update(target, plan, [contentsOf(target, actual), ...contents])
      await requireSame(target, plan.expected, seed)
      if (policy === "overwrite") await requireSame(target, encodeIndex(to.entries()), seed)
      else {
        const now = new Map([...(await indexOfTree(target)).entries()].map((entry) => [entry.path, entry]))
        const before = new Map([...actual.entries()].map((entry) => [entry.path, entry]))
        for (const { path, what } of plan.local) {
          const [was, is] = [before.get(path), now.get(path)]
          if (what === "removed") assert.equal(is, undefined, `seed ${seed}: ${path} came back`)
          else if (was?.kind === "file" && is?.kind === "file") assert.equal(is.sha256, was.sha256, `seed ${seed}: ${path}`)
          else if (was?.kind !== "hardlink" && was?.kind !== "file") assert.equal(is?.kind, was?.kind, `seed ${seed}: ${path}`)
        }
      }
      rmSync(top, { recursive: true })
    }
  })

test("with local changes and nothing said of them, nothing is done", async (t) => {
  const top = await temporaryDirectory(t)
  const { target, from, to } = await trees(top, dice(5))
  const actual = await (async () => {
    execFileSync("touch", [join(target, "local")])
    return indexOfTree(target)
  })()
  const plan = (isExcluded: (path: string) => boolean) =>
    planUpdate({ from: from.entries(), actual: actual.entries(), to: to.entries() }, "refuse", isExcluded)
  assert.throws(
    () => plan(nothing),
    (error) => error instanceof GridError && error.code === "TREE_CHANGED" && error.message.includes("local (added)"),
  )
  assert.ok(!plan((path) => path === "local").steps.some(({ path }) => path === "local"))
})
