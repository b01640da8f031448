/**
 * Deploys one image to one target: resolve, open the grant, download, open, unpack as the pieces arrive, verify, mark good, seed.
 * Killed at any moment and started again it goes on with the pieces that it has; a target is good only after it was verified.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdir, realpath, rm } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { printable } from "#image/byte-string.ts"
import { openLayer } from "#image/open-layer.ts"
import { clearTree, inspectTarget } from "#image/target.ts"
import { unpackTree, type DevicePolicy } from "#image/unpack.ts"
import { decodeIndex, ownershipNeeds, type TreeIndex } from "#image/tree-index.ts"
import { verifyTree, type Difference } from "#image/verify-tree.ts"
import { layerOf, refOf, type Layer, type Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, type ImageQuery } from "#core/identifiers.ts"
import { pieceBytesAt } from "#core/torrent.ts"
import { findImage, requireFresh } from "#member/image-sources.ts"
import { openLayerSession } from "#member/layer-session.ts"
import type { Member } from "#member/member.ts"
import { LayerStore } from "#store/layer-store.ts"
import { heldBytes } from "#store/piece-set.ts"
import { chooseStaging, claimStage, stagingPlaces } from "#store/staging.ts"
import type { TorrentSession } from "#swarm/swarm.ts"
import { readDeployment, saveDeployment, type DeploymentRecord } from "./deployment-record.ts"
import { requireCurrentPublisher, requireCurrentTagger } from "#trust/catalog.ts"
import { requireImageIdentity } from "./open-image.ts"
import { seedUntil } from "./seed-until.ts"
import type { SeedUntil, UsefulnessRule } from "./usefulness.ts"

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
      readonly stage: string
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
  | { readonly event: "good"; readonly atMs: number; readonly entries: number }
  | { readonly event: "left"; readonly atMs: number; readonly uploadedBytes: number; readonly why: string }

export type DeployOptions = {
  readonly query: ImageQuery
  readonly target: string
  readonly stage: string | null
  readonly seedUntil: SeedUntil
  readonly usefulness: UsefulnessRule
  /** Devices are made if this is left out. */
  readonly devices?: DevicePolicy
}
export type DeployParts = { readonly member: Member; readonly signal: AbortSignal; readonly emit: (event: DeployEvent) => void }

const PROGRESS_INTERVAL_MS = 500
/** How long a client goes on looking for somebody who has a layer. */
const SEEDERS_WAIT_MS = 10 * 60_000
const SEEDERS_RETRY_MS = 2_000
const DIFFERENCES_SHOWN = 10

/** @throws {GridError} IMAGE_UNKNOWN, GRANT_MISSING, DEVICE_FORBIDDEN, TARGET_*, DISK_FULL, SEEDERS_MISSING, CATALOG_EXPIRED, TREE_DIFFERS, INTERRUPTED */
export async function deployImage(parts: DeployParts, options: DeployOptions): Promise<DeploymentRecord> {
  const { member, emit, signal } = parts
  const image = findImage(member.images, options.query)
  const { manifest, tag } = image
  const catalog = requireFresh(image.catalog, member.clock.nowMs())
  requireCurrentPublisher(catalog, refOf(manifest), member.clock.nowMs())
  if (tag !== null) requireCurrentTagger(catalog, manifest.name, member.clock.nowMs())
  const identity = requireImageIdentity(image, { site: member.home.site, secrets: member.secrets })
  const full = layerOf(manifest, "full")

  const target = await claimTarget(parts, manifest, options)
  const index = await fetchIndex(parts, manifest, identity)
  if (options.devices === "refuse") requireNoDevice(index, manifest)
  const needs = ownershipNeeds(index)
  if (needs.root && process.getuid?.() !== 0)
    throw new GridError(
      "NOT_PERMITTED",
      `${formatImageRef(refOf(manifest))} needs root to unpack (${needs.why ?? "owners"}); run the same command as root`,
    )

  const store = await LayerStore.open(target.record.stage)
  try {
    emit({
      event: "resolved",
      site: manifest.site,
      name: manifest.name,
      version: manifest.version,
      tag,
      sealedBytes: full.sealedBytes,
      contentBytes: full.contentBytes,
      stage: target.record.stage,
    })
    const session = await patiently(parts, () => openLayerSession(member, { manifest, layer: full }, store, signal))
    // Nothing came yet: a session takes its first piece when this function waits next.
    const heldBefore = heldBytes(session.torrent, session.pieces)
    emit({ event: "download-started", atMs: member.clock.nowMs(), heldBytes: heldBefore })
    await saveDeployment(member.home, target.record)
    if (target.leftover) await clearTree(target.record.target)
    await downloadAndUnpack(parts, { session, full, identity, heldBefore }, target.record.target, options.devices)
    const entries = await requireGood(parts, index, target.record.target)
    await flushFileSystem(target.record.target)
    const good: DeploymentRecord = { ...target.record, state: "good", changedAtMs: member.clock.nowMs() }
    await saveDeployment(member.home, good)
    emit({ event: "good", atMs: member.clock.nowMs(), entries })
    await session.pieces.sync()
    const sinceMs = member.clock.nowMs()
    const left = await seedUntil(parts, [session], { until: options.seedUntil, rule: options.usefulness, sinceMs })
    await session.close()
    emit({ event: "left", atMs: member.clock.nowMs(), ...left })
    if (options.seedUntil === "useful" && !signal.aborted) await store.remove(full.infohash)
    return good
  } catch (error) {
    if (signal.aborted && !(error instanceof GridError && error.code === "TREE_DIFFERS"))
      throw new GridError("INTERRUPTED", "the target is not good yet; the same command goes on with what is staged", { cause: error })
    throw error
  } finally {
    await member.swarm.session(full.infohash)?.close()
    await store.close()
    if (options.seedUntil === "useful" && (await store.infohashes()).length === 0 && options.stage === null)
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
    ours && earlier.fullInfohash === full.infohash && (options.stage === null || dirname(earlier.stage) === resolve(options.stage))
  const stage = begun ? earlier.stage : await stageFor(parts, full, wanted, options.stage)
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
    stage,
    state: "unpacking",
    changedAtMs: member.clock.nowMs(),
  }
  return { record, leftover: before.kind === "occupied" }
}

async function stageFor(parts: DeployParts, full: Layer, target: string, wanted: string | null): Promise<string> {
  const { directory } = chooseStaging(await stagingPlaces(target, wanted), full.sealedBytes)
  const stage = join(resolve(directory), `imagegrid-${parts.member.home.memberId.slice(0, 12)}`)
  await claimStage(stage)
  return stage
}

/** The index is small and lives in the home, so that `verify` needs no network. */
export async function fetchIndex(parts: DeployParts, manifest: Manifest, identity: string): Promise<TreeIndex> {
  const layer = layerOf(manifest, "index")
  const session = await patiently(parts, () => openLayerSession(parts.member, { manifest, layer }, parts.member.layers, parts.signal))
  await session.whenComplete(parts.signal)
  return openIndex(session, layer, identity, parts.signal)
}

export async function openIndex(
  session: Pick<TorrentSession, "torrent" | "pieces" | "whenHeld" | "moveWindow">,
  layer: Layer,
  identity: string,
  signal: AbortSignal,
): Promise<TreeIndex> {
  const chunks: Buffer[] = []
  for await (const chunk of openLayer(piecesInOrder(session, signal), { identity, layer })) chunks.push(chunk)
  return decodeIndex(Buffer.concat(chunks))
}

async function downloadAndUnpack(
  parts: DeployParts,
  layer: { readonly session: TorrentSession; readonly full: Layer; readonly identity: string; readonly heldBefore: number },
  target: string,
  devices: DevicePolicy = "make",
): Promise<void> {
  const { emit, member, signal } = parts
  const { session, full, identity, heldBefore } = layer
  let unpackedBytes = 0
  let downloaded = false
  let last = { atMs: member.clock.nowMs(), unpackedBytes: 0 }
  const report = () => {
    const now = session.statistics()
    if (!downloaded) {
      const bytes = Math.min(full.sealedBytes, now.heldPieces * session.torrent.pieceBytes)
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
  try {
    const content = openLayer(piecesInOrder(session, either), { identity, layer: full })
    const unpack = unpackTree(content, { target, devices, signal: either, onProgress: ({ bytes }) => (unpackedBytes = bytes) }).catch(
      (error: unknown) => {
        failed.abort(error)
        throw error
      },
    )
    await Promise.all([unpack, download])
  } finally {
    clearInterval(reporting)
    await Promise.allSettled([download])
  }
}

/** The sealed bytes from first to last, each piece as soon as it is held. */
async function* piecesInOrder(
  session: Pick<TorrentSession, "torrent" | "pieces" | "whenHeld" | "moveWindow">,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const { torrent, pieces } = session
  for (let piece = 0; piece < torrent.pieceCount; piece++) {
    session.moveWindow(piece)
    await session.whenHeld(piece, signal)
    const bytes = Buffer.allocUnsafe(pieceBytesAt(torrent, piece))
    await pieces.read(piece * torrent.pieceBytes, bytes.length, bytes)
    yield bytes
  }
}

/** @throws {GridError} TREE_DIFFERS, naming the first differences */
async function requireGood(parts: DeployParts, index: TreeIndex, directory: string): Promise<number> {
  const { emit, signal } = parts
  let lastMs = 0
  const { entries, differences, differenceCount } = await verifyTree({
    directory,
    index,
    signal,
    onProgress: ({ bytes, totalBytes }) => {
      const nowMs = parts.member.clock.nowMs()
      if (nowMs - lastMs < PROGRESS_INTERVAL_MS) return
      lastMs = nowMs
      emit({ event: "progress", phase: "verify", bytes, totalBytes, bytesPerSecond: 0 })
    },
  })
  if (differenceCount > 0)
    throw new GridError(
      "TREE_DIFFERS",
      `${directory} after unpacking: ${describeDifferences(differences, differenceCount)}. It was not marked good; repeat the command to unpack again`,
    )
  return entries
}

export function describeDifferences(differences: readonly Difference[], differenceCount: number): string {
  const shown = differences
    .slice(0, DIFFERENCES_SHOWN)
    .map(({ path, what, expected, found }) => `${path}: ${what} is ${found}, should be ${expected}`)
  const more = differenceCount - shown.length
  return shown.join("; ") + (more > 0 ? `; and ${more} more` : "")
}

/** Tries again while nobody who holds the layer is found, and says so. @throws {GridError} SEEDERS_MISSING in the end */
async function patiently<Result>(parts: DeployParts, attempt: () => Promise<Result>): Promise<Result> {
  const { member, signal, emit } = parts
  const untilMs = member.clock.nowMs() + SEEDERS_WAIT_MS
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      const missing = error instanceof GridError && error.code === "SEEDERS_MISSING"
      if (!missing || signal.aborted || member.clock.nowMs() >= untilMs) throw error
      emit({ event: "waiting", detail: `${error.detail}; trying again until ${new Date(untilMs).toISOString()}` })
      await new Promise((wake) => setTimeout(wake, SEEDERS_RETRY_MS))
    }
  }
}

/** Makes everything under `target` durable before it is called good. */
async function flushFileSystem(target: string): Promise<void> {
  const child = spawn("sync", ["--file-system", target], { stdio: "ignore" })
  const [code] = (await once(child, "close")) as [number | null]
  if (code !== 0)
    throw new GridError("EXTRACT_FAILED", `'sync --file-system ${target}' ended with ${code}; check the disk and repeat the command`)
}
