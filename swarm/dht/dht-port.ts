/** What the rest of imagegrid asks of the DHT. Two adapters pass one conformance suite: dht.ts over UDP, memory-dht.ts for tests. */
import type { Address } from "#core/address.ts"
import type { Infohash } from "#core/identifiers.ts"
import type { PointerItem, PointerSigner } from "./pointer.ts"
import type { DhtState } from "./state.ts"

export type PutPointer = { readonly signing: PointerSigner; readonly salt: string; readonly seq: number; readonly infohash: Infohash }

export interface DhtPort {
  readonly address: Address
  /** Tells of addresses where nodes may be. They are tried now, and again whenever few nodes are known. */
  addNodes(addresses: readonly Address[]): void
  /** Says that a swarm's peer listens here on `swarmPort`, now and every ten minutes until `withdraw`. Resolves too when no node is reachable yet. */
  announce(infohash: Infohash, swarmPort: number): Promise<void>
  /** Ends the announcing. Other nodes forget it by themselves within an hour. */
  withdraw(infohash: Infohash): void
  /**
   * Addresses announced for this infohash, each once; own ones may be among them. Bounded in number and time.
   * @throws the signal's reason when it aborts
   */
  lookup(infohash: Infohash, signal?: AbortSignal): Promise<Address[]>
  /**
   * Signs a pointer and holds it. When a newer one is found in the network, that one is held instead. Resolves too when no node is
   * reachable yet: it is put later.
   */
  putPointer(item: PutPointer): Promise<void>
  /** The pointer with the highest seq that the network and this node hold, its signature verified. */
  getPointer(publicKeyHex: string, salt: string): Promise<PointerItem | null>
  /** The newest pointer that this node has without asking: held, or put here by another node. Its signature is verified. */
  pointerHere(publicKeyHex: string, salt: string): PointerItem | null
  /** Keeps an item that another signed alive in the network, for as long as this node lives. False signatures are ignored. */
  hold(item: PointerItem): void
  /** Replaces the network keys, 32 bytes each: the first is in force, the others are taken still. @throws {RangeError} */
  setNetworkKeys(networkKeys: readonly Uint8Array[]): void
  nodeCount(): number
  state(): DhtState
  /** Afterwards nothing is found and nothing announced. */
  close(): Promise<void>
}
