/**
 * Every server of a site holds every image of the site, and those of federated sites that the site's document says it mirrors. A layer counts as held only after its pieces and its whole SHA-256 were checked
 * and that was recorded; until then it is fetched from whoever has it.
 */
import { imagesInUse } from "#trust/retention.ts"
import type { Layer, Manifest } from "#core/documents.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import type { ImageSources } from "#member/image-sources.ts"
import { openLayerSession, requireSealedDigest, type ImageLayer } from "#member/layer-session.ts"
import type { Member } from "#member/member.ts"
import { heldBytes } from "#store/piece-set.ts"
import { collectable } from "./collection.ts"
import type { ServerState } from "./state.ts"

/** Layers that are fetched at the same time. */
const FETCHES_MAX = 4
const RETRY_AFTER_MS = 15_000

/** The images that a server of this site is to hold. */
export function imagesToHold({ own, federated }: ImageSources): Manifest[] {
  const mirrored = federated
    .sites()
    .flatMap(({ catalog }) => (catalog === null ? [] : imagesInUse(catalog).filter(({ site, name }) => federated.isMirrored(site, name))))
  return [...imagesInUse(own), ...mirrored]
}

function layersOf(images: readonly Manifest[]): string[] {
  return images.flatMap(({ layers }) => layers.map(({ infohash }) => infohash))
}

/** The layers of these images that are neither held nor being fetched, newest images first. */
export function layersToFetch(images: readonly Manifest[], held: ReadonlySet<string>, fetching: ReadonlySet<string>): ImageLayer[] {
  const wanted = [...images]
    .sort((a, b) => b.publishedAtMs - a.publishedAtMs)
    .flatMap((manifest) => manifest.layers.map((layer) => ({ manifest, layer })))
    .filter(({ layer }) => !held.has(layer.infohash) && !fetching.has(layer.infohash))
  return [...new Map(wanted.map((one) => [one.layer.infohash, one])).values()]
}

export class Replicator {
  readonly #member: Member
  readonly #state: ServerState
  readonly #held: Set<string>
  readonly #fetching = new Map<string, Promise<void>>()
  readonly #stopping = new AbortController()
  #retry: NodeJS.Timeout | null = null

  private constructor(member: Member, state: ServerState) {
    this.#member = member
    this.#state = state
    this.#held = new Set(state.wholeLayers().map((layer) => layer.infohash))
  }

  /** Seeds what is held and goes on to fetch what is not, now and with each new catalog. */
  static async start(member: Member, state: ServerState): Promise<Replicator> {
    const replicator = new Replicator(member, state)
    for (const { manifest, layer } of layersToFetch(imagesToHold(member.images), new Set(), new Set())) {
      if (!replicator.#held.has(layer.infohash)) continue
      if (await member.layers.isWhole(layer.infohash)) {
        await openLayerSession(member, { manifest, layer }, member.layers)
      } else {
        member.log.warn({ infohash: layer.infohash }, "a layer that was held is damaged or gone; it is fetched again")
        replicator.#held.delete(layer.infohash)
        state.forgetWholeLayer(layer.infohash)
      }
    }
    member.catalogs.onChange(() => replicator.#step())
    member.federation.onChange(() => replicator.#step())
    replicator.#step()
    return replicator
  }

  /** Removes layers that nothing needs any more, and that nobody is fetching from here. One call at a time. */
  async collect(): Promise<void> {
    const { layers, images, catalogs, federation, clock, log, swarm } = this.#member
    const nowMs = clock.nowMs()
    const known = [catalogs.catalog, ...federation.catalogs.sites().flatMap(({ catalog }) => catalog ?? [])]
    const { unneeded, due } = collectable({
      stored: await layers.infohashes(),
      needed: new Set([...layersOf(imagesToHold(images)), ...this.#fetching.keys()]),
      named: new Set(known.flatMap((catalog) => layersOf([...catalog.images.values()]))),
      unneededSinceMs: this.#state.unneededLayers(),
      nowMs,
    })
    this.#state.recordUnneededLayers(unneeded, nowMs)
    for (const infohash of due) {
      const session = swarm.session(infohash)
      if (session !== null && session.statistics().peersInNeed > 0) continue
      // Forgotten before it goes: after a crash in between it is a stored layer that nothing needs, as now.
      this.#held.delete(infohash)
      this.#state.forgetWholeLayer(infohash)
      await session?.close()
      await layers.remove(infohash)
      log.info({ infohash }, "layer collected: nothing needs it any more")
    }
  }

  async close(): Promise<void> {
    this.#stopping.abort()
    if (this.#retry !== null) clearTimeout(this.#retry)
    await Promise.allSettled(this.#fetching.values())
  }

  #step(): void {
    if (this.#stopping.signal.aborted) return
    const wanted = layersToFetch(imagesToHold(this.#member.images), this.#held, new Set(this.#fetching.keys()))
    for (const one of wanted.slice(0, FETCHES_MAX - this.#fetching.size)) {
      this.#fetching.set(one.layer.infohash, this.#fetchOrRetry(one))
    }
  }

  async #fetchOrRetry(one: ImageLayer): Promise<void> {
    const { layer } = one
    try {
      await this.#fetch(one)
      this.#fetching.delete(layer.infohash)
      this.#step()
    } catch (error) {
      this.#fetching.delete(layer.infohash)
      this.#fetchFailed(layer, error)
    }
  }

  async #fetch({ manifest, layer }: ImageLayer): Promise<void> {
    const { signal } = this.#stopping
    const startedMs = this.#member.clock.nowMs()
    const session = await openLayerSession(this.#member, { manifest, layer }, this.#member.layers, signal)
    const heldBefore = heldBytes(session.torrent, session.pieces)
    const { infohash, sealedBytes } = layer
    this.#member.log.info({ infohash, sealedBytes, heldBytes: heldBefore }, "layer is fetched")
    await session.whenComplete(signal)
    const { downloadedBytes, duplicateBytes } = session.statistics()
    await session.pieces.sync()
    try {
      await requireSealedDigest(session.pieces, layer)
    } catch (error) {
      if (error instanceof GridError && error.code === "DIGEST_MISMATCH") {
        await session.close()
        await this.#member.layers.remove(layer.infohash)
      }
      throw error
    }
    const nowMs = this.#member.clock.nowMs()
    this.#state.recordWholeLayer(layer, nowMs)
    this.#held.add(layer.infohash)
    const tookMs = nowMs - startedMs
    this.#member.log.info({ infohash, sealedBytes, heldBytes: heldBefore, downloadedBytes, duplicateBytes, tookMs }, "layer held")
  }

  #fetchFailed(layer: Layer, error: unknown): void {
    if (this.#stopping.signal.aborted) return
    const reason = reasonOf(error)
    this.#member.log.warn({ infohash: layer.infohash, reason }, "layer not fetched; it will be tried again")
    this.#retry ??= setTimeout(() => {
      this.#retry = null
      this.#step()
    }, RETRY_AFTER_MS)
  }
}
