/**
 * Two trees side by side, `a` and `b`, and a link `current` to the one in use. A new version is made in the other one, of what the one in use has and what
 * it lacks, and is verified; then the link changes in one step. So there is always a whole tree in use, and the way back is a change of the link.
 */
import { lstat, mkdir, open, readlink, realpath, rename, rm, symlink } from "node:fs/promises"
import { join } from "node:path"
import { refOf } from "#core/documents.ts"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { formatImageRef, type ImageQuery } from "#core/identifiers.ts"
import { makeShared, type Sharing } from "#image/shared-tree.ts"
import { clearTree, inspectTarget } from "#image/target.ts"
import { decodeIndex } from "#image/tree-index.ts"
import type { LocalPolicy } from "#image/update-plan.ts"
import { requireRoom } from "./change-tree.ts"
import { reportingProgress } from "./progress-reporter.ts"
import { deployAndReport } from "./report.ts"
import type { DeployOptions } from "./deploy.ts"
import { readDeployment, saveDeployment, type DeploymentRecord } from "./deployment-record.ts"
import { forgetIndexes, holdIndex } from "./held-indexes.ts"
import { gatherContents, Incoming, nameOf, removeContents } from "./incoming.ts"
import { filesOf } from "./lay-over.ts"
import { flushFileSystem } from "./layer-download.ts"
import { takeScripts } from "./scripts.ts"
import { plannedFor, readTree, settle, tellPlan } from "./settled-tree.ts"
import { foundFor, seedAndLeave, type UpdateParts } from "./update.ts"
import type { LocalParts } from "./update-events.ts"
import { describeDifferences, requireGood, verifyTarget } from "./verify.ts"

const SLOTS = ["a", "b"] as const
type Slot = (typeof SLOTS)[number]
const CURRENT = "current"

export type SlotOptions = Omit<DeployOptions, "target" | "query"> & {
  readonly slots: string
  readonly query: ImageQuery
  /** Of the tree in use: `keep` takes them over into the new one, `overwrite` leaves them where they are. */
  readonly local: LocalPolicy
  readonly sharing: Sharing
}

/** @throws {GridError} TREE_CHANGED, TARGET_UNSUITABLE, TARGET_NOT_EMPTY, and what a deploy refuses */
export async function deployToSlots(parts: UpdateParts, options: SlotOptions): Promise<DeploymentRecord> {
  const { member, emit, signal } = parts
  const local: LocalParts = { home: member.home, clock: member.clock, signal, emit }
  await mkdir(options.slots, { recursive: true })
  const top = await realpath(options.slots)
  const inUse = await slotInUse(top)
  const next: Slot = inUse === "a" ? "b" : "a"
  const target = join(top, next)
  await releaseSlot(local, target)
  const base =
    inUse === null
      ? null
      : await settle(local, join(top, inUse)).then(
          ({ record }) => record,
          () => null,
        )
  if (base === null || nameOf(base, member.home.site) !== options.query.name)
    return deployAndReport(parts, { ...options, target, afterGood: () => switchTo(top, next) })
  const from = { top, slot: next, base }
  return reportingProgress({ member, host: options.host, emit }, (watched) => makeFrom({ ...parts, emit: watched }, from, options))
}

/** The other slot's tree, of what the one in use has and what it lacks. */
async function makeFrom(
  parts: UpdateParts,
  { top, slot, base }: { readonly top: string; readonly slot: Slot; readonly base: DeploymentRecord },
  options: SlotOptions,
): Promise<DeploymentRecord> {
  const { member, emit, signal } = parts
  const { home, clock } = member
  const local: LocalParts = { home, clock, signal, emit }
  const target = join(top, slot)
  const found = foundFor(parts, base, options.query)
  const { manifest } = found
  await using incoming = await Incoming.open(parts, { found, record: base, host: options.host, stage: options.stage })
  try {
    const { from, delivery } = incoming
    const reading = await readTree(local, { record: base, from, local: options.local, exclude: manifest.exclude, takeExcluded: true })
    const by = delivery.full === null ? "deltas" : "whole"
    emit({ event: "update-planned", image: formatImageRef(refOf(manifest)), from: base.version, by, sealedBytes: delivery.sealedBytes })
    const { next, laid, indexBytes, contents: sources } = await incoming.arrive()
    const planned = plannedFor(reading, { target: base.target, from, to: laid, local: options.local })
    tellPlan(local, planned)
    const about = { manifest, identityOf: incoming.identityOf, options, action: "deploy", target } as const
    const scripts = await takeScripts(parts, about, incoming.store)
    incoming.opened.push(...scripts.layers)
    await scripts.run("before")
    const record = await claimSlot(local, target, { ...base, ...next, excluded: [...planned.excluded], host: options.host, update: null })
    const expected = decodeIndex(planned.plan.expected)
    const entries = [...expected.entries()]
    const work = home.path("slot-work")
    await rm(work, { recursive: true, force: true })
    const contents = await gatherContents(sources, {
      work,
      there: filesOf(base.target, planned.actual),
      made: entries,
      requireRoom: (wholeBytes) =>
        requireRoom(top, { madeBytes: options.sharing === "copy" ? expected.fileBytes : planned.plan.madeBytes }, wholeBytes),
      signal,
    })
    const shared = await makeShared({
      directory: target,
      entries,
      contents,
      devices: options.devices,
      from: { directory: base.target, index: planned.actual },
      sharing: options.sharing,
      signal,
      onProgress: ({ bytes }) => emit({ event: "progress", phase: "unpack", bytes, totalBytes: expected.fileBytes, bytesPerSecond: 0 }),
    })
    await removeContents(work)
    await holdIndex(home, indexBytes)
    const expectedSha256 = await holdIndex(home, planned.plan.expected)
    const count = await requireGood({ signal, emit, clock }, expected, target, [])
    await flushFileSystem(target)
    const good: DeploymentRecord = { ...record, expectedSha256, state: "good", changedAtMs: clock.nowMs() }
    await saveDeployment(home, good)
    await switchTo(top, slot)
    await forgetIndexes(home)
    emit({ event: "shared", files: shared, how: options.sharing })
    emit({ event: "good", atMs: clock.nowMs(), entries: count })
    await scripts.run("after")
    await seedAndLeave(parts, incoming, options)
    return good
  } catch (error) {
    if (signal.aborted && !(error instanceof GridError && error.code === "TREE_DIFFERS"))
      throw new GridError("INTERRUPTED", "the tree in use is as it was; the same command makes the other one anew", { cause: error })
    throw error
  }
}

/** The tree of the other slot is in use again, once it was verified. @throws {GridError} TARGET_UNSUITABLE, TREE_DIFFERS */
export async function switchBack(parts: LocalParts, slots: string): Promise<DeploymentRecord> {
  const top = await realpath(slots).catch((cause: unknown) => {
    throw new GridError("SOURCE_MISSING", `${slots} (${systemErrorCode(cause)}); name the directory that was deployed to with --slots`, {
      cause,
    })
  })
  const inUse = await slotInUse(top)
  const other: Slot = inUse === "a" ? "b" : "a"
  const record = inUse === null ? null : await readDeployment(parts.home, join(top, other))
  if (record === null || record.state !== "good")
    throw new GridError("TARGET_UNSUITABLE", `${top} holds no second tree that is whole; deploy the version that you want`)
  const { emit } = parts
  const onProgress = ({ bytes, totalBytes }: { readonly bytes: number; readonly totalBytes: number }) =>
    emit({ event: "progress", phase: "verify", bytes, totalBytes, bytesPerSecond: 0 })
  const { entries, differences, differenceCount } = await verifyTarget({ ...parts, onProgress }, record.target)
  if (differenceCount > 0)
    throw new GridError(
      "TREE_DIFFERS",
      `${record.target}: ${describeDifferences(differences, differenceCount)}. It is not used; deploy the version that you want`,
    )
  await switchTo(top, other)
  emit({ event: "good", atMs: parts.clock.nowMs(), entries })
  return record
}

/** Null where nothing is in use yet. @throws {GridError} TARGET_UNSUITABLE where the link leads elsewhere */
async function slotInUse(top: string): Promise<Slot | null> {
  const path = join(top, CURRENT)
  const found = await lstat(path).catch((error: unknown) => {
    if (systemErrorCode(error) === "ENOENT") return null
    throw error
  })
  if (found === null) return null
  const leadsTo = found.isSymbolicLink() ? await readlink(path) : null
  const slot = SLOTS.find((one) => one === leadsTo)
  if (slot !== undefined) return slot
  throw new GridError("TARGET_UNSUITABLE", `${path} is not a link to ${SLOTS.join(" or ")}, as imagegrid makes it; name another directory`)
}

/** In one step, and durable when it resolves. */
async function switchTo(top: string, slot: Slot): Promise<void> {
  const temporary = join(top, `.${CURRENT}`)
  await rm(temporary, { force: true })
  await symlink(slot, temporary)
  await rename(temporary, join(top, CURRENT))
  await using directory = await open(top, "r")
  await directory.sync()
}

/** What is in a slot that is not in use goes, where it is ours; from then on its record says that it is not whole. @throws {GridError} TARGET_NOT_EMPTY */
async function releaseSlot({ home, clock }: LocalParts, target: string): Promise<void> {
  const state = await inspectTarget(target)
  if (state.kind !== "occupied") return
  const record = await readDeployment(home, target)
  if (record === null || record.device !== String(state.device) || record.inode !== String(state.inode))
    throw new GridError("TARGET_NOT_EMPTY", `${target} holds files that imagegrid did not put there; name another directory`)
  await saveDeployment(home, { ...record, state: "unpacking", changedAtMs: clock.nowMs() })
  await clearTree(target)
}

async function claimSlot({ home, clock }: LocalParts, target: string, like: DeploymentRecord): Promise<DeploymentRecord> {
  await mkdir(target, { recursive: true })
  const { device, inode } = await inspectTarget(target)
  const record: DeploymentRecord = {
    ...like,
    target,
    device: String(device),
    inode: String(inode),
    state: "unpacking",
    changedAtMs: clock.nowMs(),
  }
  await saveDeployment(home, record)
  return record
}
