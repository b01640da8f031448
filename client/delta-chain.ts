/** Delta layers that follow each other: what the index is after them, and the contents that they bring. */
import { hash } from "node:crypto"
import { readDelta } from "#image/delta-layer.ts"
import { applyEdits, type IndexEdit } from "#image/index-edits.ts"
import { openLayer } from "#image/open-layer.ts"
import type { StagedContents } from "#image/staged-contents.ts"
import { decodeIndex, type TreeIndex } from "#image/tree-index.ts"
import { GridError } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { piecesInOrder, type OpenableLayer } from "./layer-download.ts"

export type DigestedIndex = { readonly index: TreeIndex; readonly sha256: Sha256 }

/** Reads no further into each than the edits of the index. @throws {GridError} INDEX_INVALID where they don't follow each other, SEALED_INVALID */
export async function indexAfter(
  deltas: readonly OpenableLayer[],
  from: DigestedIndex,
  signal: AbortSignal,
): Promise<DigestedIndex & { readonly bytes: Buffer | null }> {
  let at: DigestedIndex & { readonly bytes: Buffer | null } = { ...from, bytes: null }
  for (const delta of deltas) {
    const { header, edits } = await editsOf(delta, signal)
    if (header.parent !== at.sha256) throw new GridError("INDEX_INVALID", `a delta layer is of ${header.parent}, not of ${at.sha256}`)
    const bytes = applyEdits(at.index, edits)
    const sha256 = hash("sha256", bytes) as Sha256
    if (sha256 !== header.index) throw new GridError("INDEX_INVALID", "the changes of a delta layer do not lead to the index that it names")
    at = { index: decodeIndex(bytes), sha256, bytes }
  }
  return at
}

class EditsAreRead extends Error {}

async function editsOf(delta: OpenableLayer, signal: AbortSignal) {
  let found: { readonly header: { readonly parent: Sha256; readonly index: Sha256 }; readonly edits: readonly IndexEdit[] } | null = null
  try {
    await readDelta(contentOf(delta, signal), {
      async begin(header, edits) {
        found = { header, edits }
        throw new EditsAreRead()
      },
      content: async () => {},
    })
  } catch (error) {
    if (found !== null && error instanceof EditsAreRead)
      return found as { header: { parent: Sha256; index: Sha256 }; edits: readonly IndexEdit[] }
    throw error
  }
  throw new Error("unreachable: a delta layer has a beginning")
}

/** All contents of the deltas, in their order; each may be made from those before. */
export async function takeContents(deltas: readonly OpenableLayer[], staged: StagedContents, signal: AbortSignal): Promise<void> {
  for (const delta of deltas)
    await readDelta(contentOf(delta, signal), { begin: async () => {}, content: (content, bytes) => staged.take(content, bytes) })
}

function contentOf({ session, layer, identity }: OpenableLayer, signal: AbortSignal): AsyncIterable<Buffer> {
  return openLayer(piecesInOrder(session, signal), { identity, layer })
}
