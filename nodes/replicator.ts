/**
 * Every server of a site holds every image of the site for which no placement rule says otherwise, and those of federated sites that the site's
 * document says it mirrors; which of the placed ones it holds the keeper says (keeper.ts). A layer counts as held only after its pieces and its whole SHA-256 were checked
 * and that was recorded; until then it is fetched from whoever has it.
 */
import { imagesInUse } from "#trust/retention.ts"
import type { Layer, Manifest } from "#core/documents.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import type { Infohash } from "#core/identifiers.ts"
import type { ImageSources } from "#member/image-sources.ts"
import { openLayerSession, requireSealedDigest, type ImageLayer } from "#member/layer-session.ts"
import type { Member } from "#member/member.ts"
import { heldBytes } from "#store/piece-set.ts"
import { collectable } from "./collection.ts"
import { ruleOf } from "./placed-images.ts"
import type { ServerState } from "./state.ts"

/** Layers that are fetched at the same time. */
const FETCHES_MAX = 4
const RETRY_AFTER_MS = 15_000
/** At a start: each waits for the disk in turn, a dozen times. */
const OPENINGS_AT_A_TIME = 8

/** The images that every server of this site is to hold. */
export function imagesToHold(sources: ImageSources): Manifest[] {
  const { own, federated } = sources
  const documents = [own.site, ...federated.sites().flatMap(({ catalog }) => catalog?.site ?? [])]
  const placement = new Map(documents.map((document) => [document.site, document]))
  return imagesOfInterest(sources).filter(({ site, name }) => {
    const document = placement.get(site)
    return document === undefined || ruleOf(document, name) === null
  })
}

/** Those in use of the own site, and of others those that this one mirrors. */
function imagesOfInterest({ own, federated }: ImageSources): Manifest[] {
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
  readonly #held: Set<Infohash>
  readonly #fetching = new Map<string, Promise<void>>()
  readonly #heldListeners = new Set<() => void>()
  #heldBytes: number
  readonly #stopping = new AbortController()
  #retry: NodeJS.Timeout | null = null

  private constructor(member: Member, state: ServerState) {
    this.#member = member
    this.#state = state
    const whole = state.wholeLayers()
    this.#held = new Set(whole.map((layer) => layer.infohash as Infohash))
    this.#heldBytes = whole.reduce((sum, layer) => sum + layer.sealedBytes, 0)
  }

  /** Seeds what is held and goes on to fetch what is not, now and with each new catalog. */
  static async start(member: Member, state: ServerState): Promise<Replicator> {
    const replicator = new Replicator(member, state)
    const layers = layersToFetch(imagesOfInterest(member.images), new Set(), new Set())
    const wanted = layers.filter(({ layer }) => replicator.#held.has(layer.infohash)).values()
    const openSome = async () => {
      for (const one of wanted) await replicator.#openHeld(one)
    }
    await Promise.all(Array.from({ length: OPENINGS_AT_A_TIME }, openSome))
    member.catalogs.onChange(() => replicator.#step())
    member.federation.onChange(() => replicator.#step())
    replicator.#step()
    return replicator
  }

  async #openHeld(image: ImageLayer): Promise<void> {
    const { infohash } = image.layer
    const { layers, log } = this.#member
    const torrent = await layers.torrent(infohash)
    if (torrent !== null && (await layers.pieces(torrent)).complete) {
      await openLayerSession(this.#member, image, layers)
      return
    }
    log.warn({ infohash }, "a layer that was held is damaged or gone; it is fetched again")
    this.#held.delete(infohash)
    this.#state.forgetWholeLayer(infohash)
  }

  /** Infohashes of all layers that are whole and verified here. */
  get held(): ReadonlySet<Infohash> {
    return this.#held
  }

  /** Of those together. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  holds(infohash: Infohash): boolean {
    return this.#held.has(infohash)
  }

  /** Calls `listener` whenever a layer is held, or is held no more. Returns how to stop. */
  onHeld(listener: () => void): () => void {
    this.#heldListeners.add(listener)
    return () => this.#heldListeners.delete(listener)
  }

  /** Resolves once every layer of an image is whole and verified. @throws {GridError} SEEDERS_MISSING, DISK_FULL, DIGEST_MISMATCH @throws the signal's reason */
  async fetchImage(manifest: Manifest, signal: AbortSignal): Promise<void> {
    for (const layer of manifest.layers) {
      signal.throwIfAborted()
      const { infohash } = layer
      const running = this.#fetching.get(infohash)
      if (running !== undefined) await running
      if (this.#held.has(infohash)) continue
      const fetch = this.#fetch({ manifest, layer }, signal)
      this.#fetching.set(
        infohash,
        fetch.catch(() => {}),
      )
      try {
        await fetch
      } finally {
        this.#fetching.delete(infohash)
      }
    }
  }

  /** Something of a layer was found to be bad here: all of it is compared with its digests, and what differs is fetched again where it is still wanted. */
  async recheck({ manifest, layer }: ImageLayer): Promise<void> {
    const { infohash } = layer
    if (!this.#held.has(infohash) || this.#fetching.has(infohash)) return
    const recheck = this.#recheck({ manifest, layer })
    this.#fetching.set(
      infohash,
      recheck.catch(() => {}),
    )
    try {
      await recheck
    } finally {
      this.#fetching.delete(infohash)
    }
    this.#step()
  }

  async #recheck(image: ImageLayer): Promise<void> {
    const { infohash } = image.layer
    const { layers, log, swarm } = this.#member
    await swarm.session(infohash)?.close()
    const badPieces = await layers.recheck(infohash)
    if (badPieces === 0) {
      await this.#openHeld(image)
      return
    }
    log.warn({ infohash, badPieces }, "A LAYER WAS DAMAGED ON THIS DISK: what is bad of it is fetched again; look at the disk")
    this.#held.delete(infohash)
    this.#state.forgetWholeLayer(infohash)
    this.#heldChanged()
  }

  /** The same of a layer that only its infohash is known of. */
  async recheckLayer(infohash: Infohash): Promise<void> {
    for (const manifest of imagesOfInterest(this.#member.images)) {
      const layer = manifest.layers.find((one) => one.infohash === infohash)
      if (layer !== undefined) return this.recheck({ manifest, layer })
    }
  }

  /** Lets go of an image's layers, but for those that another image has too. */
  async drop(manifest: Manifest): Promise<void> {
    const needed = new Set(layersOf(imagesToHold(this.#member.images)))
    for (const { infohash } of manifest.layers) if (!needed.has(infohash) && !this.#fetching.has(infohash)) await this.#remove(infohash)
  }

  /** Removes layers that nothing needs any more, and that nobody is fetching from here. One call at a time. */
  async collect(): Promise<void> {
    const { layers, images, catalogs, federation, clock, log, swarm } = this.#member
    const nowMs = clock.nowMs()
    const known = [catalogs.catalog, ...federation.catalogs.sites().flatMap(({ catalog }) => catalog ?? [])]
    const { unneeded, due } = collectable({
      stored: await layers.infohashes(),
      // Of placed images the keeper says when they go.
      needed: new Set([...layersOf(imagesOfInterest(images)), ...this.#fetching.keys()]),
      named: new Set(known.flatMap((catalog) => layersOf([...catalog.images.values()]))),
      unneededSinceMs: this.#state.unneededLayers(),
      nowMs,
    })
    this.#state.recordUnneededLayers(unneeded, nowMs)
    for (const infohash of due) {
      const session = swarm.session(infohash)
      if (session !== null && session.statistics().peersInNeed > 0) continue
      await this.#remove(infohash)
      log.info({ infohash }, "layer collected: nothing needs it any more")
    }
  }

  /** Forgotten before it goes: after a crash in between it is a stored layer that nothing needs. */
  async #remove(infohash: Infohash): Promise<void> {
    this.#held.delete(infohash)
    this.#state.forgetWholeLayer(infohash)
    this.#heldChanged()
    await this.#member.swarm.session(infohash)?.close()
    await this.#member.layers.remove(infohash)
  }

  #heldChanged(): void {
    this.#heldBytes = this.#state.wholeLayers().reduce((sum, layer) => sum + layer.sealedBytes, 0)
    for (const listener of this.#heldListeners) listener()
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

  async #fetch({ manifest, layer }: ImageLayer, until?: AbortSignal): Promise<void> {
    const signal = until === undefined ? this.#stopping.signal : AbortSignal.any([until, this.#stopping.signal])
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
    this.#heldChanged()
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
