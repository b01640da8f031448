/** directory -> the two sealed layers of an image. Either both files stand complete and synced, or neither is left. */
import { captureTree } from "./capture.ts"
import type { Entry } from "./entry.ts"
import { LayerSealer, type SealedLayer } from "./layer-sealer.ts"
import { requirePieceBytes } from "./piece-digests.ts"
import { IndexEncoder } from "./tree-index.ts"

export type { SealedLayer } from "./layer-sealer.ts"

export type SealedImage = {
  readonly entryCount: number
  /** Sockets in the tree, which no archive holds: they were left out. */
  readonly socketCount: number
  readonly full: SealedLayer
  readonly index: SealedLayer
}

export type SealProgress = {
  readonly phase: "sealing"
  readonly contentBytes: number
  readonly sealedBytes: number
  readonly entries: number
}

export type SealParts = {
  readonly directory: string
  /** Where the two files are written; on the file system of their final place, so that a rename takes them there. */
  readonly workDirectory: string
  /** The image's age recipient. */
  readonly recipient: string
  /** Length of the torrents' pieces; without it, by the size of the layer. */
  readonly pieceBytes?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: SealProgress) => void) | undefined
  readonly onEntry?: ((entry: Entry) => void) | undefined
}

/** Content bytes between two calls of `onProgress`. */
const PROGRESS_STEP_BYTES = 8 * 1024 * 1024

/**
 * @throws {GridError} SOURCE_MISSING, CAPTURE_FAILED, DISK_FULL, TOOL_MISSING, KEY_INVALID
 * @throws {RangeError} when `pieceBytes` is no piece length
 * @throws what `signal` gives as its reason
 */
export async function sealImage(parts: SealParts): Promise<SealedImage> {
  const pieceBytes = parts.pieceBytes ?? null
  if (pieceBytes !== null) requirePieceBytes(pieceBytes)
  const { recipient, workDirectory } = parts
  const full = await LayerSealer.create({ recipient, workDirectory, pieceBytes })
  let index: LayerSealer | null = null
  try {
    index = await LayerSealer.create({ recipient, workDirectory, pieceBytes })
    return await sealBoth(parts, full, index)
  } catch (error) {
    await full.abort()
    await index?.abort()
    throw error
  }
}

async function sealBoth(parts: SealParts, full: LayerSealer, index: LayerSealer): Promise<SealedImage> {
  const encoder = new IndexEncoder()
  let lines = encoder.begin()
  let entries = 0
  let nextProgressBytes = 0
  const report = (): void =>
    parts.onProgress?.({ phase: "sealing", contentBytes: full.contentBytes, sealedBytes: full.sealedBytes, entries })
  const takeLines = (): void => {
    index.write(Buffer.from(lines, "latin1"))
    lines = ""
  }
  const summary = await captureTree({
    directory: parts.directory,
    signal: parts.signal,
    onEntry(entry) {
      entries += 1
      parts.onEntry?.(entry)
      lines += encoder.line(entry)
      if (lines.length > 64 * 1024) takeLines()
    },
    onArchive: (bytes) => full.write(bytes),
    pace() {
      if (full.contentBytes >= nextProgressBytes) {
        nextProgressBytes = full.contentBytes + PROGRESS_STEP_BYTES
        report()
      }
      const fullPace = full.pace()
      const indexPace = index.pace()
      return fullPace === undefined || indexPace === undefined ? (fullPace ?? indexPace) : fullPace.then(() => indexPace)
    },
  })
  lines += encoder.end()
  takeLines()
  const sealedFull = await full.finish()
  const sealedIndex = await index.finish()
  parts.signal?.throwIfAborted()
  report()
  return { entryCount: entries, socketCount: summary.socketCount, full: sealedFull, index: sealedIndex }
}
