/** Compares a target with the signed index of the image that was deployed to it; needs no network. */
import { realpath } from "node:fs/promises"
import type { Entry } from "#image/entry.ts"
import { leftOut } from "#image/left-out.ts"
import type { TreeIndex } from "#image/tree-index.ts"
import type { Reading } from "#image/scan-tree.ts"
import { verifyTree, type Difference, type DifferenceKind, type Verification } from "#image/verify-tree.ts"
import { systemErrorCode, GridError } from "#core/errors.ts"
import { layerOf, type Manifest } from "#core/documents.ts"
import { imageQuery } from "#core/identifiers.ts"
import type { Clock } from "#core/clock.ts"
import type { Home } from "#member/home.ts"
import { FederatedCatalogs } from "#member/federated-catalogs.ts"
import { findImage, type FoundImage } from "#member/image-sources.ts"
import { silentLog } from "#member/log.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import { LayerStore } from "#store/layer-store.ts"
import { heldIndex } from "./held-indexes.ts"
import { openIndex, type DownloadParts } from "./layer-download.ts"
import { readDeployment, type DeploymentRecord } from "./deployment-record.ts"
import { requireImageIdentity } from "./open-image.ts"

export type VerifyParts = {
  readonly home: Home
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly onProgress: (progress: { readonly bytes: number; readonly totalBytes: number }) => void
}

export type Verdict = Verification & { readonly image: Pick<DeploymentRecord, "site" | "name" | "version"> }

const PROGRESS_INTERVAL_MS = 500
const DIFFERENCES_SHOWN = 10

type GoodParts = Pick<DownloadParts, "signal" | "emit"> & { readonly clock: Clock }

/** To the number of its entries. @throws {GridError} TREE_DIFFERS, naming the first differences */
export async function requireGood(
  parts: GoodParts,
  index: TreeIndex,
  directory: string,
  excluded: readonly string[],
  earlier?: Reading,
): Promise<number> {
  const { emit, signal, clock } = parts
  let lastMs = 0
  const { entries, differences, differenceCount } = await verifyTree({
    directory,
    index,
    leftOut: await leftOut(directory, excluded, index.entries()),
    passOver: passedOver(excluded),
    earlier,
    signal,
    onProgress: ({ bytes, totalBytes }) => {
      const nowMs = clock.nowMs()
      if (nowMs - lastMs < PROGRESS_INTERVAL_MS) return
      lastMs = nowMs
      emit({ event: "progress", phase: "verify", bytes, totalBytes, bytesPerSecond: 0 })
    },
  })
  // What was read early is no reason to refuse a tree.
  if (differenceCount > 0 && earlier !== undefined) return requireGood(parts, index, directory, excluded)
  if (differenceCount > 0)
    throw new GridError(
      "TREE_DIFFERS",
      `${directory} after unpacking: ${describeDifferences(differences, differenceCount)}. It was not marked good; repeat the command to unpack again`,
    )
  return entries
}

/** What is excluded may change at any time, and the time of the directory that it is in with it. */
function passedOver(excluded: readonly string[]): (entry: Entry, what: DifferenceKind) => boolean {
  return ({ kind }, what) => excluded.length > 0 && what === "mtime" && kind === "directory"
}

export function describeDifferences(differences: readonly Difference[], differenceCount: number): string {
  const shown = differences
    .slice(0, DIFFERENCES_SHOWN)
    .map(({ path, what, expected, found }) => `${path}: ${what} is ${found}, should be ${expected}`)
  const more = differenceCount - shown.length
  return shown.join("; ") + (more > 0 ? `; and ${more} more` : "")
}

/** @throws {GridError} TARGET_UNSUITABLE when this client never deployed there, SEEDERS_MISSING when the index is not held */
export async function verifyTarget(parts: VerifyParts, target: string): Promise<Verdict> {
  const { home, signal, onProgress } = parts
  const directory = await realTarget(target)
  const record = await readDeployment(home, directory)
  if (record === null)
    throw new GridError("TARGET_UNSUITABLE", `${directory} was not deployed from ${home.directory}; name the home that did`)
  const expected = await heldIndex(home, record.expectedSha256)
  const passOver = passedOver(record.excluded)
  if (expected !== null) {
    const out = await leftOut(directory, record.excluded, expected.entries())
    const seen = await verifyTree({ directory, index: expected, leftOut: out, passOver, signal, onProgress })
    return { image: record, ...seen }
  }
  const image = await imageOf(parts, record)
  const { manifest } = image
  const identity = requireImageIdentity(image, { site: home.site, secrets: await home.secrets() })
  const index = await indexOfHeldLayer(home, manifest, identity, signal)
  if (index === null)
    throw new GridError(
      "SEEDERS_MISSING",
      `the index of ${record.name}:${record.version} is not whole in ${home.directory}; repeat the deploy`,
    )
  const out = await leftOut(directory, record.excluded, index.entries())
  return { image: record, ...(await verifyTree({ directory, index, leftOut: out, passOver, signal, onProgress })) }
}

/** The index of an image whose layer this home keeps whole, else null. Needs no network, and not the home to itself. */
export async function indexOfHeldLayer(home: Home, manifest: Manifest, identity: string, signal: AbortSignal): Promise<TreeIndex | null> {
  const layer = layerOf(manifest, "index")
  await using layers = await LayerStore.open(home.path("layers"))
  const torrent = await layers.torrent(layer.infohash)
  if (torrent === null || !(await layers.isWhole(layer.infohash))) return null
  const pieces = await layers.pieces(torrent)
  // The store stays open until all is read.
  return await openIndex({ torrent, pieces, whenHeld: async () => {}, moveWindow: () => {} }, layer, identity, signal)
}

/** From what this home keeps. */
async function imageOf({ home, clock }: VerifyParts, { site, name, version }: DeploymentRecord): Promise<FoundImage> {
  const { catalog: own } = await storedCatalog(home, clock.nowMs())
  const federated = await FederatedCatalogs.open({ home, clock, log: silentLog, own: () => own })
  const of = site === home.site ? "" : `${site}/`
  const found = findImage({ own, federated }, imageQuery(`${of}${name}:${version}`), { retired: "show" })
  if (found.tag === null) return found
  throw new GridError(
    "IMAGE_UNKNOWN",
    `${of}${name}:${version}, which was deployed, went with its publisher, and is a tag now; deploy anew`,
  )
}

async function realTarget(target: string): Promise<string> {
  try {
    return await realpath(target)
  } catch (cause) {
    throw new GridError("SOURCE_MISSING", `${target} (${systemErrorCode(cause)}); name the directory that was deployed to`, { cause })
  }
}
