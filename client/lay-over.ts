/** Deltas and overrides over a tree that was just unpacked and that nobody else works on: nothing of it is kept aside. */
import { mkdir, rm } from "node:fs/promises"
import { join } from "node:path"
import { makeTree, pathIn } from "#image/staged-tree.ts"
import { StagedContents } from "#image/staged-contents.ts"
import { WORK_DIRECTORY } from "#image/target.ts"
import type { TreeIndex } from "#image/tree-index.ts"
import { applySteps, restoreDirectory } from "#image/tree-steps.ts"
import type { DevicePolicy } from "#image/unpack.ts"
import { planUpdate } from "#image/update-plan.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { takeContents } from "./delta-chain.ts"
import type { OpenableLayer } from "./layer-download.ts"
import type { UnpackedOverrides } from "./overrides.ts"

/** @throws {GridError} SEALED_INVALID, DIGEST_MISMATCH, TREE_CHANGED, DISK_FULL, EXTRACT_FAILED */
export async function layOver(parts: {
  readonly target: string
  /** What was unpacked. */
  readonly from: TreeIndex
  /** With the overrides. */
  readonly to: TreeIndex
  readonly deltas: readonly OpenableLayer[]
  readonly overrides: UnpackedOverrides
  readonly devices: DevicePolicy | undefined
  readonly signal: AbortSignal
}): Promise<void> {
  const { target, from, to, deltas, overrides, devices, signal } = parts
  const plan = planUpdate({ from: from.entries(), actual: from.entries(), to: to.entries() }, "refuse", () => false)
  const work = join(target, WORK_DIRECTORY)
  await mkdir(join(work, "new"), { recursive: true, mode: 0o700 })
  const there = filesOf(target, from)
  const contents = await StagedContents.open(join(work, "contents"), (digest) => there(digest) ?? overrides.contents(digest))
  await takeContents(deltas, contents, signal)
  await makeTree({ directory: join(work, "new"), entries: plan.made, contents: contents.at, devices, signal })
  await applySteps({ target, work, steps: plan.steps })
  await rm(work, { recursive: true })
  const top = plan.steps.find((step) => step.is === "attributes" && step.path === ".")
  if (top?.is === "attributes") await restoreDirectory(target, top)
}

/** Where each content stands in a tree. */
export function filesOf(directory: string, index: TreeIndex): (digest: Sha256) => Buffer | null {
  const paths = new Map<Sha256, Buffer>()
  for (const entry of index.entries()) if (entry.kind === "file") paths.set(entry.sha256, pathIn(directory, entry.path))
  return (digest) => paths.get(digest) ?? null
}
