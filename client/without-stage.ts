/** A deploy that stages nothing: what is different about it. */
import type { Layer } from "#core/documents.ts"
import { LayerStore } from "#store/layer-store.ts"
import type { TorrentSession } from "#swarm/swarm.ts"
import { exists } from "./exists.ts"

/** In a deployment's record, where others name their stage. */
export const NO_STAGE = ""

/** What an earlier run of the same deployment staged has no use any more: there was no room for it. */
export async function forgetStage(stage: string, layer: Pick<Layer, "infohash">): Promise<void> {
  if (!(await exists(stage))) return
  await using store = await LayerStore.open(stage)
  await store.remove(layer.infohash)
}

/** The sealed bytes are gone but for the last window, and sealing them again gives others. */
export function leftWithNothingToSeed(session: Pick<TorrentSession, "statistics">): {
  readonly uploadedBytes: number
  readonly why: string
} {
  return { uploadedBytes: session.statistics().uploadedBytes, why: "nothing is staged, so there is nothing to seed" }
}
