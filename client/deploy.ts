/**
 * Deploys one image to one target: resolve, open the grant, download, open, unpack as the pieces arrive, verify, mark good, seed.
 * Killed at any moment and started again it goes on with the pieces that it has; a target is good only after it was verified.
 */
import { hash } from "node:crypto"
import { mkdir, realpath, rm } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { printable } from "#image/byte-string.ts"
import type { Entry } from "#image/entry.ts"
import { openLayer } from "#image/open-layer.ts"
import { clearTree, inspectTarget } from "#image/target.ts"
import { ReadBehind } from "#image/read-behind.ts"
import type { Reading } from "#image/scan-tree.ts"
import { unpackTree, type DevicePolicy } from "#image/unpack.ts"
import { decodeIndex, encodeIndex, ownershipNeeds, type TreeIndex } from "#image/tree-index.ts"
import { layerOf, refOf, type Layer, type Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, type ImageQuery, type Sha256 } from "#core/identifiers.ts"
import { freshDelivery, versionOf } from "#core/versions.ts"
import { findImage, requireFresh } from "#member/image-sources.ts"
import { LayerStore } from "#store/layer-store.ts"
import { heldBytes } from "#store/piece-set.ts"
import { chooseStaging, claimStage, stagingPlaces } from "#store/staging.ts"
import { WindowLayerStore } from "#store/window-layer-store.ts"
import type { TorrentSession } from "#swarm/swarm.ts"
import { readDeployment, saveDeployment, type DeploymentRecord } from "./deployment-record.ts"
import { requireCurrentPublisher, requireCurrentTagger } from "#trust/catalog.ts"
import { layOver } from "./lay-over.ts"
import {
  fetchIndex,
  flushFileSystem,
  identitiesOf,
  openLayers,
  openPatiently,
  piecesInOrder,
  whenAllComplete,
  type DownloadParts,
} from "./layer-download.ts"
import { hostOf } from "./open-image.ts"
import { overridesFor, unpackOverrides } from "./overrides.ts"
import { scriptLayers, takeScripts, type ScriptEvent } from "./scripts.ts"
import { seedUntil } from "./seed-until.ts"
import type { DigestedIndex } from "./delta-chain.ts"
import { holdIndex } from "./held-indexes.ts"
import { forgetStage, leftWithNothingToSeed, NO_STAGE } from "./without-stage.ts"
import type { SeedUntil, UsefulnessRule } from "./usefulness.ts"
import { requireGood } from "./verify.ts"

export type DeployPhase = "download" | "unpack" | "verify" | "seed"
export type DeployEvent =
  | {
      readonly event: "resolved"
      readonly site: string
      readonly name: string
      readonly version: string
      /** The tag by which it was asked for. */
      readonly tag: string | null
      readonly sealedBytes: number
      readonly contentBytes: number
      /** Null where nothing is staged. */
      readonly stage: string | null
    }
  /** `heldBytes`: in whole pieces that an earlier run verified and made durable; they are not fetched again. */
  | { readonly event: "download-started"; readonly atMs: number; readonly heldBytes: number }
  | {
      readonly event: "progress"
      readonly phase: DeployPhase
      readonly bytes: number
      readonly totalBytes: number
      readonly bytesPerSecond: number
    }
  | { readonly event: "waiting"; readonly detail: string }
  | {
      readonly event: "downloaded"
      readonly atMs: number
      readonly bytes: number
      readonly fromOrigins: number
      readonly fromClients: number
      /** As in `download-started`: `heldBytes + fromOrigins + fromClients - duplicateBytes = bytes`, as long as no piece was corrupt. */
      readonly heldBytes: number
      /** Came twice and was not needed. */
      readonly duplicateBytes: number
    }
  | ScriptEvent
  | { readonly event: "good"; readonly atMs: number; readonly entries: number }
  | { readonly event: "left"; readonly atMs: number; readonly uploadedBytes: number; readonly why: string }

export type DeployOptions = {
  readonly query: ImageQuery
  readonly target: string
  readonly stage: string | null
  /** What is kept of the sealed bytes: all of them, staged, or no more than a window in memory. All, if this is left out. */
  readonly keep?: "all" | "window"
  readonly seedUntil: SeedUntil
  readonly usefulness: UsefulnessRule
  /** Devices are made if this is left out. */
  readonly devices?: DevicePolicy
  /** Its name, by which overrides are chosen. */
  readonly host: string
  /** Null: the image's scripts are not run. */
  readonly scripts: { readonly timeoutMs: number } | null
  /** Called as soon as the target is marked good. */
  readonly afterGood?: () => Promise<void>
}
export type DeployParts = DownloadParts

const PROGRESS_INTERVAL_MS = 500

/** @throws {GridError} IMAGE_UNKNOWN, GRANT_MISSING, DEVICE_FORBIDDEN, TARGET_*, DISK_FULL, SEEDERS_MISSING, CATALOG_EXPIRED, TREE_DIFFERS, INTERRUPTED */
export async function deployImage(parts: DeployParts, options: DeployOptions): Promise<DeploymentRecord> {
  const { member, emit, signal } = parts
  const image = findImage(member.images, options.query)
  const { manifest, tag } = image
  const catalog = requireFresh(image.catalog, member.clock.nowMs())
  requireCurrentPublisher(catalog, refOf(manifest), member.clock.nowMs())
  if (tag !== null) requireCurrentTagger(catalog, manifest.name, member.clock.nowMs())
  const identityOf = identitiesOf(image, member)
  const delivery = freshDelivery(manifest)
  const full = layerOf(manifest, "full")
  const overrideLayers = overridesFor(manifest, hostOf(image, member, options.host))

  const target = await claimTarget(parts, manifest, options)
  const index = await fetchIndex(parts, manifest, identityOf(layerOf(manifest, "index")))
  if (options.devices === "refuse") requireNoDevice(index, manifest)
  const needs = ownershipNeeds(index)
  if (needs.root && process.getuid?.() !== 0)
    throw new GridError(
      "NOT_PERMITTED",
      `${formatImageRef(refOf(manifest))} needs root to unpack (${needs.why ?? "owners"}); run the same command as root`,
    )

  const windowed = options.keep === "window"
  const store = windowed ? new WindowLayerStore() : await LayerStore.open(target.record.stage)
  // What is laid over the full layer is small beside it, and read when that is done: the home has room for it.
  const beside = windowed ? member.layers : store
  try {
    emit({
      event: "resolved",
      site: manifest.site,
      name: manifest.name,
      version: manifest.version,
      tag,
      sealedBytes: delivery.sealedBytes,
      contentBytes: full.contentBytes,
      stage: windowed ? null : target.record.stage,
    })
    const session = await openPatiently(parts, { manifest, layer: full }, store)
    // Nothing came yet: a session takes its first piece when this function waits next.
    const heldBefore = heldBytes(session.torrent, session.pieces)
    emit({ event: "download-started", atMs: member.clock.nowMs(), heldBytes: heldBefore })
    const scripts = await takeScripts(parts, { manifest, identityOf, options, action: "deploy", target: target.record.target }, beside)
    await scripts.run("before")
    await saveDeployment(member.home, target.record)
    if (target.leftover) await clearTree(target.record.target)
    const { entries, reading } = await downloadAndUnpack(
      parts,
      { session, full, identity: identityOf(full), heldBefore, isBase: delivery.deltas.length > 0 },
      target.record.target,
      options.devices,
    )
    const others = await openLayers(parts, { manifest, layers: [...delivery.deltas, ...overrideLayers], identityOf }, beside)
    let expected = index
    if (others.length > 0) {
      await whenAllComplete(parts, others, 0)
      const deltas = others.filter(({ layer }) => layer.kind === "delta")
      const from = deltas.length > 0 ? baseOf(manifest, full, entries).index : index
      const unpacked = member.home.path("overrides")
      const overrides = await unpackOverrides(
        others.filter(({ layer }) => layer.kind === "override"),
        unpacked,
        { devices: options.devices, signal },
      )
      expected = overrides.over(index)
      await layOver({ target: target.record.target, from, to: expected, deltas, overrides, devices: options.devices, signal })
      await rm(unpacked, { recursive: true, force: true })
    }
    const entryCount = await requireGood({ ...parts, clock: member.clock }, expected, target.record.target, [], reading)
    await flushFileSystem(target.record.target)
    const laidSha256 = expected === index ? target.record.indexSha256 : await holdIndex(member.home, encodeIndex(expected.entries()))
    const good: DeploymentRecord = {
      ...target.record,
      laidSha256,
      expectedSha256: laidSha256,
      state: "good",
      changedAtMs: member.clock.nowMs(),
    }
    await saveDeployment(member.home, good)
    await options.afterGood?.()
    emit({ event: "good", atMs: member.clock.nowMs(), entries: entryCount })
    await scripts.run("after")
    const sessions = [session, ...[...others, ...scripts.layers].map((layer) => layer.session)]
    for (const { pieces } of sessions) await pieces.sync()
    const sinceMs = member.clock.nowMs()
    const left = windowed
      ? leftWithNothingToSeed(session)
      : await seedUntil(parts, sessions, { until: options.seedUntil, rule: options.usefulness, sinceMs })
    for (const one of sessions) await one.close()
    emit({ event: "left", atMs: member.clock.nowMs(), ...left })
    if (windowed || (options.seedUntil === "useful" && !signal.aborted))
      for (const { torrent } of sessions) await (torrent.infohash === full.infohash ? store : beside).remove(torrent.infohash)
    return good
  } catch (error) {
    if (signal.aborted && !(error instanceof GridError && error.code === "TREE_DIFFERS")) {
      const how = windowed ? "begins again, since nothing is staged" : "goes on with what is staged"
      throw new GridError("INTERRUPTED", `the target is not good yet; the same command ${how}`, { cause: error })
    }
    throw error
  } finally {
    for (const { infohash } of [full, ...delivery.deltas, ...overrideLayers, ...scriptLayers(manifest)])
      await member.swarm.session(infohash)?.close()
    await store.close()
    if (!windowed && options.seedUntil === "useful" && (await store.infohashes()).length === 0 && options.stage === null)
      await rm(target.record.stage, { recursive: true, force: true })
  }
}

/** Asked before the layer is downloaded; the archive is looked at again as it is unpacked. @throws {GridError} DEVICE_FORBIDDEN */
function requireNoDevice(index: TreeIndex, manifest: Manifest): void {
  if (index.device === null) return
  throw new GridError(
    "DEVICE_FORBIDDEN",
    `${formatImageRef(refOf(manifest))} lists ${printable(index.device)}; deploy it without --no-devices if you trust its publisher with devices`,
  )
}

/** Checks that the target may be written to, and chooses where to stage. Changes nothing but to make a missing target. */
async function claimTarget(
  parts: DeployParts,
  manifest: Manifest,
  options: DeployOptions,
): Promise<{ readonly record: DeploymentRecord; readonly leftover: boolean }> {
  const { member } = parts
  const wanted = resolve(options.target)
  const before = await inspectTarget(wanted)
  const earlier = before.kind === "missing" ? null : await readDeployment(member.home, await realpath(wanted))
  const ours = earlier !== null && earlier.device === String(before.device) && earlier.inode === String(before.inode)
  if (before.kind === "occupied" && !(ours && earlier.state === "unpacking")) {
    const what = ours
      ? `it holds ${earlier.name}:${earlier.version}, good since ${new Date(earlier.changedAtMs).toISOString()}`
      : "it holds files that imagegrid did not put there"
    throw new GridError("TARGET_NOT_EMPTY", `${wanted}: ${what}; name an empty or new directory`)
  }
  const full = layerOf(manifest, "full")
  const begun =
    ours &&
    earlier.stage !== NO_STAGE &&
    earlier.fullInfohash === full.infohash &&
    (options.stage === null || dirname(earlier.stage) === resolve(options.stage))
  const windowed = options.keep === "window"
  if (windowed && begun) await forgetStage(earlier.stage, full)
  const stage = windowed
    ? NO_STAGE
    : begun
      ? earlier.stage
      : await stageFor(parts, freshDelivery(manifest).sealedBytes, wanted, options.stage)
  if (before.kind === "missing") await mkdir(wanted, { recursive: true })
  const { device, inode } = await inspectTarget(wanted)
  const record: DeploymentRecord = {
    format: "imagegrid-deployment-1",
    target: await realpath(wanted),
    device: String(device),
    inode: String(inode),
    site: manifest.site,
    name: manifest.name,
    version: manifest.version,
    fullInfohash: full.infohash,
    indexInfohash: layerOf(manifest, "index").infohash,
    indexSha256: layerOf(manifest, "index").contentSha256,
    laidSha256: layerOf(manifest, "index").contentSha256,
    expectedSha256: layerOf(manifest, "index").contentSha256,
    excluded: manifest.exclude,
    host: options.host,
    stage,
    state: "unpacking",
    changedAtMs: member.clock.nowMs(),
    update: null,
  }
  return { record, leftover: before.kind === "occupied" }
}

export async function stageFor(parts: DownloadParts, sealedBytes: number, target: string, wanted: string | null): Promise<string> {
  const { directory } = chooseStaging(await stagingPlaces(target, wanted), sealedBytes)
  const stage = join(resolve(directory), `imagegrid-${parts.member.home.memberId.slice(0, 12)}`)
  await claimStage(stage)
  return stage
}

/** The tree that the full layer made. @throws {GridError} INDEX_INVALID where it is not the one that the deltas are laid over */
function baseOf(manifest: Manifest, full: Layer, entries: readonly Entry[]): DigestedIndex {
  const bytes = encodeIndex(entries)
  const sha256 = hash("sha256", bytes) as Sha256
  const wanted = manifest.lineage?.versions.find(({ version }) => version === versionOf(manifest, full))?.indexSha256
  if (sha256 !== wanted)
    throw new GridError(
      "INDEX_INVALID",
      `the tree of ${versionOf(manifest, full)} is ${sha256}, and the lineage of ${manifest.version} says ${wanted}`,
    )
  return { index: decodeIndex(bytes), sha256 }
}

async function downloadAndUnpack(
  parts: DeployParts,
  layer: {
    readonly session: TorrentSession
    readonly full: Layer
    readonly identity: string
    readonly heldBefore: number
    /** Whether deltas are laid over it: then its entries are wanted. */
    readonly isBase: boolean
  },
  target: string,
  devices: DevicePolicy = "make",
): Promise<{ readonly entries: Entry[]; readonly reading: Reading }> {
  const { emit, member, signal } = parts
  const entries: Entry[] = []
  const onEntry = layer.isBase ? (entry: Entry) => entries.push(entry) : undefined
  const { session, full, identity, heldBefore } = layer
  let unpackedBytes = 0
  let downloaded = false
  let last = { atMs: member.clock.nowMs(), unpackedBytes: 0 }
  const report = () => {
    const now = session.statistics()
    if (!downloaded) {
      const bytes = Math.min(full.sealedBytes, now.hadPieces * session.torrent.pieceBytes)
      emit({ event: "progress", phase: "download", bytes, totalBytes: full.sealedBytes, bytesPerSecond: now.downloadBytesPerSecond })
      return
    }
    const nowMs = member.clock.nowMs()
    const bytesPerSecond = ((unpackedBytes - last.unpackedBytes) * 1000) / Math.max(1, nowMs - last.atMs)
    last = { atMs: nowMs, unpackedBytes }
    emit({ event: "progress", phase: "unpack", bytes: unpackedBytes, totalBytes: full.contentBytes, bytesPerSecond })
  }
  const reporting = setInterval(report, PROGRESS_INTERVAL_MS)
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const awaitDownload = async () => {
    await session.whenComplete(either)
    downloaded = true
    const now = session.statistics()
    const atMs = member.clock.nowMs()
    emit({
      event: "downloaded",
      atMs,
      bytes: full.sealedBytes,
      fromOrigins: now.fromServersBytes,
      fromClients: now.fromClientsBytes,
      heldBytes: heldBefore,
      duplicateBytes: now.duplicateBytes,
    })
  }
  const download = awaitDownload()
  const behind = new ReadBehind(target, either)
  try {
    const content = openLayer(piecesInOrder(session, either), { identity, layer: full })
    const unpack = unpackTree(content, {
      target,
      devices,
      signal: either,
      onEntry,
      onMade: (entry) => behind.made(entry),
      onProgress: ({ bytes }) => (unpackedBytes = bytes),
    }).catch((error: unknown) => {
      failed.abort(error)
      throw error
    })
    await Promise.all([unpack, download])
    return { entries, reading: await behind.end() }
  } finally {
    clearInterval(reporting)
    failed.abort()
    await Promise.allSettled([download])
  }
}
