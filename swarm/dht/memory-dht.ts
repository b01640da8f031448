/** The DHT's twin for tests: nodes that share one object instead of a network. Nodes with different network keys don't find each other. */
import { createHash } from "node:crypto"
import { type Address, formatAddress } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import type { Infohash } from "#core/identifiers.ts"
import type { DhtPort, PutPointer } from "./dht-port.ts"
import { HeldPointers } from "./held-pointers.ts"
import { type PointerItem, publicKeyBytes, restorePointer, saltBytes, savePointer, signPointer } from "./pointer.ts"
import type { DhtState } from "./state.ts"

const FIRST_FREE_PORT = 20_000

/** What the twins share: who listens where. */
export class MemoryDhtNetwork {
  readonly nodes = new Map<string, MemoryDht>()
  #nextPort = FIRST_FREE_PORT

  freePort(): number {
    this.#nextPort += 1
    return this.#nextPort
  }
}

type MemoryDhtOptions = { readonly listen: Address; readonly bootstrap: readonly Address[]; readonly state?: DhtState }

export class MemoryDht implements DhtPort {
  readonly address: Address
  readonly #network: MemoryDhtNetwork
  #keys: ReadonlySet<string>
  readonly #nodeId: string
  readonly #known = new Map<string, Address>()
  readonly #announced = new Map<Infohash, number>()
  readonly #held = new HeldPointers()

  private constructor(parts: { networkKeys: readonly Uint8Array[]; network: MemoryDhtNetwork }, options: MemoryDhtOptions) {
    this.#network = parts.network
    this.#keys = keyNames(parts.networkKeys)
    const { host, port } = options.listen
    this.address = { host, port: port === 0 ? parts.network.freePort() : port }
    const at = formatAddress(this.address)
    if (parts.network.nodes.has(at)) throw new GridError("ADDRESS_IN_USE", `${at}; choose another port`)
    this.#nodeId = options.state?.nodeId ?? createHash("sha1").update(at).digest("hex")
    parts.network.nodes.set(at, this)
    this.addNodes([...(options.state?.nodes ?? []), ...options.bootstrap])
    for (const saved of options.state?.pointers ?? []) {
      const item = restorePointer(saved)
      if (item !== null) this.hold(item)
    }
  }

  static open(parts: { networkKeys: readonly Uint8Array[]; network: MemoryDhtNetwork }, options: MemoryDhtOptions): Promise<MemoryDht> {
    // As the real one, it refuses by rejecting.
    return Promise.try(() => new MemoryDht(parts, options))
  }

  addNodes(addresses: readonly Address[]): void {
    for (const at of addresses) if (formatAddress(at) !== formatAddress(this.address)) this.#known.set(formatAddress(at), at)
  }

  async announce(infohash: Infohash, swarmPort: number): Promise<void> {
    if (!Number.isInteger(swarmPort) || swarmPort < 1 || swarmPort > 65_535)
      throw new RangeError(`a swarm's port is from 1 to 65535, not ${swarmPort}`)
    this.#announced.set(infohash, swarmPort)
  }

  withdraw(infohash: Infohash): void {
    this.#announced.delete(infohash)
  }

  async lookup(infohash: Infohash, signal?: AbortSignal): Promise<Address[]> {
    signal?.throwIfAborted()
    return [this, ...this.#reachable()].flatMap((node) => {
      const port = node.#announced.get(infohash)
      return port === undefined ? [] : [{ host: node.address.host, port }]
    })
  }

  async putPointer(put: PutPointer): Promise<void> {
    const item = signPointer(put)
    const newest = await this.getPointer(put.signing.publicKeyHex, put.salt)
    this.hold(newest !== null && newest.seq > item.seq ? newest : item)
  }

  async getPointer(publicKeyHex: string, salt: string): Promise<PointerItem | null> {
    const publicKey = publicKeyBytes(publicKeyHex)
    const saltOf = saltBytes(salt)
    const held = [this, ...this.#reachable()].flatMap((node) => node.#held.get(publicKey, saltOf) ?? [])
    return held.reduce<PointerItem | null>((newest, item) => (newest !== null && newest.seq >= item.seq ? newest : item), null)
  }

  pointerHere(publicKeyHex: string, salt: string): PointerItem | null {
    return this.#held.get(publicKeyBytes(publicKeyHex), saltBytes(salt))
  }

  hold(item: PointerItem): void {
    if (this.#held.keep(item) !== item) return
    for (const node of this.#reachable()) node.#held.keep(item)
  }

  setNetworkKeys(networkKeys: readonly Uint8Array[]): void {
    this.#keys = keyNames(networkKeys)
  }

  nodeCount(): number {
    return this.#reachable().length
  }

  state(): DhtState {
    const nodes = new Map([...this.#reachable().map((node) => node.address), ...this.#known.values()].map((at) => [formatAddress(at), at]))
    return { nodeId: this.#nodeId, nodes: [...nodes.values()], pointers: this.#held.all().map(savePointer) }
  }

  async close(): Promise<void> {
    if (this.#network.nodes.get(formatAddress(this.address)) === this) this.#network.nodes.delete(formatAddress(this.address))
    this.#known.clear()
    this.#announced.clear()
  }

  /** All nodes that a chain of known addresses, followed in either direction between nodes with a key in common, leads to. */
  #reachable(): MemoryDht[] {
    const peers = [...this.#network.nodes.values()]
    const reached = new Set<MemoryDht>(peers.includes(this) ? [this] : [])
    for (const node of reached)
      for (const other of peers.filter((peer) => !peer.#keys.isDisjointFrom(node.#keys)))
        if (node.#known.has(formatAddress(other.address)) || other.#known.has(formatAddress(node.address))) reached.add(other)
    reached.delete(this)
    return [...reached]
  }
}

function keyNames(networkKeys: readonly Uint8Array[]): Set<string> {
  if (networkKeys.length === 0) throw new RangeError("a node of the DHT has at least one network key")
  return new Set(networkKeys.map((key) => Buffer.from(key).toString("hex")))
}
