/** What a tree has beyond an earlier version of it -> a sealed delta layer and a sealed index. Either both files stand complete and synced, or neither is left. */
import { createReadStream } from "node:fs"
import { open, type FileHandle } from "node:fs/promises"
import { GridError, reasonOf } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { printable } from "./byte-string.ts"
import { ContentDigest } from "./content-digest.ts"
import { contentLine, deltaBeginning, deltaEnd, type DeltaContent } from "./delta-layer.ts"
import type { Entry, FileEntry } from "./entry.ts"
import { editsBetween } from "./index-edits.ts"
import { LayerSealer, ZSTD_LEVELS, type SealedLayer } from "./layer-sealer.ts"
import { basePart, makePatch, readPart, SEGMENT_BYTES, segmentCount, type Segment } from "./patch.ts"
import { pathIn } from "./staged-tree.ts"
import { partsBetween, zeroRunsOf } from "./zero-runs.ts"

export type DeltaParts = {
  readonly directory: string
  readonly workDirectory: string
  /** The image's age recipient. */
  readonly recipient: string
  readonly pieceBytes: number | null
  /** Entries in order, and the digest of the index that lists them. */
  readonly before: { readonly entries: readonly Entry[]; readonly sha256: Sha256 }
  readonly after: { readonly entries: readonly Entry[]; readonly sha256: Sha256; readonly bytes: Buffer }
  /** A content of the earlier version, where it is still to be had. */
  readonly earlierContent: (digest: Sha256) => Promise<FileHandle | null>
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: { readonly contentBytes: number }) => void) | undefined
}

export type SealedDelta = {
  readonly delta: SealedLayer
  readonly index: SealedLayer
  /** Contents that the earlier version has not, and those of them that are patches. */
  readonly contents: number
  readonly patches: number
}

/** A patch is worth its work where it is shorter than the content would be when it is compressed. */
const PATCH_SHARE = 1 / 3
const PATCH_FROM_BYTES = 512
/** Of one file: they are in memory until it is known that they are worth it. */
const PATCHES_BYTES_MAX = 128 * 1024 * 1024
const READ_BYTES = 1024 * 1024
const LINES_BYTES = 64 * 1024

/** @throws {GridError} CAPTURE_FAILED when a file changed since it was listed, DISK_FULL */
export async function sealDelta(parts: DeltaParts): Promise<SealedDelta> {
  const { workDirectory, recipient, pieceBytes } = parts
  const sealers: LayerSealer[] = []
  const create = async () => {
    const sealer = await LayerSealer.create({ workDirectory, recipient, pieceBytes, level: ZSTD_LEVELS.difference })
    sealers.push(sealer)
    return sealer
  }
  try {
    // It is compressed while the delta is made.
    const index = await create()
    await write(index, parts.after.bytes)
    const delta = await create()
    const counts = await writeDelta(parts, delta)
    return { delta: await delta.finish(), index: await index.finish(), ...counts }
  } catch (error) {
    for (const sealer of sealers) await sealer.abort()
    throw error
  }
}

async function writeDelta(parts: DeltaParts, out: LayerSealer): Promise<Pick<SealedDelta, "contents" | "patches">> {
  const { before, after, signal } = parts
  let lines = ""
  for (const line of deltaBeginning({ parent: before.sha256, index: after.sha256 }, editsBetween(before.entries, after.entries))) {
    lines += line
    if (lines.length < LINES_BYTES) continue
    await write(out, Buffer.from(lines, "latin1"))
    lines = ""
  }
  await write(out, Buffer.from(lines, "latin1"))
  let [contents, patches] = [0, 0]
  for (const { entry, base } of newContents(before.entries, after.entries)) {
    signal?.throwIfAborted()
    contents += 1
    if (await writeContent(parts, out, entry, base)) patches += 1
    parts.onProgress?.({ contentBytes: out.contentBytes })
  }
  await write(out, Buffer.from(deltaEnd(contents)))
  return { contents, patches }
}

type NewContent = { readonly entry: FileEntry; readonly base: Sha256 | null }

/** Each content once, with what stood at its path before. */
function newContents(before: readonly Entry[], after: readonly Entry[]): NewContent[] {
  const held = new Set<string>()
  const bases = new Map<string, Sha256>()
  for (const entry of before)
    if (entry.kind === "file") {
      held.add(entry.sha256)
      bases.set(entry.path, entry.sha256)
    }
  const wanted: NewContent[] = []
  for (const entry of after)
    if (entry.kind === "file" && entry.size > 0 && !held.has(entry.sha256)) {
      held.add(entry.sha256)
      wanted.push({ entry, base: bases.get(entry.path) ?? null })
    }
  return wanted
}

/** Whether it became a patch. */
async function writeContent(parts: DeltaParts, out: LayerSealer, entry: FileEntry, base: Sha256 | null): Promise<boolean> {
  const path = pathIn(parts.directory, entry.path)
  const { sha256, size } = entry
  const patches = base === null || size < PATCH_FROM_BYTES || entry.zeroBlocks > 0 ? null : await patchesOf(parts, entry, base)
  if (patches !== null && base !== null) {
    const segments = patches.map(({ offset, length, patch }): Segment => [offset, length, patch.length])
    const stored = segments.reduce((sum, [, , bytes]) => sum + bytes, 0)
    await writeLine(out, { sha256, size, stored, base: { sha256: base, segments }, zeros: [] })
    for (const { patch } of patches) await write(out, patch)
    return true
  }
  const zeros = entry.zeroBlocks === 0 ? [] : await zeroRunsOf(path)
  const kept = partsBetween(zeros, size)
  await writeLine(out, { sha256, size, stored: kept.reduce((sum, { length }) => sum + length, 0), base: null, zeros })
  const digest = new ContentDigest()
  let at = 0
  for (const { offset, length } of kept) {
    digest.updateZeros(offset - at)
    at = offset
    for await (const bytes of createReadStream(path, {
      start: at,
      end: offset + length - 1,
      highWaterMark: READ_BYTES,
    }) as AsyncIterable<Buffer>) {
      digest.update(bytes)
      await write(out, bytes)
      at += bytes.length
    }
    if (at !== offset + length) changed(entry)
  }
  digest.updateZeros(size - at)
  if (digest.digest() !== sha256) changed(entry)
  return false
}

type Patch = { readonly offset: number; readonly length: number; readonly patch: Buffer }

/** Null where they are not worth it, or what they would be of is not to be had. */
async function patchesOf(parts: DeltaParts, entry: FileEntry, base: Sha256): Promise<Patch[] | null> {
  await using earlier = await parts.earlierContent(base)
  if (earlier === null) return null
  const baseSize = (await earlier.stat()).size
  if (baseSize === 0) return null
  await using file = await open(pathIn(parts.directory, entry.path)).catch((error: unknown) => changed(entry, error))
  const digest = new ContentDigest()
  const patches: Patch[] = []
  let storedBytes = 0
  for (let number = 0; number < segmentCount(entry.size); number += 1) {
    parts.signal?.throwIfAborted()
    const segment = await readPart(file, number * SEGMENT_BYTES, Math.min(SEGMENT_BYTES, entry.size - number * SEGMENT_BYTES))
    digest.update(segment)
    const { offset, length } = basePart(number, entry.size, baseSize)
    const patch = await makePatch(await readPart(earlier, offset, length), segment)
    storedBytes += patch.length
    if (storedBytes > Math.min(entry.size * PATCH_SHARE, PATCHES_BYTES_MAX)) return null
    patches.push({ offset, length, patch })
  }
  if (digest.digest() !== entry.sha256) changed(entry)
  return patches
}

function changed(entry: FileEntry, cause?: unknown): never {
  const why = cause === undefined ? "" : `: ${reasonOf(cause)}`
  throw new GridError(
    "CAPTURE_FAILED",
    `${printable(entry.path)} changed while it was read${why}; publish again when nothing writes there`,
    { cause },
  )
}

async function writeLine(out: LayerSealer, content: DeltaContent): Promise<void> {
  await write(out, Buffer.from(contentLine(content)))
}

async function write(out: LayerSealer, bytes: Uint8Array): Promise<void> {
  out.write(bytes)
  await out.pace()
}
