/**
 * The public door of the swarm: many torrents on one listening port, every connection TLS 1.3 with both certificates checked before a
 * byte of the peer protocol is read.
 */
import { createServer, type Server, type TLSSocket } from "node:tls"
import type { Socket } from "node:net"
import { formatAddress, type Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import { GridError, systemErrorCode } from "#core/errors.ts"
import type { Infohash } from "#core/identifiers.ts"
import type { PieceStore } from "#core/piece-store.ts"
import type { Torrent } from "#core/torrent.ts"
import { admitPeer, requireStillAdmitted, type SwarmAdmission } from "./admission.ts"
import { Connection } from "./connection.ts"
import { defaultLimits } from "./core/limits.ts"
import { seededRandom, type Random } from "./core/random.ts"
import { TICK_MS } from "./core/torrent-core.ts"
import { WanBudget } from "./core/wan-budget.ts"
import { Dialler, HANDSHAKE_TIMEOUT_MS } from "./dialler.ts"
import type { News } from "./extensions.ts"
import { silentLog, type SwarmLog } from "./log.ts"
import { fetchMetadata } from "./metadata-fetch.ts"
import { monotonic } from "./monotonic.ts"
import { NEWS_INTERVAL_MS } from "./news-allowance.ts"
import { TorrentSession, type HeardNews } from "./session.ts"
import { UploadFrames } from "./upload-frames.ts"
import { UploadLimit } from "./upload-limit.ts"
import { peerIdOf } from "./wire.ts"

export type { SwarmAdmission } from "./admission.ts"
export type { Demand } from "./core/demand.ts"
export type { SwarmLog } from "./log.ts"
export { TorrentSession, type HeardNews } from "./session.ts"

/** Finds members that serve a torrent; the DHT is one. */
export interface Discovery {
  announce(infohash: Infohash, swarmPort: number): Promise<void>
  lookup(infohash: Infohash, signal?: AbortSignal): Promise<Address[]>
}

export type SwarmParts = {
  readonly admission: SwarmAdmission
  /** Own id: it decides which connection stays when two members dial each other at once. */
  readonly memberId: string
  readonly clock: Clock
  readonly discovery: Discovery | null
  readonly random?: Random
  readonly log?: SwarmLog
}

export type SwarmOptions = {
  /** Port 0 is any free one. */
  readonly listen: Address
  /** For all torrents together; without it, as fast as it goes. */
  readonly uploadBytesPerSecondLimit?: number
  /** What all members of the own site together may send to other sites; a server tells it to the others. Without it, as fast as it goes, unless a server says otherwise. */
  readonly wanBytesPerSecondLimit?: number
  readonly maxPeersPerTorrent?: number
}

export type JoinOptions = {
  /** Whose members may have this torrent, asked for each connection and again when `Admission` changes; without it, the own site's alone. */
  readonly sharedWith?: (site: string) => boolean
}

/** Payload. `fromOtherSitesBytes` are contained in the two before it. */
export type SwarmTraffic = {
  readonly sentBytes: number
  readonly fromServersBytes: number
  readonly fromClientsBytes: number
  readonly fromOtherSitesBytes: number
}

function added(sum: SwarmTraffic, session: TorrentSession): SwarmTraffic {
  const { uploadedBytes, fromServersBytes, fromClientsBytes, fromOtherSitesBytes } = session.statistics()
  return {
    sentBytes: sum.sentBytes + uploadedBytes,
    fromServersBytes: sum.fromServersBytes + fromServersBytes,
    fromClientsBytes: sum.fromClientsBytes + fromClientsBytes,
    fromOtherSitesBytes: sum.fromOtherSitesBytes + fromOtherSitesBytes,
  }
}

/** Connections of all torrents. */
const CONNECTIONS_MAX = 10_000
/** Incoming connections that have not finished both handshakes; a new one takes the place of the oldest. */
const HALF_OPEN_MAX = 256
/** Discovery is asked again after this, then after twice as long, while pieces are missing. */
const LOOKUP_FIRST_MS = 2_000
const LOOKUP_MAX_MS = 60_000
/** How often a torrent is announced again. */
const ANNOUNCE_MS = 15 * 60_000
/** How often live connections are checked again: certificates lapse without a word. */
const RECHECK_MS = 60_000
/** Rounds of `fetchTorrent` over all addresses, and the pause after each but the last. */
const FETCH_PAUSES_MS = [1_000, 2_000, 0]
const FETCHES_AT_A_TIME = 4

export class Swarm {
  readonly #parts: SwarmParts
  readonly #options: SwarmOptions
  readonly #server: Server
  readonly #dialler: Dialler
  readonly #log: SwarmLog
  readonly #random: Random
  readonly #nowMs: () => number
  readonly #frames = new UploadFrames()
  readonly #uploadLimit: UploadLimit | null
  readonly #wan: WanBudget
  readonly #sessions = new Map<Infohash, TorrentSession>()
  /** Of sessions that are closed. */
  #past: SwarmTraffic = { sentBytes: 0, fromServersBytes: 0, fromClientsBytes: 0, fromOtherSitesBytes: 0 }
  /** By remote address and port, oldest first: all that the plain and the TLS end of one connection have in common. */
  readonly #halfOpen = new Map<string, Socket>()
  readonly #closing = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly #newsListeners = new Set<(news: HeardNews) => void>()
  /** Connections that fetch metadata, which no session knows of. */
  readonly #fetching = new Set<Connection>()
  #news: News | null = null
  #toldNews: News | null = null
  #newsToldAtMs = Number.NEGATIVE_INFINITY
  #recheckedAtMs = 0
  readonly #stopWatching: () => void

  private constructor(parts: SwarmParts, options: SwarmOptions, server: Server) {
    this.#parts = parts
    this.#options = options
    this.#server = server
    this.#log = parts.log ?? silentLog
    this.#random = parts.random ?? seededRandom(Number.parseInt(parts.memberId.slice(0, 8), 16) ^ parts.clock.nowMs())
    this.#nowMs = monotonic(parts.clock)
    this.#dialler = new Dialler(parts.admission, parts.memberId, this.#nowMs)
    this.#uploadLimit = options.uploadBytesPerSecondLimit === undefined ? null : new UploadLimit(options.uploadBytesPerSecondLimit)
    this.#wan = new WanBudget(options.wanBytesPerSecondLimit ?? null, defaultLimits, this.#nowMs())
    server.on("error", (error) => this.#log.warn({ reason: error.message }, "a connection could not be taken"))
    server.on("connection", (socket) => this.#greet(socket))
    server.on("secureConnection", (socket) => void this.#receive(socket))
    server.on("tlsClientError", (error, socket) => {
      this.#log.debug({ reason: error.message }, "TLS refused")
      socket.destroy()
    })
    this.#stopWatching = parts.admission.onChange(() => this.#admissionChanged())
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
  }

  /**
   * @throws {GridError} ADDRESS_IN_USE
   * @throws {RangeError} for options out of range
   */
  static async listen(parts: SwarmParts, options: SwarmOptions): Promise<Swarm> {
    const server = createServer({ ...parts.admission.tlsServerOptions(), handshakeTimeout: HANDSHAKE_TIMEOUT_MS })
    server.maxConnections = CONNECTIONS_MAX
    const { promise, resolve, reject } = Promise.withResolvers<null>()
    server.once("error", reject)
    server.listen(options.listen.port, options.listen.host, () => resolve(null))
    try {
      await promise
    } catch (cause) {
      const code = systemErrorCode(cause)
      if (code !== "EADDRINUSE" && code !== "EADDRNOTAVAIL" && code !== "EACCES") throw cause
      throw new GridError("ADDRESS_IN_USE", `the swarm can't listen on ${formatAddress(options.listen)} (${code}); choose another`, {
        cause,
      })
    }
    return new Swarm(parts, options, server)
  }

  /** Where it listens: with the real port. */
  get address(): Address {
    const bound = this.#server.address()
    const port = bound !== null && typeof bound === "object" ? bound.port : this.#options.listen.port
    return { host: this.#options.listen.host, port }
  }

  /** Of all torrents together, since the start. */
  get traffic(): SwarmTraffic {
    return [...this.#sessions.values()].reduce(added, this.#past)
  }

  /** Connected peers, once for each torrent. */
  get peerCount(): number {
    let count = 0
    for (const session of this.#sessions.values()) count += session.statistics().peers
    return count
  }

  session(infohash: Infohash): TorrentSession | null {
    return this.#sessions.get(infohash) ?? null
  }

  /**
   * Seeds what `pieces` holds and downloads what it lacks. The store stays the caller's: it must stay open until the session is closed.
   * @throws {TypeError} when this torrent is joined, the swarm is closed or the store is of another torrent
   */
  join(torrent: Torrent, pieces: PieceStore, options: JoinOptions = {}): TorrentSession {
    if (this.#closing.signal.aborted) throw new TypeError("the swarm is closed")
    if (this.#sessions.has(torrent.infohash)) throw new TypeError(`${torrent.infohash} is joined; use session()`)
    if (
      pieces.pieceCount !== torrent.pieceCount ||
      pieces.pieceBytes !== torrent.pieceBytes ||
      pieces.contentBytes !== torrent.contentBytes
    )
      throw new TypeError(`the store given for ${torrent.infohash} is of another torrent`)
    const ended = new AbortController()
    const session = new TorrentSession(torrent, pieces, {
      memberId: this.#parts.memberId,
      site: this.#parts.admission.site,
      server: this.#parts.admission.role !== "client",
      wan: this.#wan,
      listenPort: this.address.port,
      random: this.#random,
      log: this.#log,
      frames: this.#frames,
      uploadLimit: this.#uploadLimit,
      nowMs: this.#nowMs,
      maxPeers: this.#options.maxPeersPerTorrent ?? defaultLimits.peers,
      admits: (connection) => this.#admits(connection),
      sharedWith: options.sharedWith ?? ((site) => site === this.#parts.admission.site),
      dial: (address, wanted) => this.#dialler.dial(address, torrent.infohash, wanted),
      news: () => this.#news,
      heard: (news) => {
        for (const listener of this.#newsListeners) listener(news)
      },
      closed: () => {
        ended.abort()
        this.#past = added(this.#past, session)
        this.#sessions.delete(torrent.infohash)
      },
    })
    this.#sessions.set(torrent.infohash, session)
    if (this.#parts.discovery !== null) {
      void this.#announce(this.#parts.discovery, session, ended.signal)
      void this.#lookUp(this.#parts.discovery, session, ended.signal)
    }
    return session
  }

  /**
   * The torrent of this infohash, from any admitted peer that has it (BEP 9), compared with the infohash.
   * @throws {GridError} SEEDERS_MISSING, TORRENT_INVALID when the dictionary is the right one but not of the form it must have
   * @throws the signal's reason
   */
  async fetchTorrent(
    infohash: Infohash,
    options: { readonly peers?: readonly Address[]; readonly signal?: AbortSignal } = {},
  ): Promise<Torrent> {
    const own = this.#sessions.get(infohash)
    if (own !== undefined) return own.torrent
    const found = new AbortController()
    const signal = AbortSignal.any([found.signal, this.#closing.signal, ...(options.signal === undefined ? [] : [options.signal])])
    try {
      for (const pauseMs of FETCH_PAUSES_MS) {
        const addresses = new Map((options.peers ?? []).map((address) => [formatAddress(address), address]))
        const torrent =
          (await this.#fetchFromAny(infohash, [...addresses.values()], signal)) ??
          (await this.#fetchFromAny(infohash, await this.#discover(infohash, signal, addresses), signal))
        if (torrent !== null) return torrent
        await pause(pauseMs, signal)
      }
    } finally {
      found.abort()
    }
    throw new GridError("SEEDERS_MISSING", `no peer gave the metadata of ${infohash}; is a server that holds it running?`)
  }

  /** What all peers of the own site are told from now on: those connected now, at most once a second, and each that connects. */
  setNews(news: News): void {
    if (news.seq === this.#news?.seq && news.infohash === this.#news.infohash) return
    this.#news = news
    this.#tellNews()
  }

  /** Calls `listener` with the news of any connected member: its word and no more. Returns how to stop. */
  onNews(listener: (news: HeardNews) => void): () => void {
    this.#newsListeners.add(listener)
    return () => this.#newsListeners.delete(listener)
  }

  /** Cuts whoever is admitted no more, or may no more have the torrent that it is connected for. */
  recheck(): void {
    for (const session of this.#sessions.values()) session.recheck()
  }

  /** Parts from all peers and stops listening. Stores stay open: they are their owners'. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    clearInterval(this.#timer)
    this.#stopWatching()
    this.#dialler.close()
    const { promise, resolve } = Promise.withResolvers<null>()
    this.#server.close(() => resolve(null))
    for (const session of this.#sessions.values()) await session.close()
    for (const socket of this.#halfOpen.values()) socket.destroy()
    await promise
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #tick(): void {
    const nowMs = this.#nowMs()
    this.#tellNews()
    if (nowMs - this.#recheckedAtMs >= RECHECK_MS) {
      this.#recheckedAtMs = nowMs
      this.#frames.trim()
      this.recheck()
    }
    for (const session of this.#sessions.values()) if (session.active) session.tick()
  }

  #tellNews(): void {
    const nowMs = this.#nowMs()
    if (this.#news === null || this.#news === this.#toldNews || nowMs - this.#newsToldAtMs < NEWS_INTERVAL_MS) return
    this.#toldNews = this.#news
    this.#newsToldAtMs = nowMs
    for (const session of this.#sessions.values()) session.tellNews(this.#news)
  }

  // Connections that come in.

  #greet(socket: Socket): void {
    const name = remoteName(socket)
    const [oldest] = this.#halfOpen.values()
    if (this.#halfOpen.size >= HALF_OPEN_MAX) oldest?.destroy()
    this.#halfOpen.set(name, socket)
    socket.once("close", () => {
      if (this.#halfOpen.get(name) === socket) this.#halfOpen.delete(name)
    })
  }

  async #receive(socket: TLSSocket): Promise<void> {
    socket.on("error", (error) => this.#log.debug({ reason: error.message }, "connection broke"))
    try {
      const peer = admitPeer(this.#parts.admission, socket)
      const connection = new Connection(socket, peer, null)
      const { infohash, peerId } = await connection.readHandshake(HANDSHAKE_TIMEOUT_MS)
      const session = this.#sessions.get(infohash)
      if (session === undefined || !peerId.equals(peerIdOf(peer.memberId)) || !session.wants(peer, "them")) return connection.close()
      this.#halfOpen.delete(remoteName(socket))
      connection.sendHandshake({ infohash, peerId: peerIdOf(this.#parts.memberId) })
      session.adopt(connection)
    } catch (error) {
      if (!(error instanceof Error)) throw error
      this.#log.debug({ reason: error.message }, "connection refused")
      socket.destroy()
    }
  }

  #admissionChanged(): void {
    this.#server.setSecureContext(this.#parts.admission.tlsServerOptions())
    this.#dialler.admissionChanged()
    this.recheck()
    for (const connection of this.#fetching) if (!this.#admits(connection)) connection.close()
  }

  #admits(connection: Connection): boolean {
    try {
      requireStillAdmitted(this.#parts.admission, connection.peer)
      return true
    } catch (error) {
      this.#log.debug({ memberId: connection.peer.memberId, reason: String(error) }, "peer no longer admitted")
      return false
    }
  }

  // Discovery.

  async #announce(discovery: Discovery, session: TorrentSession, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await discovery.announce(session.torrent.infohash, this.address.port)
      } catch (error) {
        this.#log.debug({ infohash: session.torrent.infohash, reason: String(error) }, "announce failed")
      }
      await quietPause(ANNOUNCE_MS, signal)
    }
  }

  async #lookUp(discovery: Discovery, session: TorrentSession, signal: AbortSignal): Promise<void> {
    let pauseMs = LOOKUP_FIRST_MS
    while (!signal.aborted && !session.complete) {
      try {
        session.found(await discovery.lookup(session.torrent.infohash, signal))
      } catch (error) {
        this.#log.debug({ infohash: session.torrent.infohash, reason: String(error) }, "lookup failed")
      }
      await quietPause(pauseMs, signal)
      pauseMs = Math.min(LOOKUP_MAX_MS, pauseMs * 2)
    }
  }

  /** Addresses that discovery knows beyond those tried. */
  async #discover(infohash: Infohash, signal: AbortSignal, tried: ReadonlyMap<string, Address>): Promise<Address[]> {
    if (this.#parts.discovery === null) return []
    try {
      const found = await this.#parts.discovery.lookup(infohash, signal)
      return found.filter((address) => !tried.has(formatAddress(address)))
    } catch (error) {
      signal.throwIfAborted()
      this.#log.debug({ infohash, reason: String(error) }, "lookup failed")
      return []
    }
  }

  async #fetchFromAny(infohash: Infohash, addresses: readonly Address[], signal: AbortSignal): Promise<Torrent | null> {
    const outcome: { torrent: Torrent | null; invalid: GridError | null } = { torrent: null, invalid: null }
    const waiting = [...addresses]
    // The first to give it ends the others: one that drips, or never answers, keeps nobody waiting.
    const had = new AbortController()
    const either = AbortSignal.any([signal, had.signal])
    const first = Promise.withResolvers<null>()
    const fetchFromSome = async () => {
      for (let address = waiting.shift(); address !== undefined && outcome.torrent === null; address = waiting.shift()) {
        try {
          const connection = await this.#dialler.dial(address, infohash, () => outcome.torrent === null)
          this.#fetching.add(connection)
          outcome.torrent = await fetchMetadata(connection, infohash, this.address.port, either).finally(() =>
            this.#fetching.delete(connection),
          )
          had.abort()
          first.resolve(null)
        } catch (error) {
          if (had.signal.aborted) return
          signal.throwIfAborted()
          if (!(error instanceof GridError)) throw error
          if (error.code === "TORRENT_INVALID") outcome.invalid = error
          this.#log.debug({ infohash, address, code: error.code, detail: error.detail }, "metadata not had")
        }
      }
    }
    signal.throwIfAborted()
    const all = Promise.all(Array.from({ length: Math.min(FETCHES_AT_A_TIME, waiting.length) }, fetchFromSome))
    await unlessAborted(Promise.race([all, first.promise]), signal)
    if (outcome.torrent === null && outcome.invalid !== null) throw outcome.invalid
    return outcome.torrent
  }
}

function remoteName(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`
}

/** @throws the signal's reason as soon as it aborts: a dial that nobody answers ends in its own time */
async function unlessAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>()
  const stop = () => reject(signal.reason instanceof Error ? signal.reason : new Error("given up"))
  signal.addEventListener("abort", stop)
  try {
    await Promise.race([work, promise])
  } finally {
    signal.removeEventListener("abort", stop)
  }
}

/** @throws the signal's reason */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await quietPause(ms, signal)
  signal.throwIfAborted()
}

async function quietPause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms === 0 || signal.aborted) return
  const { promise, resolve } = Promise.withResolvers<null>()
  const stop = () => resolve(null)
  const timer = setTimeout(stop, ms)
  signal.addEventListener("abort", stop)
  await promise
  clearTimeout(timer)
  signal.removeEventListener("abort", stop)
}
