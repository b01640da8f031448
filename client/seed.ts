/** Goes on seeding what this client holds: staged layers and indexes of earlier deployments, and the catalog. */
import { GridError } from "#core/errors.ts"
import { openLayerSession, type ImageLayer } from "#member/layer-session.ts"
import { LayerStore } from "#store/layer-store.ts"
import type { TorrentSession } from "#swarm/swarm.ts"
import { listDeployments } from "./deployment-record.ts"
import { exists } from "./exists.ts"
import { seedUntil } from "./seed-until.ts"
import { defaultUsefulness } from "./usefulness.ts"
import { NO_STAGE } from "./without-stage.ts"

export type SeedParts = Parameters<typeof seedUntil>[0] & {
  readonly started: (held: { readonly layers: number; readonly sealedBytes: number; readonly passedOver: readonly string[] }) => void
}

/** Until a signal ends it. @throws {GridError} SEEDERS_MISSING when nothing whole is held */
export async function seedHeld(parts: SeedParts): Promise<{ readonly uploadedBytes: number; readonly why: string }> {
  const { member } = parts
  await using stack = new AsyncDisposableStack()
  const known = new Map<string, ImageLayer>()
  const catalogs = [member.catalogs.catalog, ...member.federation.catalogs.sites().flatMap(({ catalog }) => catalog ?? [])]
  for (const { images } of catalogs)
    for (const manifest of images.values()) for (const layer of manifest.layers) known.set(layer.infohash, { manifest, layer })
  const stores = [member.layers]
  const passedOver: string[] = []
  for (const stage of new Set((await listDeployments(member.home)).map((record) => record.stage))) {
    if (stage === NO_STAGE) continue
    if (await exists(stage)) stores.push(stack.adopt(await LayerStore.open(stage), (store) => store.close()))
    else passedOver.push(`${stage} is gone`)
  }
  const sessions: TorrentSession[] = []
  for (const store of stores) {
    for (const infohash of await store.infohashes()) {
      const layer = known.get(infohash)
      if (layer === undefined) passedOver.push(`${infohash} is in no catalog any more`)
      else if (!(await store.isWhole(infohash))) passedOver.push(`${infohash} is not whole; deploy it again to complete it`)
      else sessions.push(stack.adopt(await openLayerSession(member, layer, store), (session) => session.close()))
    }
  }
  if (sessions.length === 0)
    throw new GridError(
      "SEEDERS_MISSING",
      `nothing whole is held in ${member.home.directory} (${passedOver.join("; ") || "no deployment yet"}); deploy an image first, with --seed-until done to keep its stage (with --stage none there is none)`,
    )
  const sealedBytes = sessions.reduce((sum, session) => sum + session.torrent.contentBytes, 0)
  parts.started({ layers: sessions.length, sealedBytes, passedOver })
  return seedUntil(parts, sessions, { until: "forever", rule: defaultUsefulness, sinceMs: member.clock.nowMs() })
}
