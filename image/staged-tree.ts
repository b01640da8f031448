/** Makes entries anew in a directory, through GNU tar, with contents that are at hand already. */
import { createReadStream } from "node:fs"
import { GridError } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { bytesOf, printable, type ByteString } from "./byte-string.ts"
import { ContentDigest } from "./content-digest.ts"
import type { Entry, FileEntry } from "./entry.ts"
import { tarEnd, tarHeader, tarPadding, type StoredParts } from "./tar-writer.ts"
import { unpackTree, type DevicePolicy } from "./unpack.ts"
import { partsBetween, zeroRunsOf } from "./zero-runs.ts"

/** Path of a file that has this content. */
export type ContentSource = (digest: Sha256) => Buffer | null

export type StagedTreeParts = {
  /** A directory that exists, and is empty. */
  readonly directory: string
  /** In order, with all directories on the way to each. */
  readonly entries: readonly Entry[]
  readonly contents: ContentSource
  readonly devices?: DevicePolicy | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: { readonly bytes: number }) => void) | undefined
}

const READ_BYTES = 1024 * 1024

/** @throws {GridError} TREE_CHANGED when a content is not what it should be, and what `unpackTree` throws */
export async function makeTree({ directory, entries, contents, devices, signal, onProgress }: StagedTreeParts): Promise<void> {
  await unpackTree(archive(entries, contents), { target: directory, devices, signal, onProgress })
}

async function* archive(entries: readonly Entry[], contents: ContentSource): AsyncGenerator<Buffer> {
  let archiveBytes = 0
  const count = (bytes: Buffer): Buffer => {
    archiveBytes += bytes.length
    return bytes
  }
  for (const entry of entries) {
    if (entry.kind !== "file" || entry.size === 0) {
      yield count(tarHeader(entry, null))
      continue
    }
    const path = contents(entry.sha256)
    if (path === null) throw new GridError("TREE_CHANGED", `the content of ${printable(entry.path)} is not at hand`)
    // As GNU tar ends a map, so that the file gets its length.
    const parts = entry.zeroBlocks === 0 ? null : [...partsBetween(await zeroRunsOf(path), entry.size), { offset: entry.size, length: 0 }]
    yield count(tarHeader(entry, parts))
    let storedBytes = 0
    for await (const bytes of checked(path, entry, parts)) {
      storedBytes += bytes.length
      yield count(bytes)
    }
    yield count(tarPadding(storedBytes))
  }
  yield tarEnd(archiveBytes)
}

/** The stored bytes; fails unless the whole content is what the entry says. */
async function* checked(path: Buffer, entry: FileEntry, parts: StoredParts | null): AsyncGenerator<Buffer> {
  const digest = new ContentDigest()
  let size = 0
  for (const { offset, length } of parts ?? [{ offset: 0, length: entry.size }]) {
    digest.updateZeros(offset - size)
    size = offset
    if (length === 0) continue
    for await (const bytes of createReadStream(path, {
      start: offset,
      end: offset + length - 1,
      highWaterMark: READ_BYTES,
    }) as AsyncIterable<Buffer>) {
      digest.update(bytes)
      size += bytes.length
      yield bytes
    }
    if (size !== offset + length) break
  }
  if (size !== entry.size || digest.digest() !== entry.sha256)
    throw new GridError("TREE_CHANGED", `${printable(entry.path)} changed while it was read; repeat the command`)
}

/** Of an entry below a directory. */
export function pathIn(directory: string, path: ByteString): Buffer {
  return Buffer.concat([Buffer.from(`${directory}/`), bytesOf(path)])
}
