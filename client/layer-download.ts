/** What a deploy and an update share: layers that come, are opened as they come, and are made durable. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { openLineage } from "#crypto/lineage.ts"
import { openLayer } from "#image/open-layer.ts"
import { decodeIndex, type TreeIndex } from "#image/tree-index.ts"
import { layerOf, refOf, type Layer, type Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { pieceBytesAt } from "#core/torrent.ts"
import { versionOf } from "#core/versions.ts"
import type { FoundImage } from "#member/image-sources.ts"
import { openLayerSession } from "#member/layer-session.ts"
import type { Member } from "#member/member.ts"
import type { LayerPlace } from "#store/layer-store.ts"
import { heldBytes } from "#store/piece-set.ts"
import type { TorrentSession } from "#swarm/swarm.ts"
import type { DeployEvent } from "./deploy.ts"
import { requireImageIdentity } from "./open-image.ts"

export type DownloadParts = { readonly member: Member; readonly signal: AbortSignal; readonly emit: (event: DeployEvent) => void }
/** The sealed bytes of a layer, held or on their way. */
export type SealedPieces = Pick<TorrentSession, "torrent" | "pieces" | "whenHeld" | "moveWindow">
export type LayerOnItsWay = { readonly layer: Layer; readonly session: TorrentSession }
export type OpenableLayer = LayerOnItsWay & { readonly identity: string }

const PROGRESS_INTERVAL_MS = 500
/** How long a client goes on looking for somebody who has a layer. */
const SEEDERS_WAIT_MS = 10 * 60_000
const SEEDERS_RETRY_MS = 2_000

/** What opens each layer of an image: its own identity, or that of a version that it was made from. @throws {GridError} GRANT_MISSING, SEALED_INVALID */
export function identitiesOf(image: FoundImage, member: Member): (layer: Layer) => string {
  const { manifest } = image
  const identity = requireImageIdentity(image, { site: member.home.site, secrets: member.secrets })
  const earlier =
    manifest.lineage === null ? [] : openLineage({ site: manifest.site, ref: refOf(manifest), identity }, manifest.lineage.sealed)
  const identities = new Map([...earlier.map((one) => [one.version, one.identity] as const), [manifest.version, identity]])
  return (layer) => {
    const found = identities.get(versionOf(manifest, layer))
    if (found !== undefined) return found
    throw new GridError("GRANT_MISSING", `what opens ${versionOf(manifest, layer)} is not with ${manifest.name}:${manifest.version}`)
  }
}

/** Tries again while nobody who holds the layer is found, and says so. @throws {GridError} SEEDERS_MISSING in the end */
export async function openPatiently(
  parts: DownloadParts,
  image: { readonly manifest: Manifest; readonly layer: Layer },
  store: LayerPlace,
): Promise<TorrentSession> {
  const { member, signal, emit } = parts
  const untilMs = member.clock.nowMs() + SEEDERS_WAIT_MS
  for (;;) {
    try {
      return await openLayerSession(member, image, store, signal)
    } catch (error) {
      const missing = error instanceof GridError && error.code === "SEEDERS_MISSING"
      if (!missing || signal.aborted || member.clock.nowMs() >= untilMs) throw error
      emit({ event: "waiting", detail: `${error.detail}; trying again until ${new Date(untilMs).toISOString()}` })
      await new Promise((wake) => setTimeout(wake, SEEDERS_RETRY_MS))
    }
  }
}

/** Sessions of layers, in their order. */
export async function openLayers(
  parts: DownloadParts,
  image: { readonly manifest: Manifest; readonly layers: readonly Layer[]; readonly identityOf: (layer: Layer) => string },
  store: LayerPlace,
): Promise<OpenableLayer[]> {
  const { manifest, layers, identityOf } = image
  const opened: OpenableLayer[] = []
  for (const layer of layers)
    opened.push({ layer, identity: identityOf(layer), session: await openPatiently(parts, { manifest, layer }, store) })
  return opened
}

/** The index is small and lives in the home, so that `verify` needs no network. */
export async function fetchIndex(parts: DownloadParts, manifest: Manifest, identity: string): Promise<TreeIndex> {
  const layer = layerOf(manifest, "index")
  const session = await openPatiently(parts, { manifest, layer }, parts.member.layers)
  await session.whenComplete(parts.signal)
  return openIndex(session, layer, identity, parts.signal)
}

export async function openIndex(sealed: SealedPieces, layer: Layer, identity: string, signal: AbortSignal): Promise<TreeIndex> {
  const chunks: Buffer[] = []
  for await (const chunk of openLayer(piecesInOrder(sealed, signal), { identity, layer })) chunks.push(chunk)
  return decodeIndex(Buffer.concat(chunks))
}

/** The sealed bytes from first to last, each piece as soon as it is held. They are only lent: the next piece comes into the same buffer. */
export async function* piecesInOrder(sealed: SealedPieces, signal: AbortSignal): AsyncGenerator<Buffer> {
  const { torrent, pieces } = sealed
  const buffer = Buffer.allocUnsafeSlow(Math.min(torrent.pieceBytes, torrent.contentBytes))
  for (let piece = 0; piece < torrent.pieceCount; piece++) {
    sealed.moveWindow(piece)
    await sealed.whenHeld(piece, signal)
    const bytes = buffer.subarray(0, pieceBytesAt(torrent, piece))
    await pieces.read(piece * torrent.pieceBytes, bytes.length, bytes)
    yield bytes
  }
}

/** Resolves when all of them are whole; tells how far they are meanwhile, and what came from where in the end. */
export async function whenAllComplete(parts: DownloadParts, layers: readonly LayerOnItsWay[], heldBefore: number): Promise<void> {
  const { member, emit, signal } = parts
  const totalBytes = layers.reduce((sum, { layer }) => sum + layer.sealedBytes, 0)
  const report = () => {
    const all = layers.map(({ session }) => session.statistics())
    const bytes = layers.reduce(
      (sum, { session, layer }) => sum + Math.min(layer.sealedBytes, heldBytes(session.torrent, session.pieces)),
      0,
    )
    const bytesPerSecond = all.reduce((sum, one) => sum + one.downloadBytesPerSecond, 0)
    emit({ event: "progress", phase: "download", bytes, totalBytes, bytesPerSecond })
  }
  const reporting = setInterval(report, PROGRESS_INTERVAL_MS)
  try {
    await Promise.all(layers.map(({ session }) => session.whenComplete(signal)))
  } finally {
    clearInterval(reporting)
  }
  const all = layers.map(({ session }) => session.statistics())
  const sum = (of: "fromServersBytes" | "fromClientsBytes" | "duplicateBytes") => all.reduce((total, one) => total + one[of], 0)
  emit({
    event: "downloaded",
    atMs: member.clock.nowMs(),
    bytes: totalBytes,
    fromOrigins: sum("fromServersBytes"),
    fromClients: sum("fromClientsBytes"),
    heldBytes: heldBefore,
    duplicateBytes: sum("duplicateBytes"),
  })
}

/** Makes everything on the file system of `target` durable. */
export async function flushFileSystem(target: string): Promise<void> {
  const child = spawn("sync", ["--file-system", target], { stdio: "ignore" })
  const [code] = (await once(child, "close")) as [number | null]
  if (code !== 0)
    throw new GridError("EXTRACT_FAILED", `'sync --file-system ${target}' ended with ${code}; check the disk and repeat the command`)
}
