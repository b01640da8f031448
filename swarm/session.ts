/**
 * One torrent of this member: carries events to the core that decides and carries out what it answers. Each member has at most one connection
 * here, and the core is never entered while it is at work.
 */
import type { Address } from "#core/address.ts"
import { GridError, systemErrorCode } from "#core/errors.ts"
import type { PieceStore } from "#core/piece-store.ts"
import { pieceIndex } from "./piece-index.ts"
import type { Torrent } from "#core/torrent.ts"
import type { Connection } from "./connection.ts"
import { Bitfield } from "./core/bitfield.ts"
import type { Demand } from "./core/demand.ts"
import type { CoreEffect, CoreEvent, PeerNumber } from "./core/events.ts"
import { defaultLimits } from "./core/limits.ts"
import type { BlockSpan } from "./core/messages.ts"
import type { Random } from "./core/random.ts"
import { WindowedRate } from "./core/rate.ts"
import { TorrentCore } from "./core/torrent-core.ts"
import type { WanBudget } from "./core/wan-budget.ts"
import {
  decodeDontHave,
  decodeIntroduction,
  decodeNews,
  decodePeerExchange,
  DONT_HAVE,
  encodeDontHave,
  encodeIntroduction,
  encodeNews,
  encodePeerExchange,
  EXTENDED_HANDSHAKE,
  METADATA,
  NEWS,
  PEER_EXCHANGE,
  SITE,
  type Introduction,
  type News,
} from "./extensions.ts"
import type { AdmittedPeer } from "./admission.ts"
import type { SwarmLog } from "./log.ts"
import { MetadataService } from "./metadata-service.ts"
import { NewsAllowance } from "./news-allowance.ts"
import { PieceAssembly } from "./piece-assembly.ts"
import { decodeSiteNews, encodeSiteNews } from "./site-news.ts"
import type { UploadFrame, UploadFrames } from "./upload-frames.ts"
import type { UploadLimit } from "./upload-limit.ts"
import type { BlockSlices, WireMessage } from "./wire.ts"

/** What a session needs of the swarm that it is part of. */
export type SessionParts = {
  readonly memberId: string
  /** The own one. */
  readonly site: string
  /** This member is a server or a mirror. */
  readonly server: boolean
  /** What it may send to other sites, all torrents together. */
  readonly wan: WanBudget
  readonly listenPort: number
  readonly random: Random
  readonly log: SwarmLog
  readonly frames: UploadFrames
  readonly uploadLimit: UploadLimit | null
  readonly nowMs: () => number
  readonly maxPeers: number
  /** Whether the member at the other end is admitted at this moment. */
  readonly admits: (connection: Connection) => boolean
  /** Whether members of this site may have the torrent. */
  readonly sharedWith: (site: string) => boolean
  /** Opens a connection to a member that `wanted` takes. */
  readonly dial: (address: Address, wanted: (peer: AdmittedPeer) => boolean) => Promise<Connection>
  /** What each peer of the own site is told once it has introduced itself. */
  readonly news: () => News | null
  readonly heard: (news: HeardNews) => void
  /** Called once, when the session closes. */
  readonly closed: () => void
}

/** News, and who told it; `address` is where it can be dialled, null when it did not say. */
export type HeardNews = News & { readonly memberId: string; readonly address: Address | null }

export type SessionStatistics = {
  /** Can be given to others. */
  readonly heldPieces: number
  /** Came and were verified, or were held before: what is not needed any more. More than `heldPieces` where pieces are forgotten. */
  readonly hadPieces: number
  readonly pieceCount: number
  readonly downloadedBytes: number
  readonly uploadedBytes: number
  readonly fromServersBytes: number
  readonly fromClientsBytes: number
  /** Of servers and clients of other sites, in these. */
  readonly fromOtherSitesBytes: number
  /** Blocks that came and were not needed. */
  readonly duplicateBytes: number
  readonly corruptPieces: number
  /** Over the last 10 s. */
  readonly downloadBytesPerSecond: number
  /** Over the last 10 s. */
  readonly uploadBytesPerSecond: number
  readonly peers: number
  /** Connected peers that lack a piece that we hold. */
  readonly peersInNeed: number
}

type Link = {
  readonly number: PeerNumber
  readonly connection: Connection
  introduction: Introduction | null
  readonly metadata: MetadataService
  readonly newsAllowance: NewsAllowance
}

type Waiter = { readonly resolve: () => void; readonly reject: (error: Error) => void }

export class TorrentSession {
  readonly torrent: Torrent
  readonly pieces: PieceStore
  readonly #parts: SessionParts
  readonly #core: TorrentCore<BlockSlices>
  readonly #assembly: PieceAssembly
  readonly #links = new Map<PeerNumber, Link>()
  readonly #byMember = new Map<string, Link>()
  readonly #events: CoreEvent<BlockSlices>[] = []
  readonly #pieceWaiters = new Map<number, Set<Waiter>>()
  readonly #completeWaiters = new Set<Waiter>()
  readonly #closing = new AbortController()
  readonly #downloadRate: WindowedRate
  readonly #uploadRate: WindowedRate
  /** Reads and writes of the store under way. */
  readonly #storeWork = new Set<Promise<void>>()
  #nextNumber = 1
  #stepping = false
  #failure: Error | null = null

  /** For `Swarm.join` alone. */
  constructor(torrent: Torrent, pieces: PieceStore, parts: SessionParts) {
    this.torrent = torrent
    this.pieces = pieces
    this.#parts = parts
    const held = new Bitfield(torrent.pieceCount)
    for (let piece = 0; piece < torrent.pieceCount; piece += 1) if (pieces.has(piece)) held.set(piece)
    const nowMs = parts.nowMs()
    const own = { key: parts.memberId, server: parts.server, site: parts.site }
    this.#core = new TorrentCore(
      { own, wan: parts.wan, shape: torrent, held, random: parts.random, nowMs, window: pieces.window ?? null },
      { peers: parts.maxPeers },
    )
    this.#assembly = new PieceAssembly(torrent)
    this.#downloadRate = new WindowedRate(nowMs)
    this.#uploadRate = new WindowedRate(nowMs)
  }

  /** Peers may be there: they are dialled before any that are learned of otherwise, and again, with pauses, while pieces are missing. */
  addPeers(addresses: readonly Address[]): void {
    this.#dispatch({ kind: "addresses", from: null, given: true, addresses })
  }

  statistics(): SessionStatistics {
    const nowMs = this.#parts.nowMs()
    return {
      ...this.#core.statistics,
      heldPieces: this.#core.held.count,
      hadPieces: this.#core.had.count,
      pieceCount: this.torrent.pieceCount,
      downloadBytesPerSecond: this.#downloadRate.bytesPerSecond(nowMs),
      uploadBytesPerSecond: this.#uploadRate.bytesPerSecond(nowMs),
      peers: this.#links.size,
      peersInNeed: this.#core.peersInNeed,
    }
  }

  /** Of who needs this member here, and who else could help them. */
  demand(): Demand {
    return this.#core.demand
  }

  /**
   * Resolves when the piece can be read from the store.
   * @throws {GridError} PIECE_OUT_OF_RANGE, or what the store refused a piece with (DISK_FULL, STATE_DAMAGED)
   * @throws {RangeError} when the piece was forgotten, and will not come again
   * @throws the signal's reason; an Error when the session is closed first
   */
  async whenHeld(piece: number, signal?: AbortSignal): Promise<void> {
    const index = pieceIndex(piece, this.torrent.pieceCount)
    if (this.#core.held.has(index)) return
    if (this.#core.had.has(index)) throw new RangeError(`piece ${piece} was forgotten: the window has passed it`)
    const waiters = this.#pieceWaiters.get(index) ?? new Set()
    this.#pieceWaiters.set(index, waiters)
    await this.#wait(waiters, signal)
  }

  /**
   * Resolves when every piece is held, or was, in a store that forgets.
   * @throws as `whenHeld`
   */
  async whenComplete(signal?: AbortSignal): Promise<void> {
    if (!this.#core.complete) await this.#wait(this.#completeWaiters, signal)
  }

  /**
   * Pieces from this one on are wanted first: the next few before all others, the rarest of a wide window after. A store that has room for a window
   * alone takes no others, and forgets those that the window has passed: who reads in order moves it on, and none of what is behind comes again.
   * @throws {GridError} PIECE_OUT_OF_RANGE
   */
  moveWindow(firstPiece: number): void {
    this.#dispatch({ kind: "window", firstPiece: pieceIndex(firstPiece, this.torrent.pieceCount) })
  }

  /** Parts from all peers and ends all waiting; resolves when the store is no longer used. It stays open: it is its owner's. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    for (const link of this.#links.values()) link.connection.close()
    this.#links.clear()
    this.#byMember.clear()
    const error = new Error("the torrent's session was closed")
    for (const waiters of [...this.#pieceWaiters.values(), this.#completeWaiters]) for (const { reject } of waiters) reject(error)
    this.#parts.closed()
    await Promise.all(this.#storeWork)
  }

  // For the swarm.

  /** Whether anything can happen here by itself. */
  get active(): boolean {
    return this.#links.size > 0 || !this.#core.complete
  }

  get complete(): boolean {
    return this.#core.complete
  }

  /** Whether members of this site may have the torrent. */
  isSharedWith(site: string): boolean {
    return this.#parts.sharedWith(site)
  }

  tick(): void {
    this.#dispatch({ kind: "tick" })
  }

  /** Addresses that discovery found. */
  found(addresses: readonly Address[]): void {
    this.#dispatch({ kind: "addresses", from: null, given: false, addresses })
  }

  /**
   * Whether a new connection with this member is to be made, or to take the place of one that stands. Of two that were dialled from
   * different ends the one dialled by the lower member id stays, so that both ends keep the same. Of two dialled from one end, that end decides.
   */
  wants({ memberId, site }: Pick<AdmittedPeer, "memberId" | "site">, dialledBy: "us" | "them"): boolean {
    if (this.#closing.signal.aborted || memberId === this.#parts.memberId || this.#core.isBanned(memberId)) return false
    if (!this.#parts.sharedWith(site)) return false
    const existing = this.#byMember.get(memberId)
    if (existing === undefined) return dialledBy === "us" || this.#core.hasRoomFor(site)
    const existingBy = existing.connection.dialled === null ? "them" : "us"
    if (existingBy === dialledBy) return dialledBy === "them"
    return this.#parts.memberId < memberId === (dialledBy === "us")
  }

  /** Takes a connection whose handshakes are done; closes it when it is not wanted. */
  adopt(connection: Connection): boolean {
    const { memberId, role, site } = connection.peer
    if (connection.closed || !this.#parts.admits(connection) || !this.wants(connection.peer, connection.dialled === null ? "them" : "us")) {
      connection.close()
      return false
    }
    const existing = this.#byMember.get(memberId)
    if (existing !== undefined) this.#drop(existing)
    const link: Link = {
      number: this.#nextNumber,
      connection,
      introduction: null,
      metadata: new MetadataService(this.torrent, connection),
      newsAllowance: new NewsAllowance(this.#parts.nowMs()),
    }
    this.#nextNumber += 1
    this.#links.set(link.number, link)
    this.#byMember.set(memberId, link)
    this.#dispatch({ kind: "connected", peer: link.number, key: memberId, role, site, dialled: connection.dialled })
    connection.sendExtended(
      EXTENDED_HANDSHAKE,
      encodeIntroduction({
        listenPort: this.#parts.listenPort,
        requestQueueLimit: defaultLimits.requestsQueued,
        metadataBytes: this.torrent.infoBytes.length,
      }),
    )
    connection.start(
      {
        message: (message) => this.#take(link, message),
        closed: (error) => {
          if (this.#links.get(link.number) !== link) return
          const defect = error !== null && !(error instanceof GridError) && systemErrorCode(error) === null
          const fields = { infohash: this.torrent.infohash, memberId, reason: error?.message ?? null }
          this.#parts.log[defect ? "warn" : "debug"](fields, "peer gone")
          if (error instanceof GridError && error.code === "PEER_MISBEHAVED")
            this.#dispatch({ kind: "violated", peer: link.number, detail: error.detail })
          this.#drop(link)
        },
      },
      Math.ceil(this.torrent.pieceCount / 8),
    )
    return true
  }

  /** Cuts connections whose members are no longer admitted, or may have this torrent no more. */
  recheck(): void {
    const { admits, sharedWith } = this.#parts
    for (const { connection } of this.#links.values()) if (!sharedWith(connection.peer.site) || !admits(connection)) connection.close()
  }

  /** Tells every peer of the own site that takes it. */
  tellNews(news: News): void {
    for (const link of this.#links.values()) this.#tellNews(link, news)
  }

  // From the wire to the core.

  #take(link: Link, message: WireMessage): void {
    if (this.#links.get(link.number) !== link) return
    if (message.type === "extended") return this.#takeExtended(link, message.id, message.payload)
    this.#dispatch({ kind: "message", peer: link.number, message })
  }

  #takeExtended(link: Link, id: number, payload: Buffer): void {
    if (id === METADATA) return link.metadata.take(payload, link.introduction?.metadata ?? null)
    if (id === PEER_EXCHANGE) return this.#takePeers(link, payload)
    if (id === SITE) return this.#dispatch({ kind: "site-news", peer: link.number, news: decodeSiteNews(payload) })
    if (id === NEWS) return this.#takeNews(link, payload)
    if (id === DONT_HAVE) return this.#dispatch({ kind: "dont-have", peer: link.number, piece: decodeDontHave(payload) })
    if (id !== EXTENDED_HANDSHAKE) throw new GridError("PEER_MISBEHAVED", `extended message ${id}, which was not offered`)
    if (link.introduction !== null) throw new GridError("PEER_MISBEHAVED", "introduced itself twice")
    const introduction = decodeIntroduction(payload)
    link.introduction = introduction
    this.#dispatch({
      kind: "introduced",
      peer: link.number,
      listen: listenAddressOf(link),
      exchangesPeers: introduction.peerExchange !== null,
      takesDontHave: introduction.dontHave !== null,
      requestQueueLimit: introduction.requestQueueLimit,
    })
    const news = this.#parts.news()
    if (news !== null) this.#tellNews(link, news)
  }

  #takePeers(link: Link, payload: Buffer): void {
    const peers = decodePeerExchange(payload)
    for (const where of ["near", "far", "unknown"] as const)
      if (peers[where].length > 0) this.#dispatch({ kind: "addresses", from: link.number, given: false, where, addresses: peers[where] })
  }

  #takeNews(link: Link, payload: Buffer): void {
    link.newsAllowance.use(this.#parts.nowMs())
    const news = decodeNews(payload)
    const { memberId, site } = link.connection.peer
    if (site === this.#parts.site) this.#parts.heard({ ...news, memberId, address: listenAddressOf(link) })
  }

  #tellNews(link: Link, news: News): void {
    const id = link.introduction?.news ?? null
    if (id !== null && link.connection.peer.site === this.#parts.site) link.connection.sendExtended(id, encodeNews(news))
  }

  #dispatch(event: CoreEvent<BlockSlices>): void {
    this.#events.push(event)
    if (this.#stepping || this.#closing.signal.aborted) return
    this.#stepping = true
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift())
        for (const effect of this.#core.step(next, this.#parts.nowMs())) this.#carryOut(effect)
    } finally {
      this.#stepping = false
    }
  }

  #drop(link: Link): void {
    this.#links.delete(link.number)
    if (this.#byMember.get(link.connection.peer.memberId) === link) this.#byMember.delete(link.connection.peer.memberId)
    link.connection.close()
    this.#dispatch({ kind: "gone", peer: link.number })
  }

  // From the core to the world.

  #carryOut(effect: CoreEffect<BlockSlices>): void {
    switch (effect.kind) {
      case "send":
        this.#links.get(effect.peer)?.connection.send(effect.message)
        return
      case "upload":
        this.#track(this.#upload(effect.peer, effect.blocks))
        return
      case "keep-block":
        this.#assembly.keep(effect.piece, effect.offset, effect.block)
        this.#downloadRate.add(
          effect.block.reduce((sum, slice) => sum + slice.length, 0),
          this.#parts.nowMs(),
        )
        return
      case "verify":
        this.#track(this.#verify(effect.piece))
        return
      case "drop-piece":
        this.#assembly.drop(effect.piece)
        return
      case "forget-piece":
        this.pieces.window?.forget(effect.piece)
        return
      case "dont-have": {
        const link = this.#links.get(effect.peer)
        const id = link?.introduction?.dontHave ?? null
        if (link !== undefined && id !== null) link.connection.sendExtended(id, encodeDontHave(effect.piece))
        return
      }
      case "exchange-peers": {
        const link = this.#links.get(effect.peer)
        const id = link?.introduction?.peerExchange ?? null
        if (link !== undefined && id !== null) link.connection.sendExtended(id, encodePeerExchange(effect.near, effect.far, effect.dropped))
        return
      }
      case "tell-site": {
        const link = this.#links.get(effect.peer)
        const id = link?.introduction?.site ?? null
        if (link !== undefined && id !== null) link.connection.sendExtended(id, encodeSiteNews(effect.news))
        return
      }
      case "disconnect": {
        const link = this.#links.get(effect.peer)
        if (link === undefined) return
        const { memberId } = link.connection.peer
        const fields = { infohash: this.torrent.infohash, memberId, reason: effect.reason, detail: effect.detail }
        this.#parts.log[effect.reason === "misbehaved" || effect.reason === "corrupt" ? "warn" : "debug"](fields, "peer dropped")
        this.#drop(link)
        return
      }
      case "dial":
        void this.#dial(effect.address)
        return
    }
  }

  #track(work: Promise<void>): void {
    this.#storeWork.add(work)
    void work.finally(() => this.#storeWork.delete(work))
  }

  async #dial(address: Address): Promise<void> {
    try {
      const connection = await this.#parts.dial(address, (peer) => this.wants(peer, "us"))
      if (!this.adopt(connection)) this.#dispatch({ kind: "dial-failed", address })
    } catch (error) {
      if (!(error instanceof GridError)) throw error
      this.#parts.log.debug({ infohash: this.torrent.infohash, address, code: error.code, detail: error.detail }, "dial failed")
      this.#dispatch({ kind: "dial-failed", address })
    }
  }

  async #upload(number: PeerNumber, blocks: readonly BlockSpan[]): Promise<void> {
    const { uploadLimit } = this.#parts
    const bytes = blocks.reduce((sum, block) => sum + block.length, 0)
    const link = this.#links.get(number)
    if (link === undefined) return
    try {
      if (uploadLimit !== null) await uploadLimit.wait(bytes, this.#closing.signal)
      let sentBytes = 0
      for (let rest = blocks; rest.length > 0 && this.#links.get(number) === link;) {
        const held = this.#refuseForgotten(link, rest)
        if (held.length === 0) break
        const frame = await this.#readFrame(held)
        rest = held.slice(frame?.blocks.length ?? 0)
        if (frame === null) continue
        await link.connection.upload(frame.bytes)
        frame.giveBack()
        for (const { length } of frame.blocks) sentBytes += length
      }
      if (this.#links.get(number) !== link) return
      this.#uploadRate.add(sentBytes, this.#parts.nowMs())
      this.#dispatch({ kind: "uploaded", peer: number, bytes: sentBytes })
    } catch (error) {
      // A store that was closed under us or can't be read: this peer finds the bytes elsewhere.
      this.#parts.log.warn({ infohash: this.torrent.infohash, error: String(error) }, "a piece could not be read")
      link.connection.close()
    }
  }

  /** What the window passed while it waited to be sent is refused (BEP 6); returns the rest. */
  #refuseForgotten(link: Link, blocks: readonly BlockSpan[]): readonly BlockSpan[] {
    if (this.pieces.window === undefined) return blocks
    const held: BlockSpan[] = []
    for (const block of blocks)
      if (this.#core.held.has(block.piece)) held.push(block)
      else link.connection.send({ type: "reject", ...block })
    return held
  }

  /** Null when a piece was forgotten as it was read. */
  async #readFrame(blocks: readonly BlockSpan[]): Promise<UploadFrame | null> {
    try {
      return await this.#parts.frames.read(this.pieces, blocks)
    } catch (error) {
      if (blocks.every(({ piece }) => this.#core.held.has(piece))) throw error
      return null
    }
  }

  async #verify(piece: number): Promise<void> {
    const verified = this.#assembly.verify(piece)
    if (verified === null) {
      this.#parts.log.warn({ infohash: this.torrent.infohash, piece }, "piece corrupt")
      return this.#dispatch({ kind: "piece-corrupt", piece })
    }
    try {
      await this.pieces.write(piece, verified.bytes)
    } catch (error) {
      return this.#fail(piece, error instanceof Error ? error : new Error(String(error)))
    }
    this.#assembly.drop(piece)
    this.#dispatch({ kind: "piece-stored", piece, wrongBlocks: verified.wrongBlocks })
    this.#settle(this.#pieceWaiters.get(piece))
    this.#pieceWaiters.delete(piece)
    if (this.#core.complete) this.#settle(this.#completeWaiters)
  }

  /** The store takes no more pieces: whoever waits is told why. */
  #fail(piece: number, error: Error): void {
    this.#failure ??= error
    this.#parts.log.warn({ infohash: this.torrent.infohash, piece, error: error.message }, "a piece could not be stored")
    this.#dispatch({ kind: "store-failed", piece })
    for (const waiters of [...this.#pieceWaiters.values(), this.#completeWaiters]) for (const { reject } of waiters) reject(error)
  }

  #settle(waiters: Set<Waiter> | undefined): void {
    for (const { resolve } of waiters ?? []) resolve()
  }

  async #wait(waiters: Set<Waiter>, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    if (this.#failure !== null) throw this.#failure
    if (this.#closing.signal.aborted) throw new Error("the torrent's session was closed")
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiter: Waiter = { resolve, reject }
    const stop = () => reject(signal?.reason instanceof Error ? signal.reason : new Error("given up"))
    waiters.add(waiter)
    signal?.addEventListener("abort", stop)
    try {
      await promise
    } finally {
      waiters.delete(waiter)
      signal?.removeEventListener("abort", stop)
    }
  }
}

function listenAddressOf({ connection, introduction }: Link): Address | null {
  const host = connection.remoteHost
  const port = introduction?.listenPort ?? null
  return host === null || port === null ? null : { host, port }
}
