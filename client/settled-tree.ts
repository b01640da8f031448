/** What a deployed tree is now: as it was left, once anything that was cut off is finished, and with what people changed in it since. */
import { realpath } from "node:fs/promises"
import { resolve } from "node:path"
import { GridError } from "#core/errors.ts"
import { printable } from "#image/byte-string.ts"
import { captureTree } from "#image/capture.ts"
import type { Entry } from "#image/entry.ts"
import { leftOut, requireOneFileSystem, type LeftOut } from "#image/left-out.ts"
import { inspectTarget } from "#image/target.ts"
import { changesBetween } from "#image/tree-diff.ts"
import { decodeIndex, encodeIndex, type TreeIndex } from "#image/tree-index.ts"
import { localChanges, planUpdate, requireNone, type LocalPolicy } from "#image/update-plan.ts"
import { finish, type Planned } from "./change-tree.ts"
import { readDeployment, type DeploymentRecord } from "./deployment-record.ts"
import type { LocalParts } from "./update-events.ts"

const LOCAL_SHOWN = 1_000
const PROGRESS_STEP_BYTES = 32 * 1024 * 1024

export type Settled = {
  readonly record: DeploymentRecord
  /** What was cut off and is done now. */
  readonly finished: "update" | "rollback" | null
}

/** The record of a tree that is good; an update that was cut off is finished first. @throws {GridError} TARGET_UNSUITABLE, SOURCE_MISSING */
export async function settle(parts: LocalParts, target: string): Promise<Settled> {
  const { home, emit } = parts
  const wanted = resolve(target)
  const state = await inspectTarget(wanted)
  const record = state.kind === "missing" ? null : await readDeployment(home, await realpath(wanted))
  if (record === null || record.device !== String(state.device) || record.inode !== String(state.inode))
    throw new GridError(
      "TARGET_UNSUITABLE",
      `${wanted} was not deployed from ${home.directory}; deploy an image to it, or name the home that did`,
    )
  if (record.state === "unpacking")
    throw new GridError("TARGET_UNSUITABLE", `${wanted} is only partly deployed; repeat the deploy of ${record.name}:${record.version}`)
  if (record.state === "good") return { record, finished: null }
  emit({ event: "continued", image: `${record.name}:${record.update?.version ?? ""}` })
  return { record: await finish(parts, record), finished: record.update?.act ?? null }
}

export type Reading = { readonly actual: TreeIndex; readonly excluded: readonly string[]; readonly out: LeftOut }

/** Reads the whole tree. @throws {GridError} TREE_CHANGED before anything else is done, where local changes are not to be touched */
export async function readTree(
  parts: LocalParts,
  {
    record,
    from,
    local,
    exclude,
    takeExcluded = false,
  }: {
    readonly record: DeploymentRecord
    readonly from: TreeIndex
    readonly local: LocalPolicy
    /** Beside what the record excludes. */
    readonly exclude: readonly string[]
    /** Whether what is excluded is read, so that another tree can have it too. */
    readonly takeExcluded?: boolean
  },
): Promise<Reading> {
  const { signal, emit } = parts
  const excluded = [...new Set([...record.excluded, ...exclude])]
  const out = await leftOut(record.target, excluded, from.entries())
  const notRead = takeExcluded ? await leftOut(record.target, [], from.entries()) : out
  requireOneFileSystem(record.target, excluded, from.entries())
  const entries: Entry[] = []
  let nextBytes = 0
  await captureTree({
    directory: record.target,
    leftOut: notRead.paths,
    onEntry: (entry) => notRead.has(entry.path) || entries.push(entry),
    signal,
    onProgress: ({ fileBytes }) => {
      if (fileBytes < nextBytes) return
      nextBytes = fileBytes + PROGRESS_STEP_BYTES
      emit({ event: "progress", phase: "verify", bytes: fileBytes, totalBytes: from.fileBytes, bytesPerSecond: 0 })
    },
  })
  if (local === "refuse") requireNone(localChanges(from.entries(), entries, out.has))
  return { actual: decodeIndex(encodeIndex(entries)), excluded, out }
}

export function plannedFor(
  { actual, excluded, out }: Reading,
  { target, from, to, local }: { readonly target: string; readonly from: TreeIndex; readonly to: TreeIndex; readonly local: LocalPolicy },
): Planned {
  requireOneFileSystem(target, excluded, to.entries())
  const plan = planUpdate({ from: from.entries(), actual: actual.entries(), to: to.entries() }, local, out.has)
  return { plan, actual, excluded, changes: changesBetween(actual.entries(), decodeIndex(plan.expected).entries()) }
}

/** Whether the tree is what it is to be, but for the times of directories. */
export function isThere({ plan, actual }: Planned): boolean {
  return localChanges(actual.entries(), decodeIndex(plan.expected).entries(), () => false).length === 0
}

export function tellPlan(parts: LocalParts, { plan, changes }: Planned): void {
  const { emit } = parts
  for (const { path, what } of plan.local.slice(0, LOCAL_SHOWN)) emit({ event: "local-change", path: printable(path), what })
  for (const { path, before, after } of changes) {
    const what = before === null ? "added" : after === null ? "removed" : "changed"
    emit({ event: "change", path: printable(path), what, bytes: after?.kind === "file" ? after.size : 0 })
  }
  emit({ event: "changes", steps: plan.steps.length, madeBytes: plan.madeBytes, localChanges: plan.local.length })
}
