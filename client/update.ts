/**
 * Brings a deployed tree to another version by what differs, and back.
 *
 * Everything new is made beside the tree first. From the moment that this is durable an update is gone on with, whoever ends it when; before it the tree is
 * untouched. What an update takes away is kept in the target until the next one, and is what a rollback is made of.
 */
import { randomBytes } from "node:crypto"
import { mkdir, readdir, realpath, rm, statfs } from "node:fs/promises"
import { join, resolve } from "node:path"
import { layerOf, refOf, type Layer, type Manifest } from "#core/documents.ts"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { formatImageRef, imageQuery, type ImageQuery, type Sha256 } from "#core/identifiers.ts"
import { deltaDelivery, freshDelivery, type Delivery } from "#core/versions.ts"
import { printable } from "#image/byte-string.ts"
import { captureTree } from "#image/capture.ts"
import { openLayer } from "#image/open-layer.ts"
import type { Entry } from "#image/entry.ts"
import { leftOut, requireOneFileSystem, type LeftOut } from "#image/left-out.ts"
import { StagedContents } from "#image/staged-contents.ts"
import { makeTree, pathIn, type ContentSource } from "#image/staged-tree.ts"
import { inspectTarget, WORK_DIRECTORY } from "#image/target.ts"
import { changesBetween, type Change } from "#image/tree-diff.ts"
import { decodeIndex, encodeIndex, type TreeIndex } from "#image/tree-index.ts"
import { applySteps, restoreDirectory } from "#image/tree-steps.ts"
import { unpackTree } from "#image/unpack.ts"
import {
  keptContents,
  localChanges,
  planUpdate,
  requireNone,
  type LocalChange,
  type LocalPolicy,
  type UpdatePlan,
} from "#image/update-plan.ts"
import { findImage, requireFresh, type FoundImage } from "#member/image-sources.ts"
import { LayerStore } from "#store/layer-store.ts"
import { requireCurrentPublisher, requireCurrentTagger } from "#trust/catalog.ts"
import type { DeployEvent } from "./deploy.ts"
import { stageFor } from "./deploy.ts"
import { takeContents, indexAfter, type DigestedIndex } from "./delta-chain.ts"
import { readDeployment, saveDeployment, type DeploymentRecord } from "./deployment-record.ts"
import { forgetIndexes, heldIndex, holdIndex } from "./held-indexes.ts"
import { filesOf } from "./lay-over.ts"
import {
  fetchIndex,
  flushFileSystem,
  identitiesOf,
  openLayers,
  openIndex,
  piecesInOrder,
  whenAllComplete,
  type DownloadParts,
  type OpenableLayer,
} from "./layer-download.ts"
import { seedUntil } from "./seed-until.ts"
import { hostOf } from "./open-image.ts"
import { overridesFor, unpackOverrides } from "./overrides.ts"
import { takeScripts } from "./scripts.ts"
import { readSteps, writeSteps } from "./step-file.ts"
import type { SeedUntil, UsefulnessRule } from "./usefulness.ts"
import { requireGood } from "./verify.ts"

export type UpdateEvent =
  | DeployEvent
  /** `sealedBytes` are to be downloaded, by deltas from the version that is there or as a whole. */
  | {
      readonly event: "update-planned"
      readonly image: string
      readonly from: string
      readonly by: "deltas" | "whole" | "what was kept"
      readonly sealedBytes: number
    }
  | { readonly event: "local-change"; readonly path: string; readonly what: LocalChange["what"] }
  | { readonly event: "change"; readonly path: string; readonly what: "added" | "removed" | "changed"; readonly bytes: number }
  | { readonly event: "changes"; readonly steps: number; readonly madeBytes: number; readonly localChanges: number }
  | { readonly event: "continued"; readonly image: string }
  /** All that is new is made and durable: from here on whatever ends it, it is gone on with. */
  | { readonly event: "changing"; readonly steps: number }

export type UpdateParts = DownloadParts & { readonly emit: (event: UpdateEvent) => void }
export type UpdateOptions = {
  readonly target: string
  /** Null: the newest version of the image that is there. */
  readonly query: ImageQuery | null
  readonly local: LocalPolicy
  /** Beside those that the image excludes and that were excluded before. */
  readonly exclude: readonly string[]
  readonly dryRun: boolean
  readonly stage: string | null
  readonly seedUntil: SeedUntil
  readonly usefulness: UsefulnessRule
  /** Null: that of the last deploy or update. */
  readonly host: string | null
  /** Null: the image's scripts are not run. */
  readonly scripts: { readonly timeoutMs: number } | null
}

/** Left free beside what an update makes. */
const SPARE_BYTES = 32 * 1024 * 1024
const LOCAL_SHOWN = 1_000
const PROGRESS_STEP_BYTES = 32 * 1024 * 1024

/** @throws {GridError} TREE_CHANGED, TARGET_UNSUITABLE, DISK_FULL, TREE_DIFFERS, and what a deploy refuses */
export async function updateTarget(parts: UpdateParts, options: UpdateOptions): Promise<DeploymentRecord> {
  const { member, emit } = parts
  const { record } = await settle(parts, options.target)
  const found = findImage(member.images, options.query ?? imageQuery(nameOf(record, member.home.site)))
  const { manifest } = found
  const catalog = requireFresh(found.catalog, member.clock.nowMs())
  requireCurrentPublisher(catalog, refOf(manifest), member.clock.nowMs())
  if (found.tag !== null) requireCurrentTagger(catalog, manifest.name, member.clock.nowMs())
  if (manifest.site !== record.site || manifest.name !== record.name)
    throw new GridError(
      "TARGET_UNSUITABLE",
      `${record.target} holds ${record.name}, and ${manifest.name} is another image; deploy it to an empty directory`,
    )
  const image = formatImageRef(refOf(manifest))
  const identityOf = identitiesOf(found, member)
  const host = options.host ?? record.host
  const overrideLayers = overridesFor(manifest, hostOf(found, member, host))
  const held = await indexOfRecord(parts, record)
  const from = record.laidSha256 === record.indexSha256 ? held : await requireIndex(member.home, record.laidSha256, record)
  const reading = await readTree(parts, { record, from, local: options.local, exclude: [...manifest.exclude, ...options.exclude] })
  const delivery = cheapest(manifest, record)
  const by = delivery.full === null ? "deltas" : "whole"
  emit({ event: "update-planned", image, from: record.version, by, sealedBytes: options.dryRun ? 0 : delivery.sealedBytes })
  const index = layerOf(manifest, "index")
  const store = await LayerStore.open(await stageFor(parts, delivery.sealedBytes, record.target, options.stage))
  const opened: OpenableLayer[] = []
  const open = async (layers: readonly Layer[]): Promise<OpenableLayer[]> => {
    const some = await openLayers(parts, { manifest, layers, identityOf }, store)
    opened.push(...some.filter((one) => !opened.includes(one)))
    return some
  }
  const unpacked = member.home.path("overrides")
  try {
    const overrideSessions = await open(overrideLayers)
    if (overrideSessions.length > 0) await whenAllComplete(parts, overrideSessions, 0)
    const overrides = await unpackOverrides(overrideSessions, unpacked, { signal: parts.signal })
    if (options.dryRun) {
      const to = overrides.over(await fetchIndex(parts, manifest, identityOf(index)))
      tellPlan(parts, plannedFor(reading, { target: record.target, from, to, local: options.local }))
      return record
    }
    const deltas = await open(delivery.deltas)
    const full = delivery.full === null ? null : ((await open([delivery.full]))[0] ?? null)
    await whenAllComplete(parts, full === null ? deltas : [full, ...deltas], 0)
    const to = await newIndex(parts, {
      found,
      held: { index: held, sha256: record.indexSha256 },
      deltas: delivery.full === null ? deltas : null,
      identityOf,
    })
    const laid = overrides.over(to.index)
    const laidSha256 = laid === to.index ? to.sha256 : await holdIndex(member.home, encodeIndex(laid.entries()))
    const planned = plannedFor(reading, { target: record.target, from, to: laid, local: options.local })
    tellPlan(parts, planned)
    const next = { version: manifest.version, indexInfohash: index.infohash, indexSha256: to.sha256, laidSha256 }
    let done = record
    // What was there before the last update is kept: there was none now.
    if (isThere(planned) && next.version === record.version && laidSha256 === record.laidSha256)
      emit({ event: "good", atMs: member.clock.nowMs(), entries: manifest.entryCount })
    else {
      const scripts = await takeScripts(parts, { manifest, identityOf, options, action: "update", target: record.target }, store)
      opened.push(...scripts.layers)
      await scripts.run("before")
      const contents: Contents = {
        deltas,
        full,
        others: overrides.contents,
        async whole() {
          const { full: base, deltas: all } = freshDelivery(manifest)
          const whole = await open(base === null ? all : [base, ...all])
          emit({ event: "waiting", detail: "what was changed in the tree is in no difference: the whole image is fetched for it" })
          await whenAllComplete(parts, whole, 0)
          return { full: whole[0] ?? null, deltas: whole.slice(1) }
        },
      }
      done = await commit(parts, { act: "update", record: { ...record, host }, planned, next, indexBytes: to.bytes, contents })
      await rm(unpacked, { recursive: true, force: true })
      await scripts.run("after")
    }
    const sessions = opened.map(({ session }) => session)
    for (const { pieces } of sessions) await pieces.sync()
    const left = await seedUntil(parts, sessions, { until: options.seedUntil, rule: options.usefulness, sinceMs: member.clock.nowMs() })
    for (const session of sessions) await session.close()
    emit({ event: "left", atMs: member.clock.nowMs(), ...left })
    if (options.seedUntil === "useful" && !parts.signal.aborted) for (const { torrent } of sessions) await store.remove(torrent.infohash)
    return done
  } catch (error) {
    if (parts.signal.aborted && !(error instanceof GridError && error.code === "TREE_DIFFERS"))
      throw new GridError("INTERRUPTED", "the tree is as it was, or the same command goes on with it", { cause: error })
    throw error
  } finally {
    await rm(unpacked, { recursive: true, force: true })
    for (const { layer } of opened) await member.swarm.session(layer.infohash)?.close()
    await store.close()
  }
}

export type RollbackParts = Omit<UpdateParts, "member"> & {
  readonly home: UpdateParts["member"]["home"]
  readonly clock: UpdateParts["member"]["clock"]
}

/** Back to what the tree was before the last update, from what that kept; needs no network. @throws {GridError} TARGET_UNSUITABLE where nothing was kept */
export async function rollbackTarget(
  parts: RollbackParts,
  options: Pick<UpdateOptions, "target" | "local" | "dryRun">,
): Promise<DeploymentRecord> {
  const { home, emit } = parts
  const { record, finished } = await settle(parts, options.target)
  // What was cut off was a way back itself: it is done now.
  if (finished === "rollback") return record
  const { update } = record
  if (update === null)
    throw new GridError(
      "TARGET_UNSUITABLE",
      `nothing is kept of what ${record.target} was before ${record.version}; deploy the version that you want`,
    )
  const [from, to] = [await requireIndex(home, record.expectedSha256, record), await requireIndex(home, update.expectedSha256, update)]
  const work = join(record.target, WORK_DIRECTORY, update.id)
  emit({ event: "update-planned", image: `${record.name}:${update.version}`, from: record.version, by: "what was kept", sealedBytes: 0 })
  const planned = plannedFor(await readTree(parts, { record, from, local: options.local, exclude: [] }), {
    target: record.target,
    from,
    to,
    local: options.local,
  })
  tellPlan(parts, planned)
  if (options.dryRun) return record
  const kept = keptContents(await readSteps(join(work, "steps")), to.entries())
  const aside: ContentSource = (digest) => {
    const at = kept.get(digest)
    return at === undefined ? null : pathIn(join(work, "old"), at)
  }
  const { version, indexInfohash, indexSha256, laidSha256 } = update
  const contents: Contents = { deltas: [], full: null, others: aside, whole: null }
  return commit(parts, {
    act: "rollback",
    record,
    planned,
    next: { version, indexInfohash, indexSha256, laidSha256 },
    indexBytes: null,
    contents,
  })
}

type LocalParts = {
  readonly home: RollbackParts["home"]
  readonly clock: RollbackParts["clock"]
  readonly signal: AbortSignal
  readonly emit: (event: UpdateEvent) => void
}
type AnyParts = UpdateParts | RollbackParts

function localParts(parts: AnyParts): LocalParts {
  const { home, clock } = "member" in parts ? parts.member : parts
  return { home, clock, signal: parts.signal, emit: parts.emit }
}

type Settled = {
  readonly record: DeploymentRecord
  /** What was cut off and is done now. */
  readonly finished: "update" | "rollback" | null
}

/** The record of a tree that is good; an update that was cut off is finished first. @throws {GridError} TARGET_UNSUITABLE, SOURCE_MISSING */
async function settle(parts: AnyParts, target: string): Promise<Settled> {
  const { home, emit } = localParts(parts)
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

/** Deltas, or the whole where that is shorter or nothing leads here. */
function cheapest(manifest: Manifest, { version, indexSha256 }: DeploymentRecord): Delivery {
  const whole = freshDelivery(manifest)
  const deltas = deltaDelivery(manifest, { version, indexSha256 })
  return deltas !== null && deltas.sealedBytes <= whole.sealedBytes ? deltas : whole
}

async function requireIndex(home: LocalParts["home"], digest: string, { version }: { readonly version: string }): Promise<TreeIndex> {
  const index = await heldIndex(home, digest)
  if (index !== null) return index
  throw new GridError("STATE_DAMAGED", `${home.directory} has lost the index of the tree as it was at ${version}; deploy it anew`)
}

async function indexOfRecord(parts: UpdateParts, record: DeploymentRecord): Promise<TreeIndex> {
  const { member, signal } = parts
  const held = await heldIndex(member.home, record.indexSha256)
  if (held !== null) return held
  const found = findImage(member.images, imageQuery(`${nameOf(record, member.home.site)}:${record.version}`), { retired: "show" })
  const layer = layerOf(found.manifest, "index")
  const torrent = await member.layers.torrent(layer.infohash)
  const identity = identitiesOf(found, member)(layer)
  if (torrent === null || !(await member.layers.isWhole(layer.infohash))) return fetchIndex(parts, found.manifest, identity)
  const pieces = await member.layers.pieces(torrent)
  return openIndex({ torrent, pieces, whenHeld: async () => {}, moveWindow: () => {} }, layer, identity, signal)
}

function nameOf({ site, name }: DeploymentRecord, own: string): string {
  return site === own ? name : `${site}/${name}`
}

/** By the edits of the deltas, or as it is published. */
async function newIndex(
  parts: UpdateParts,
  how: {
    readonly found: FoundImage
    /** Of the version that is there, as it was published. */
    readonly held: DigestedIndex
    readonly deltas: readonly OpenableLayer[] | null
    readonly identityOf: (layer: Layer) => string
  },
): Promise<DigestedIndex & { readonly bytes: Buffer }> {
  const { manifest } = how.found
  const layer = layerOf(manifest, "index")
  if (how.deltas === null) {
    const index = await fetchIndex(parts, manifest, how.identityOf(layer))
    return { index, sha256: layer.contentSha256, bytes: encodeIndex(index.entries()) }
  }
  const after = await indexAfter(how.deltas, how.held, parts.signal)
  if (after.sha256 !== layer.contentSha256)
    throw new GridError(
      "INDEX_INVALID",
      `the deltas lead to ${after.sha256}, and ${formatImageRef(refOf(manifest))} is ${layer.contentSha256}`,
    )
  return { ...after, bytes: after.bytes ?? encodeIndex(after.index.entries()) }
}

type Planned = {
  readonly plan: UpdatePlan
  readonly actual: TreeIndex
  readonly excluded: readonly string[]
  readonly changes: Iterable<Change>
}

type Reading = { readonly actual: TreeIndex; readonly excluded: readonly string[]; readonly out: LeftOut }

/** Reads the whole tree. @throws {GridError} TREE_CHANGED before anything else is done, where local changes are not to be touched */
async function readTree(
  parts: AnyParts,
  {
    record,
    from,
    local,
    exclude,
  }: { readonly record: DeploymentRecord; readonly from: TreeIndex } & Pick<UpdateOptions, "local" | "exclude">,
): Promise<Reading> {
  const { signal, emit } = localParts(parts)
  const excluded = [...new Set([...record.excluded, ...exclude])]
  const out = await leftOut(record.target, excluded, from.entries())
  requireOneFileSystem(record.target, excluded, from.entries())
  const entries: Entry[] = []
  let nextBytes = 0
  await captureTree({
    directory: record.target,
    leftOut: out.paths,
    onEntry: (entry) => out.has(entry.path) || entries.push(entry),
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

function plannedFor(
  { actual, excluded, out }: Reading,
  { target, from, to, local }: { readonly target: string; readonly from: TreeIndex; readonly to: TreeIndex; readonly local: LocalPolicy },
): Planned {
  requireOneFileSystem(target, excluded, to.entries())
  const plan = planUpdate({ from: from.entries(), actual: actual.entries(), to: to.entries() }, local, out.has)
  return { plan, actual, excluded, changes: changesBetween(actual.entries(), decodeIndex(plan.expected).entries()) }
}

/** Whether the tree is what it is to be, but for the times of directories. */
function isThere({ plan, actual }: Planned): boolean {
  return localChanges(actual.entries(), decodeIndex(plan.expected).entries(), () => false).length === 0
}

function tellPlan(parts: AnyParts, { plan, changes }: Planned): void {
  const { emit } = localParts(parts)
  for (const { path, what } of plan.local.slice(0, LOCAL_SHOWN)) emit({ event: "local-change", path: printable(path), what })
  for (const { path, before, after } of changes) {
    const what = before === null ? "added" : after === null ? "removed" : "changed"
    emit({ event: "change", path: printable(path), what, bytes: after?.kind === "file" ? after.size : 0 })
  }
  emit({ event: "changes", steps: plan.steps.length, madeBytes: plan.madeBytes, localChanges: plan.local.length })
}

type Commitment = {
  readonly act: "update" | "rollback"
  readonly record: DeploymentRecord
  readonly planned: Planned
  readonly next: {
    readonly version: string
    readonly indexInfohash: Layer["infohash"]
    readonly indexSha256: Sha256
    readonly laidSha256: Sha256
  }
  /** Of the image's index; null where it is held. */
  readonly indexBytes: Buffer | null
  readonly contents: Contents
}

/** Where contents come from that the tree has not. */
type Contents = {
  readonly deltas: readonly OpenableLayer[]
  readonly full: OpenableLayer | null
  /** Overrides, or what an earlier update kept. */
  readonly others: ContentSource
  /** Asked for where something is still missing: deltas bring nothing that the version they are of has, and a tree may have lost that. */
  readonly whole: (() => Promise<{ readonly full: OpenableLayer | null; readonly deltas: readonly OpenableLayer[] }>) | null
}

/** Makes what is new beside the tree, and then takes the steps. */
async function commit(parts: AnyParts, { act, record, planned, next, indexBytes, contents: from }: Commitment): Promise<DeploymentRecord> {
  const { home, clock, signal, emit } = localParts(parts)
  const { plan, actual, excluded } = planned
  const id = randomBytes(8).toString("hex")
  const top = join(record.target, WORK_DIRECTORY)
  const work = join(top, id)
  await makeWorkDirectory(record.target, actual)
  for (const name of await readdir(top)) if (name !== record.update?.id) await rm(join(top, name), { recursive: true, force: true })
  await requireRoom(record.target, plan, from.full?.layer.contentBytes ?? 0)
  try {
    await mkdir(join(work, "new"), { recursive: true, mode: 0o700 })
    const there = filesOf(record.target, actual)
    let whole = from.full === null ? null : await unpackWhole(from.full, join(work, "whole"), signal)
    const contents = await StagedContents.open(
      join(work, "contents"),
      (digest) => from.others(digest) ?? there(digest) ?? whole?.(digest) ?? null,
    )
    await takeContents(from.deltas, contents, signal)
    const isMissing = () => plan.made.some((entry) => entry.kind === "file" && entry.size > 0 && contents.at(entry.sha256) === null)
    if (isMissing() && whole === null && from.whole !== null) {
      const { full, deltas } = await from.whole()
      await requireRoom(record.target, plan, full?.layer.contentBytes ?? 0)
      whole = full === null ? null : await unpackWhole(full, join(work, "whole"), signal)
      await takeContents(deltas, contents, signal)
    }
    let last = 0
    await makeTree({
      directory: join(work, "new"),
      entries: plan.made,
      contents: contents.at,
      signal,
      onProgress: ({ bytes }) => {
        if (bytes < last + 8 * 1024 * 1024) return
        last = bytes
        emit({ event: "progress", phase: "unpack", bytes, totalBytes: plan.madeBytes, bytesPerSecond: 0 })
      },
    })
    for (const name of ["contents", "whole"]) await rm(join(work, name), { recursive: true, force: true })
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
async function finish(parts: AnyParts, record: DeploymentRecord): Promise<DeploymentRecord> {
  const { home, clock, signal, emit } = localParts(parts)
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
  const expected = await requireIndex(home, update.expectedSha256, update)
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

/** The tree of a full layer, for its contents: where no delta leads to what is wanted, or what a patch is of was changed. */
async function unpackWhole(full: OpenableLayer, directory: string, signal: AbortSignal): Promise<ContentSource> {
  await mkdir(directory, { mode: 0o700 })
  const entries: Entry[] = []
  const { session, layer, identity } = full
  const content = openLayer(piecesInOrder(session, signal), { identity, layer })
  await unpackTree(content, { target: directory, signal, onEntry: (entry) => entries.push(entry) })
  return filesOf(directory, decodeIndex(encodeIndex(entries)))
}

/** Contents that came and the files made of them are there at the same time. */
async function requireRoom(target: string, { madeBytes }: UpdatePlan, wholeBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(target)
  const neededBytes = 2 * madeBytes + wholeBytes + SPARE_BYTES
  if (bavail * bsize < neededBytes)
    throw new GridError(
      "DISK_FULL",
      `the update makes files of ${madeBytes} bytes beside the old ones and needs ${neededBytes}; ${target} has ${bavail * bsize}. Nothing was changed`,
    )
}
