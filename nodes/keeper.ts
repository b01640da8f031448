/**
 * This server's part in keeping every placed image at its goal: tells the core (grid/core/repair.ts) what is known here and carries out what it decides.
 * Images without a rule are not its business: every server has those (replicator.ts).
 */
import { statfs } from "node:fs/promises"
import type { MemberId } from "#core/identifiers.ts"
import type { Infohash } from "#core/identifiers.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import { RepairCore } from "#grid/core/repair.ts"
import type { ImageId, RepairEffect, RepairEvent, ServerState } from "#grid/core/repair-events.ts"
import type { GridStatus } from "#core/wire.ts"
import { layerTorrent } from "#member/layer-session.ts"
import type { Member } from "#member/member.ts"
import { seededRandom } from "#swarm/core/random.ts"
import { placedImages, type PlacedImage } from "./placed-images.ts"
import { auditLayer, auditLayerByPiece, type AuditOutcome } from "./proof.ts"
import type { Replicator } from "./replicator.ts"
import { rosterOf, type GridServer } from "./roster.ts"

/** What servers say of themselves to one another, signed; grid/plane.ts carries it. */
export interface FellowDocuments {
  /** All that this server holds whole from now on. */
  publishHoldings(held: ReadonlySet<Infohash>): void
  publishState(state: SaidState): void
  /** Calls back for all that is known already, and then for each change. Returns how to stop. */
  watch(watcher: FellowWatcher): () => void
}
/** How a server is, by its own word. */
export type SaidState = ServerState & { readonly heldBytes: number; readonly freeBytes: number; readonly repairing: readonly Infohash[] }
export type FellowWatcher = {
  /** All that a server holds whole. */
  readonly holdings: (server: MemberId, held: ReadonlySet<Infohash>) => void
  readonly state: (server: MemberId, state: SaidState) => void
  /** `sinceMs`: null while it is connected, else when it was last heard (Unix ms). */
  readonly presence: (server: MemberId, sinceMs: number | null) => void
}

export type KeeperParts = { readonly member: Member; readonly replicator: Replicator; readonly documents: FellowDocuments }
export type KeeperOptions = {
  /** Most that all layers together may take; null: as much as the disk has. */
  readonly quotaBytes: number | null
  readonly draining: boolean
}

const SPACE_INTERVAL_MS = 60_000
/** Holdings that change one after another are told together. */
const HOLDINGS_DELAY_MS = 500

export class Keeper implements AsyncDisposable {
  readonly #parts: KeeperParts
  readonly #options: KeeperOptions
  readonly #core: RepairCore
  readonly #stopping = new AbortController()
  readonly #stack = new AsyncDisposableStack()
  #roster: readonly GridServer[] = []
  #placed: ReadonlyMap<ImageId, PlacedImage> = new Map()
  /** Images that this server is known by the core to hold. */
  readonly #held = new Set<ImageId>()
  readonly #fellowStates = new Map<MemberId, SaidState>()
  readonly #fellowHoldings = new Map<MemberId, ReadonlySet<Infohash>>()
  /** What the core was told of each fellow. */
  readonly #told = new Map<MemberId, Set<ImageId>>()
  readonly #fetching = new Map<ImageId, AbortController>()
  readonly #work = new Set<Promise<void>>()
  #freeBytes = 0
  #state: ServerState = { phase: "serving", isFull: false, doubts: [] }
  #drained = false
  #timer: NodeJS.Timeout | null = null
  #holdingsTimer: NodeJS.Timeout | null = null

  private constructor(parts: KeeperParts, options: KeeperOptions) {
    this.#parts = parts
    this.#options = options
    const self = parts.member.home.memberId
    this.#core = new RepairCore({ self, random: seededRandom(Number.parseInt(self.slice(0, 8), 16) ^ parts.member.clock.nowMs()) })
  }

  static async start(parts: KeeperParts, options: KeeperOptions): Promise<Keeper> {
    const keeper = new Keeper(parts, options)
    const { member, replicator, documents } = parts
    await keeper.#measureSpace()
    keeper.#follow()
    if (options.draining) keeper.#step({ kind: "drain", draining: true })
    const space = setInterval(() => void keeper.#measureSpace(), SPACE_INTERVAL_MS)
    keeper.#stack.defer(() => clearInterval(space))
    for (const stop of [
      member.catalogs.onChange(() => keeper.#follow()),
      member.federation.onChange(() => keeper.#follow()),
      member.directory.onChange(() => keeper.#follow()),
      replicator.onHeld(() => keeper.#lookAtOwn()),
      documents.watch({
        holdings: (server, held) => keeper.#hearHoldings(server, held),
        state: (server, state) => {
          keeper.#fellowStates.set(server, state)
          keeper.#step({ kind: "state", server, state })
        },
        presence: (server, sinceMs) => keeper.#step(sinceMs === null ? { kind: "heard", server } : { kind: "silent", server, sinceMs }),
      }),
    ])
      keeper.#stack.defer(stop)
    return keeper
  }

  /** The grid as it looks from here. */
  status(): GridStatus {
    const { out, suspect, images, underGoal, atRisk, held, fetching, wanted, surplus, doubted, isRepairHeld } = this.#core.status(
      this.#nowMs(),
    )
    const self = this.#parts.member.home.memberId
    const servers = this.#roster.map(({ memberId, site, weight }) => {
      const said = memberId === self ? this.#ownState() : this.#fellowStates.get(memberId)
      const standing = out.includes(memberId) ? "out" : suspect.includes(memberId) ? "suspect" : "live"
      const { phase = null, isFull = false, heldBytes = null, freeBytes = null } = said ?? {}
      return { memberId, site, weight, standing, phase, isFull, heldBytes, freeBytes } as const
    })
    const draining = this.#state.phase === "draining"
    return {
      memberId: self,
      servers,
      images,
      underGoal,
      atRisk: [...atRisk],
      held,
      fetching: [...fetching],
      wanted,
      surplus,
      doubted: [...doubted],
      isRepairHeld,
      draining,
      drained: this.#drained,
    }
  }

  /** Leaves the grid, or takes part again. */
  drain(draining: boolean): void {
    this.#drained = false
    this.#step({ kind: "drain", draining })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort()
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#holdingsTimer !== null) clearTimeout(this.#holdingsTimer)
    for (const giveUp of this.#fetching.values()) giveUp.abort()
    await this.#stack.disposeAsync()
    await Promise.allSettled(this.#work)
  }

  // What is known here.

  /** Catalogs, agreements or servers' records have changed. */
  #follow(): void {
    const { member } = this.#parts
    const documents = [member.catalogs.catalog.site, ...member.federation.catalogs.sites().flatMap(({ catalog }) => catalog?.site ?? [])]
    const roster = rosterOf(member.directory.recordsOfAllSites(), documents, this.#nowMs())
    if (JSON.stringify(roster) !== JSON.stringify(this.#roster)) {
      this.#roster = roster
      this.#step({ kind: "roster", servers: roster })
    }
    const placed = placedImages(member.images, roster)
    const before = this.#placed
    this.#placed = placed
    const added = [...placed].flatMap(([image, { unit }]) => (JSON.stringify(before.get(image)?.unit) === JSON.stringify(unit) ? [] : unit))
    const retired = [...before.keys()].filter((image) => !placed.has(image))
    if (added.length > 0 || retired.length > 0) this.#step({ kind: "images", added, retired })
    for (const server of this.#fellowHoldings.keys()) this.#tellHoldings(server)
    this.#lookAtOwn()
    for (const { image } of added) this.#start(this.#takeStored(image))
  }

  /** What a publish or an import has put into the store is verified and served, wherever it belongs: others get it from here. */
  async #takeStored(image: ImageId): Promise<void> {
    const { member, replicator } = this.#parts
    const manifest = this.#placed.get(image)?.manifest
    if (manifest === undefined || this.#held.has(image)) return
    for (const { infohash } of manifest.layers) if (!(await member.layers.isWhole(infohash))) return
    await replicator.fetchImage(manifest, this.#stopping.signal)
  }

  /** Layers have come, gone, or been verified here. */
  #lookAtOwn(): void {
    const { replicator } = this.#parts
    const holds = (image: ImageId) => this.#placed.get(image)?.manifest.layers.every(({ infohash }) => replicator.holds(infohash)) === true
    const added = [...this.#placed.keys()].filter((image) => !this.#held.has(image) && holds(image))
    const removed = [...this.#held].filter((image) => !holds(image))
    for (const image of added) this.#held.add(image)
    for (const image of removed) this.#held.delete(image)
    const told = added.filter((image) => !this.#fetching.has(image))
    if (told.length > 0 || removed.length > 0) this.#step({ kind: "own", added: told, removed })
    this.#holdingsTimer ??= setTimeout(() => {
      this.#holdingsTimer = null
      this.#parts.documents.publishHoldings(replicator.held)
      this.#tellState()
    }, HOLDINGS_DELAY_MS)
  }

  #hearHoldings(server: MemberId, held: ReadonlySet<Infohash>): void {
    this.#fellowHoldings.set(server, held)
    this.#tellHoldings(server)
  }

  #tellHoldings(server: MemberId): void {
    const held = this.#fellowHoldings.get(server) ?? new Set<Infohash>()
    const now = new Set(
      [...this.#placed].filter(([, { manifest }]) => manifest.layers.every(({ infohash }) => held.has(infohash))).map(([image]) => image),
    )
    const before = this.#told.get(server)
    const added = [...now].filter((image) => before?.has(image) !== true)
    const removed = [...(before ?? [])].filter((image) => !now.has(image))
    this.#told.set(server, now)
    if (before === undefined || added.length > 0 || removed.length > 0) this.#step({ kind: "holdings", server, added, removed })
  }

  async #measureSpace(): Promise<void> {
    const { member, replicator } = this.#parts
    try {
      const { bavail, bsize } = await statfs(member.home.directory)
      this.#freeBytes = bavail * bsize
    } catch (error) {
      member.log.warn({ reason: reasonOf(error) }, "the room on the disk was not measured")
      return
    }
    const { quotaBytes } = this.#options
    const roomBytes = quotaBytes === null ? this.#freeBytes : Math.min(this.#freeBytes, Math.max(0, quotaBytes - replicator.heldBytes))
    this.#step({ kind: "space", roomBytes })
    this.#tellState()
  }

  // What is decided, and done.

  #step(event: RepairEvent): void {
    if (this.#stopping.signal.aborted) return
    for (const effect of this.#core.step(event, this.#nowMs())) this.#do(effect)
    if (this.#timer !== null) clearTimeout(this.#timer)
    const inMs = Math.min(Math.max(this.#core.wakeAtMs() - this.#nowMs(), 0), 3_600_000)
    this.#timer = setTimeout(() => this.#step({ kind: "tick" }), inMs)
  }

  #do(effect: RepairEffect): void {
    const { member, replicator } = this.#parts
    switch (effect.kind) {
      case "fetch":
        member.log.info({ image: effect.image, why: effect.why }, "image is fetched: a copy of it belongs here")
        this.#start(this.#fetch(effect.image))
        break
      case "cancel":
        this.#fetching.get(effect.image)?.abort()
        break
      case "drop": {
        const manifest = this.#placed.get(effect.image)?.manifest
        member.log.info({ image: effect.image, why: effect.why }, "image is dropped: its copies are elsewhere")
        this.#held.delete(effect.image)
        if (manifest !== undefined) this.#start(replicator.drop(manifest))
        break
      }
      case "audit":
        this.#start(this.#audit(effect.server, effect.image))
        break
      case "publish-state":
        this.#state = effect.state
        this.#tellState()
        break
      case "drained":
        this.#drained = true
        member.log.info({}, "this server may leave: every image that it holds is at its goal without it")
        break
    }
  }

  #start(work: Promise<void>): void {
    const watched = work
      .catch((error: unknown) => this.#parts.member.log.warn({ reason: reasonOf(error) }, "work for the grid failed"))
      .finally(() => this.#work.delete(watched))
    this.#work.add(watched)
  }

  async #fetch(image: ImageId): Promise<void> {
    const manifest = this.#placed.get(image)?.manifest
    const giveUp = new AbortController()
    this.#fetching.set(image, giveUp)
    this.#tellState()
    let fetched = false
    try {
      if (manifest !== undefined) await this.#parts.replicator.fetchImage(manifest, giveUp.signal)
      fetched = manifest !== undefined
    } catch (error) {
      if (!giveUp.signal.aborted)
        this.#parts.member.log.warn({ image, reason: reasonOf(error) }, "image not fetched; it will be tried again")
    }
    this.#fetching.delete(image)
    this.#tellState()
    if (giveUp.signal.aborted) return
    if (fetched) this.#held.add(image)
    this.#step({ kind: fetched ? "fetched" : "fetch-failed", image })
  }

  async #audit(server: MemberId, image: ImageId): Promise<void> {
    this.#step({ kind: "audited", server, image, outcome: await this.#outcomeOf(server, image) })
  }

  async #outcomeOf(server: MemberId, image: ImageId): Promise<AuditOutcome | "unjudged"> {
    const { member, replicator } = this.#parts
    const audited = this.#roster.find(({ memberId }) => memberId === server)
    const manifest = this.#placed.get(image)?.manifest
    if (audited === undefined || manifest === undefined) return "unanswered"
    for (const layer of manifest.layers) {
      const { infohash } = layer
      try {
        const outcome = replicator.holds(infohash)
          ? await auditLayer(member, member.layers, audited, infohash)
          : await auditLayerByPiece(member, audited, await layerTorrent(member, { manifest, layer }, member.layers, this.#stopping.signal))
        if (outcome !== "passed") {
          if (outcome === "failed") member.log.warn({ server, image, infohash }, "A SERVER DOES NOT HOLD WHAT IT SAYS IT HOLDS")
          return outcome
        }
      } catch (error) {
        if (!(error instanceof GridError)) throw error
        // Whoever can't give the metadata of what it says it has does not answer; what is wrong here says nothing of it.
        if (error.code === "SEEDERS_MISSING") return "unanswered"
        if (error.code === "DIGEST_MISMATCH") await replicator.recheck({ manifest, layer })
        return "unjudged"
      }
    }
    return "passed"
  }

  #tellState(): void {
    this.#parts.documents.publishState(this.#ownState())
  }

  #ownState(): SaidState {
    const repairing = [...this.#fetching.keys()].flatMap(
      (image) => this.#placed.get(image)?.manifest.layers.map(({ infohash }) => infohash) ?? [],
    )
    return { ...this.#state, heldBytes: this.#parts.replicator.heldBytes, freeBytes: this.#freeBytes, repairing }
  }

  #nowMs(): number {
    return this.#parts.member.clock.nowMs()
  }
}
