/** Brings a deployed tree to another version by what differs, and back. What an update takes away is kept in the target until the next one, and is what a rollback is made of. */
import { join } from "node:path"
import { refOf } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, imageQuery, type ImageQuery } from "#core/identifiers.ts"
import { pathIn, type ContentSource } from "#image/staged-tree.ts"
import { WORK_DIRECTORY } from "#image/target.ts"
import { keptContents, type LocalPolicy } from "#image/update-plan.ts"
import { findImage, requireFresh, type FoundImage } from "#member/image-sources.ts"
import { requireCurrentPublisher, requireCurrentTagger } from "#trust/catalog.ts"
import { commit } from "./change-tree.ts"
import type { DeploymentRecord } from "./deployment-record.ts"
import { requireIndex } from "./held-indexes.ts"
import { Incoming, nameOf, type Contents } from "./incoming.ts"
import type { DownloadParts } from "./layer-download.ts"
import { takeScripts } from "./scripts.ts"
import { seedUntil } from "./seed-until.ts"
import { isThere, plannedFor, readTree, settle, tellPlan } from "./settled-tree.ts"
import { readSteps } from "./step-file.ts"
import type { LocalParts, UpdateEvent } from "./update-events.ts"
import type { SeedUntil, UsefulnessRule } from "./usefulness.ts"

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

/** @throws {GridError} TREE_CHANGED, TARGET_UNSUITABLE, DISK_FULL, TREE_DIFFERS, and what a deploy refuses */
export async function updateTarget(parts: UpdateParts, options: UpdateOptions): Promise<DeploymentRecord> {
  const { member, emit, signal } = parts
  const local: LocalParts = { home: member.home, clock: member.clock, signal, emit }
  const { record } = await settle(local, options.target)
  const found = foundFor(parts, record, options.query)
  const { manifest } = found
  const host = options.host ?? record.host
  await using incoming = await Incoming.open(parts, { found, record, host, stage: options.stage })
  try {
    const { from, delivery } = incoming
    const reading = await readTree(local, { record, from, local: options.local, exclude: [...manifest.exclude, ...options.exclude] })
    emit({
      event: "update-planned",
      image: formatImageRef(refOf(manifest)),
      from: record.version,
      by: delivery.full === null ? "deltas" : "whole",
      sealedBytes: options.dryRun ? 0 : delivery.sealedBytes,
    })
    const plan = { target: record.target, from, local: options.local }
    if (options.dryRun) {
      tellPlan(local, plannedFor(reading, { ...plan, to: await incoming.preview() }))
      return record
    }
    const { next, laid, indexBytes, contents } = await incoming.arrive()
    const planned = plannedFor(reading, { ...plan, to: laid })
    tellPlan(local, planned)
    let done = record
    // What was there before the last update is kept: there was none now.
    if (isThere(planned) && next.version === record.version && next.laidSha256 === record.laidSha256)
      emit({ event: "good", atMs: member.clock.nowMs(), entries: manifest.entryCount })
    else {
      const about = { manifest, identityOf: incoming.identityOf, options, action: "update", target: record.target } as const
      const scripts = await takeScripts(parts, about, incoming.store)
      incoming.opened.push(...scripts.layers)
      await scripts.run("before")
      done = await commit(local, { act: "update", record: { ...record, host }, planned, next, indexBytes, contents })
      await scripts.run("after")
    }
    await seedAndLeave(parts, incoming, options)
    return done
  } catch (error) {
    if (signal.aborted && !(error instanceof GridError && error.code === "TREE_DIFFERS"))
      throw new GridError("INTERRUPTED", "the tree is as it was, or the same command goes on with it", { cause: error })
    throw error
  }
}

/** The image to bring a tree to: the newest version of what is there where none is named. @throws {GridError} IMAGE_UNKNOWN, TARGET_UNSUITABLE, CATALOG_EXPIRED */
export function foundFor({ member }: DownloadParts, record: DeploymentRecord, query: ImageQuery | null): FoundImage {
  const found = findImage(member.images, query ?? imageQuery(nameOf(record, member.home.site)))
  const { manifest } = found
  const catalog = requireFresh(found.catalog, member.clock.nowMs())
  requireCurrentPublisher(catalog, refOf(manifest), member.clock.nowMs())
  if (found.tag !== null) requireCurrentTagger(catalog, manifest.name, member.clock.nowMs())
  if (manifest.site !== record.site || manifest.name !== record.name)
    throw new GridError(
      "TARGET_UNSUITABLE",
      `${record.target} holds ${record.name}, and ${manifest.name} is another image; deploy it to an empty directory`,
    )
  return found
}

/** Passes on what came while that is useful, and removes it once it is not. */
export async function seedAndLeave(
  parts: UpdateParts,
  { opened, store }: Incoming,
  options: { readonly seedUntil: SeedUntil; readonly usefulness: UsefulnessRule },
): Promise<void> {
  const { member, emit, signal } = parts
  const sessions = opened.map(({ session }) => session)
  for (const { pieces } of sessions) await pieces.sync()
  const left = await seedUntil(parts, sessions, { until: options.seedUntil, rule: options.usefulness, sinceMs: member.clock.nowMs() })
  for (const session of sessions) await session.close()
  emit({ event: "left", atMs: member.clock.nowMs(), ...left })
  if (options.seedUntil === "useful" && !signal.aborted) for (const { torrent } of sessions) await store.remove(torrent.infohash)
}

/** Back to what the tree was before the last update, from what that kept; needs no network. @throws {GridError} TARGET_UNSUITABLE where nothing was kept */
export async function rollbackTarget(
  parts: LocalParts,
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
  const [from, to] = [
    await requireIndex(home, record.expectedSha256, record.version),
    await requireIndex(home, update.expectedSha256, update.version),
  ]
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
