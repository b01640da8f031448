/**
 * Keeps the newest catalog that this member has verified, on disk and in the swarm. What is kept only ever moves forward:
 * each candidate is verified against what is trusted already, made durable, and only then used.
 */
import { createHash } from "node:crypto"
import { openCatalog, type Catalog } from "#trust/catalog.ts"
import { packCatalog, unpackCatalog, type CatalogFiles } from "#trust/catalog-file.ts"
import { applyChange, type Change } from "#trust/change.ts"
import { newestRoot } from "#trust/files.ts"
import { mergeCatalogs } from "#trust/merge.ts"
import { refreshTimestamp, seedsInForce, type OnlineSeeds } from "#trust/online-roles.ts"
import type { Admission } from "#crypto/admission.ts"
import { signingKeyFromSeed, sign } from "#crypto/identity.ts"
import type { Clock } from "#core/clock.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import type { Infohash } from "#core/identifiers.ts"
import { makeTorrent, pieceBytesFor, type Torrent } from "#core/torrent.ts"
import { CATALOG_BYTES_MAX, routes, type OnlineSecrets } from "#core/wire.ts"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import type { Dht } from "#swarm/dht.ts"
import type { Swarm, TorrentSession } from "#swarm/swarm.ts"
import type { ApiClient } from "./api-client.ts"
import type { Home } from "./home.ts"
import type { Log } from "./log.ts"
import type { ServerDirectory } from "./server-directory.ts"

/** Salt of the BEP 46 pointer, so that one key may point to other things later. */
export const POINTER_SALT = "catalog"
/** A catalog that was replaced is seeded on for those who are halfway through it. */
const REPLACED_CATALOGS_SEEDED = 2
const FETCH_TIMEOUT_MS = 60_000

export type CatalogKeeperParts = {
  readonly home: Home
  readonly clock: Clock
  readonly log: Log
  readonly admission: Admission
  readonly api: ApiClient
  readonly directory: ServerDirectory
  /** Absent where a command only reads and asks over the API. */
  readonly network: { readonly swarm: Swarm; readonly dht: Dht } | null
  /** The online keys, in a server; asked for at each use, because they are replaced while it runs. */
  readonly online: () => OnlineSecrets | null
}

export class CatalogKeeper {
  readonly #parts: CatalogKeeperParts
  readonly #listeners = new Set<(catalog: Catalog) => void>()
  #catalog: Catalog
  #bytes: Buffer
  #sessions: TorrentSession[] = []
  /** Changes happen one after another, whoever asks for them. */
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(parts: CatalogKeeperParts, catalog: Catalog, bytes: Buffer) {
    this.#parts = parts
    this.#catalog = catalog
    this.#bytes = bytes
  }

  static async open(parts: CatalogKeeperParts, stored: { readonly catalog: Catalog; readonly bytes: Buffer }): Promise<CatalogKeeper> {
    const keeper = new CatalogKeeper(parts, stored.catalog, stored.bytes)
    await keeper.#seed()
    return keeper
  }

  get catalog(): Catalog {
    return this.#catalog
  }

  /** The catalog as it is passed on. */
  get bytes(): Buffer {
    return this.#bytes
  }

  onChange(listener: (catalog: Catalog) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** @throws {GridError} CATALOG_EXPIRED */
  requireFresh(): Catalog {
    const { expiresAtMs } = this.#catalog
    const nowMs = this.#parts.clock.nowMs()
    if (expiresAtMs > nowMs) return this.#catalog
    throw new GridError(
      "CATALOG_EXPIRED",
      `the newest that could be had expired at ${new Date(expiresAtMs).toISOString()}, and the clock here says ${new Date(nowMs).toISOString()}; ` +
        "check that a server of the site runs and can be reached, and this clock",
    )
  }

  /** Takes a catalog from elsewhere if it is newer than what is kept. Resolves with whether it was. @throws {GridError} CATALOG_* */
  async consider(bytes: Buffer): Promise<boolean> {
    if (bytes.length > CATALOG_BYTES_MAX)
      throw new GridError("CATALOG_INVALID", `${bytes.length} bytes, at most ${CATALOG_BYTES_MAX} are taken`)
    if (bytes.equals(this.#bytes)) return false
    const files = await unpackCatalog(bytes)
    return this.#change((nowMs) => {
      const online = this.#parts.online()
      const mine = this.#catalog.files
      if (online !== null) {
        openCatalog(files, { rootDigest: this.#parts.home.rootDigest }, nowMs)
        return mergeCatalogs({ mine, theirs: files, online: seedsFrom(online), nowMs })
      }
      const theirs = openCatalog(files, { trusted: mine }, nowMs)
      return theirs.seq > this.#catalog.seq ? files : mine
    })
  }

  /** A server takes what people signed. @throws {GridError} CATALOG_INVALID, CATALOG_ROLLBACK, SIGNATURES_MISSING, IMAGE_EXISTS, KEY_MISSING */
  async apply(change: Change): Promise<void> {
    const online = this.#parts.online()
    if (online === null) throw new GridError("KEY_MISSING", "only a server with the site's online keys takes changes")
    await this.#change((nowMs) => applyChange({ files: this.#catalog.files, change, online: seedsFrom(online), nowMs }))
  }

  /** A server signs a fresh timestamp when less than half of the old one's life is left. */
  async keepFresh(halfLifeMs: number): Promise<void> {
    const online = this.#parts.online()
    if (online === null) return
    await this.#change((nowMs) => {
      const { files, roles } = this.#catalog
      const endsAtMs = roles.find(({ name }) => name === "timestamp")?.expiresAtMs ?? 0
      const seeds = seedsFrom(online)(newestRoot(files))
      return endsAtMs - nowMs > halfLifeMs || seeds === null ? files : refreshTimestamp({ files, online: seeds, nowMs })
    })
  }

  /** Asks all known servers and the DHT; resolves when each has answered or failed. Never throws for a server's sake. */
  async refresh(signal?: AbortSignal): Promise<{ readonly answers: number; readonly failures: readonly unknown[] }> {
    const { directory, api, log } = this.#parts
    const servers = directory.contacts("api")
    const asked = servers.map(async (server) => {
      const bytes = await api.bytes(server, { path: routes.catalog, maxBytes: CATALOG_BYTES_MAX, ...(signal && { signal }) })
      await this.consider(bytes)
    })
    asked.push(this.#fromPointer(signal))
    const results = await Promise.allSettled(asked)
    const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []))
    for (const failure of failures) log.info({ reason: reasonOf(failure) }, "catalog source failed")
    return { answers: results.length - failures.length, failures }
  }

  async close(): Promise<void> {
    await this.#turn
    await Promise.all(this.#sessions.map((session) => session.close()))
  }

  /** @throws {GridError} SEEDERS_MISSING when the DHT knows nothing newer or nobody has it */
  async #fromPointer(signal?: AbortSignal): Promise<void> {
    const { network } = this.#parts
    if (network === null) throw new GridError("SEEDERS_MISSING", "the DHT was not asked")
    const item = await network.dht.getPointer(this.#catalog.site.pointerKey, POINTER_SALT)
    if (item === null) throw new GridError("SEEDERS_MISSING", "no node of the DHT knows the catalog's pointer")
    if (item.seq > this.#catalog.seq) {
      const timeout = AbortSignal.timeout(FETCH_TIMEOUT_MS)
      await this.consider(await this.#fetch(item.infohash, signal === undefined ? timeout : AbortSignal.any([signal, timeout])))
    }
    network.dht.hold(item)
  }

  async #fetch(infohash: Infohash, signal: AbortSignal): Promise<Buffer> {
    const { network, directory } = this.#parts
    if (network === null) throw new GridError("SEEDERS_MISSING", "the swarm is not open")
    const peers = directory.contacts("swarm")
    const torrent = await network.swarm.fetchTorrent(infohash, { peers, signal })
    if (torrent.contentBytes > CATALOG_BYTES_MAX) throw new GridError("CATALOG_INVALID", `a catalog of ${torrent.contentBytes} bytes`)
    const pieces = new MemoryPieceStore(torrent)
    const session = network.swarm.join(torrent, pieces)
    try {
      session.addPeers(peers)
      await session.whenComplete(signal)
      const bytes = Buffer.alloc(torrent.contentBytes)
      await pieces.read(0, bytes.length, bytes)
      return bytes
    } finally {
      await session.close()
    }
  }

  async #change(decide: (nowMs: number) => CatalogFiles): Promise<boolean> {
    const change = this.#turn.then(async () => {
      const nowMs = this.#parts.clock.nowMs()
      const files = decide(nowMs)
      if (files === this.#catalog.files) return false
      const catalog = openCatalog(files, { trusted: this.#catalog.files }, nowMs)
      const bytes = await packCatalog(files)
      await this.#parts.home.saveCatalog(bytes)
      this.#catalog = catalog
      this.#bytes = bytes
      this.#parts.admission.update({ authorities: authoritiesOf(catalog), revoked: catalog.site.revoked })
      this.#parts.log.info({ timestampVersion: catalog.timestampVersion, images: catalog.images.size }, "catalog taken")
      await this.#seed()
      for (const listener of this.#listeners) listener(catalog)
      return true
    })
    this.#turn = change.catch(() => {})
    return change
  }

  /** Puts the kept catalog into the swarm and, in a server, points to it. */
  async #seed(): Promise<void> {
    const { network, log } = this.#parts
    if (network === null) return
    const torrent = catalogTorrent(this.#bytes)
    if (network.swarm.session(torrent.infohash) === null)
      this.#sessions.push(network.swarm.join(torrent, MemoryPieceStore.full(torrent, this.#bytes)))
    while (this.#sessions.length > 1 + REPLACED_CATALOGS_SEEDED) await this.#sessions.shift()?.close()
    const keys = this.#parts.online()?.pointers.map((seed) => signingKeyFromSeed(fromHex(seed))) ?? []
    // A server that has not got the newest key yet leaves the pointing to those who have. Replaced keys go on pointing, for members who were away.
    if (!keys.some(({ publicKeyHex }) => publicKeyHex === this.#catalog.site.pointerKey)) return
    for (const key of keys)
      void network.dht
        .putPointer({
          signing: { publicKeyHex: key.publicKeyHex, sign: (message) => sign(key, message) },
          salt: POINTER_SALT,
          seq: this.#catalog.seq,
          infohash: torrent.infohash,
        })
        .catch((error: unknown) => log.warn({ reason: reasonOf(error) }, "pointer not put; it will be tried again"))
  }
}

/** Equal catalogs give equal torrents, whoever makes them. */
function catalogTorrent(bytes: Buffer): Torrent {
  const pieceBytes = pieceBytesFor(bytes.length)
  const digests: Buffer[] = []
  for (let offset = 0; offset < bytes.length; offset += pieceBytes)
    digests.push(
      createHash("sha1")
        .update(bytes.subarray(offset, offset + pieceBytes))
        .digest(),
    )
  return makeTorrent({ name: "imagegrid-catalog", contentBytes: bytes.length, pieceBytes, pieceDigests: Buffer.concat(digests) })
}

/** The DER certificates of the authorities that a catalog names. */
export function authoritiesOf(catalog: Pick<Catalog, "site">): Buffer[] {
  return catalog.site.authorities.map((text) => Buffer.from(text, "base64"))
}

/** Chooses among the online keys at hand those that a root names. */
export function seedsFrom(online: OnlineSecrets): (root: Parameters<typeof seedsInForce>[0]) => OnlineSeeds | null {
  const held = { snapshot: online.snapshot.map(fromHex), timestamp: online.timestamp.map(fromHex) }
  return (root) => seedsInForce(root, held)
}

function fromHex(text: string): Buffer {
  return Buffer.from(text, "hex")
}
