/**
 * From a planned change to a tree that has it. Everything new is made beside the tree first. From the moment that this is durable the change is gone on
 * with, whoever ends it when; before it the tree is untouched.
 */
import { randomBytes } from "node:crypto"
import { mkdir, readdir, rm, statfs } from "node:fs/promises"
import { join } from "node:path"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { makeTree } from "#image/staged-tree.ts"
import { WORK_DIRECTORY } from "#image/target.ts"
import type { Change } from "#image/tree-diff.ts"
import { encodeIndex, type TreeIndex } from "#image/tree-index.ts"
import { applySteps, restoreDirectory } from "#image/tree-steps.ts"
import type { UpdatePlan } from "#image/update-plan.ts"
import { saveDeployment, type DeploymentRecord } from "./deployment-record.ts"
import { forgetIndexes, holdIndex, requireIndex } from "./held-indexes.ts"
import { gatherContents, removeContents, type Contents, type VersionThere } from "./incoming.ts"
import { filesOf } from "./lay-over.ts"
import { flushFileSystem } from "./layer-download.ts"
import { readSteps, writeSteps } from "./step-file.ts"
import type { LocalParts } from "./update-events.ts"
import { requireGood } from "./verify.ts"

/** Left free beside what an update makes. */
const SPARE_BYTES = 32 * 1024 * 1024

/** What is to become of a tree. */
export type Planned = {
  readonly plan: UpdatePlan
  readonly actual: TreeIndex
  readonly excluded: readonly string[]
  readonly changes: Iterable<Change>
}

export type Commitment = {
  readonly act: "update" | "rollback"
  readonly record: DeploymentRecord
  readonly planned: Planned
  readonly next: VersionThere
  /** Of the image's index; null where it is held. */
  readonly indexBytes: Buffer | null
  readonly contents: Contents
}

/** Makes what is new beside the tree, and then takes the steps. */
export async function commit(
  parts: LocalParts,
  { act, record, planned, next, indexBytes, contents: from }: Commitment,
): Promise<DeploymentRecord> {
  const { home, clock, signal, emit } = parts
  const { plan, actual, excluded } = planned
  const id = randomBytes(8).toString("hex")
  const top = join(record.target, WORK_DIRECTORY)
  const work = join(top, id)
  await makeWorkDirectory(record.target, actual)
  for (const name of await readdir(top)) if (name !== record.update?.id) await rm(join(top, name), { recursive: true, force: true })
  try {
    await mkdir(join(work, "new"), { recursive: true, mode: 0o700 })
    const contents = await gatherContents(from, {
      work,
      there: filesOf(record.target, actual),
      made: plan.made,
      requireRoom: (wholeBytes) => requireRoom(record.target, plan, wholeBytes),
      signal,
    })
    let last = 0
    await makeTree({
      directory: join(work, "new"),
      entries: plan.made,
      contents,
      signal,
      onProgress: ({ bytes }) => {
        if (bytes < last + 8 * 1024 * 1024) return
        last = bytes
        emit({ event: "progress", phase: "unpack", bytes, totalBytes: plan.madeBytes, bytesPerSecond: 0 })
      },
    })
    await removeContents(work)
    await writeSteps(join(work, "steps"), plan.steps)
  } catch (error) {
    await rm(work, { recursive: true, force: true })
    throw error
  }
  await flushFileSystem(record.target)
  await holdIndex(home, encodeIndex(actual.entries()))
  if (indexBytes !== null) await holdIndex(home, indexBytes)
  const expectedSha256 = await holdIndex(home, plan.expected)
  const updating: DeploymentRecord = {
    ...record,
    excluded: [...excluded],
    state: "updating",
    changedAtMs: clock.nowMs(),
    update: { id, act, ...next, expectedSha256 },
  }
  const before = await holdIndex(home, encodeIndex(actual.entries()))
  await saveDeployment(home, { ...updating, expectedSha256: before })
  return finish(parts, { ...updating, expectedSha256: before })
}

/** A new name at the top, without a trace in the time of the top itself: until the steps are taken, a tree is what it was. */
async function makeWorkDirectory(target: string, actual: TreeIndex): Promise<void> {
  try {
    await mkdir(join(target, WORK_DIRECTORY), { mode: 0o700 })
  } catch (error) {
    if (systemErrorCode(error) === "EEXIST") return
    throw error
  }
  for (const { path, mode, uid, gid, mtimeNs } of actual.entries())
    if (path === ".") return restoreDirectory(target, { is: "attributes", path, mode, uid, gid, mtimeNs })
}

/** From the moment on that everything new is durable. */
export async function finish(parts: LocalParts, record: DeploymentRecord): Promise<DeploymentRecord> {
  const { home, clock, signal, emit } = parts
  const { update, target } = record
  if (update === null) throw new GridError("STATE_DAMAGED", `the record of ${target} does not say what it is updated to; deploy it anew`)
  const work = join(target, WORK_DIRECTORY, update.id)
  const steps = await readSteps(join(work, "steps"))
  emit({ event: "changing", steps: steps.length })
  await applySteps({
    target,
    work,
    steps,
    onProgress: ({ done, total }) => emit({ event: "progress", phase: "unpack", bytes: done, totalBytes: total, bytesPerSecond: 0 }),
  })
  await flushFileSystem(target)
  const expected = await requireIndex(home, update.expectedSha256, update.version)
  const entries = await requireGood({ signal, emit, clock }, expected, target, record.excluded)
  const { id, act, ...next } = update
  const { version, indexInfohash, indexSha256, laidSha256, expectedSha256 } = record
  const good: DeploymentRecord = {
    ...record,
    ...next,
    state: "good",
    changedAtMs: clock.nowMs(),
    update: { id, act, version, indexInfohash, indexSha256, laidSha256, expectedSha256 },
  }
  await saveDeployment(home, good)
  await rm(join(work, "new"), { recursive: true, force: true })
  for (const name of await readdir(join(target, WORK_DIRECTORY)))
    if (name !== update.id) await rm(join(target, WORK_DIRECTORY, name), { recursive: true, force: true })
  await forgetIndexes(home)
  emit({ event: "good", atMs: clock.nowMs(), entries })
  return good
}

/** Contents that came and the files made of them are there at the same time. */
export async function requireRoom(target: string, { madeBytes }: Pick<UpdatePlan, "madeBytes">, wholeBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(target)
  const neededBytes = 2 * madeBytes + wholeBytes + SPARE_BYTES
  if (bavail * bsize < neededBytes)
    throw new GridError(
      "DISK_FULL",
      `the update makes files of ${madeBytes} bytes beside the old ones and needs ${neededBytes}; ${target} has ${bavail * bsize}. Nothing was changed`,
    )
}
