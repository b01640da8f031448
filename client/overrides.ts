/** The small trees that are laid over an image's on this host: which they are, and what they hold. */
import { mkdir, rm } from "node:fs/promises"
import { join } from "node:path"
import type { Layer, Manifest } from "#core/documents.ts"
import { isFor, type Host } from "#core/overrides.ts"
import type { Entry } from "#image/entry.ts"
import { openLayer } from "#image/open-layer.ts"
import { overlay } from "#image/overlay.ts"
import type { ContentSource } from "#image/staged-tree.ts"
import { decodeIndex, encodeIndex, type TreeIndex } from "#image/tree-index.ts"
import { unpackTree, type DevicePolicy } from "#image/unpack.ts"
import { filesOf } from "./lay-over.ts"
import { piecesInOrder, type OpenableLayer } from "./layer-download.ts"

export type UnpackedOverrides = {
  /** The tree once they are laid over it, in their order. */
  readonly over: (index: TreeIndex) => TreeIndex
  readonly contents: ContentSource
}

export const noOverrides: UnpackedOverrides = { over: (index) => index, contents: () => null }

/** In the order in which they are laid. */
export function overridesFor({ layers }: Pick<Manifest, "layers">, host: Host): Layer[] {
  return layers.filter(({ kind, appliesTo }) => kind === "override" && appliesTo !== undefined && isFor(appliesTo, host))
}

/** Into `directory`, which is made anew. @throws {GridError} SEALED_INVALID, DIGEST_MISMATCH, DEVICE_FORBIDDEN, DISK_FULL, EXTRACT_FAILED */
export async function unpackOverrides(
  overrides: readonly OpenableLayer[],
  directory: string,
  { devices, signal }: { readonly devices?: DevicePolicy | undefined; readonly signal: AbortSignal },
): Promise<UnpackedOverrides> {
  if (overrides.length === 0) return noOverrides
  const trees: { readonly entries: readonly Entry[]; readonly contents: ContentSource }[] = []
  for (const [number, override] of overrides.entries()) {
    const entries = await unpackAttachment(override, join(directory, String(number)), { devices, signal })
    trees.push({ entries, contents: filesOf(join(directory, String(number)), decodeIndex(encodeIndex(entries))) })
  }
  return {
    over: (index) => {
      let laid = index
      for (const { entries } of trees) laid = decodeIndex(encodeIndex(overlay(laid.entries(), entries)))
      return laid
    },
    contents: (digest) => {
      for (const { contents } of trees) {
        const path = contents(digest)
        if (path !== null) return path
      }
      return null
    },
  }
}

/** A small tree into a directory that is made anew. */
export async function unpackAttachment(
  { session, layer, identity }: OpenableLayer,
  directory: string,
  how: { readonly devices?: DevicePolicy | undefined; readonly signal: AbortSignal },
): Promise<Entry[]> {
  await rm(directory, { recursive: true, force: true })
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const entries: Entry[] = []
  await unpackTree(openLayer(piecesInOrder(session, how.signal), { identity, layer }), {
    target: directory,
    ...how,
    onEntry: (entry) => entries.push(entry),
  })
  return entries
}
