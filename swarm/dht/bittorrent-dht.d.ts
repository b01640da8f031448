/** What we call of bittorrent-dht 11, which has no types of its own. */
declare module "bittorrent-dht" {
  import type { EventEmitter } from "node:events"

  export type FoundNode = { readonly id: Buffer; readonly host: string; readonly port: number }
  export type StoredValue = { v: unknown; k?: Buffer; salt?: Buffer; sig?: Buffer; seq?: number; id: Buffer }
  type Done = (error: (Error & { code?: unknown }) | null, ...rest: unknown[]) => void

  export type DhtOptions = {
    readonly nodeId: Buffer
    readonly bootstrap: false
    /** Stands in for a dgram socket. */
    readonly socket: EventEmitter
    /** Own IPv4 address; with it, own announces are answered by this node too. */
    readonly host?: string
    readonly concurrency: number
    /** Milliseconds until a query counts as lost. */
    readonly timeout: number
    /** Milliseconds that an announced peer is kept. */
    readonly maxAge: number
    readonly maxPeers: number
    readonly maxValues: number
    readonly verify: (signature: unknown, message: Uint8Array, publicKey: unknown) => boolean
  }

  export default class DHT extends EventEmitter {
    constructor(options: DhtOptions)
    readonly nodeId: Buffer
    readonly nodes: { count(): number; toArray(): FoundNode[] }
    /** Items that this node answers `get` with. Private to the package, whose version is pinned: it has no other way to see them or store an own one. */
    readonly _values: { set(targetHex: string, value: StoredValue): void; peek(targetHex: string): StoredValue | undefined }
    /** Announced peers in compact form, at most `count` of them drawn at random. Private too: the library asks it for all. */
    readonly _peers: { get: (infohashHex: string, count?: number) => Buffer[] }
    listen(): void
    addNode(node: { readonly host: string; readonly port: number; readonly id?: Buffer }): void
    removeNode(id: Buffer): void
    announce(infohash: Buffer, port: number, done: Done): void
    lookup(infohash: Buffer, done: Done): () => void
    get(target: Buffer, options: { readonly salt: Buffer; readonly cache: false }, done: Done): void
    put(
      item: { readonly k: Buffer; readonly salt: Buffer; readonly seq: number; readonly sig: Buffer; readonly v: unknown },
      done: Done,
    ): void
    destroy(done: () => void): void
  }
}
