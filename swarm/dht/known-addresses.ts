/**
 * Every address where a node was ever said to be. Those told by the owner and those met in the network are kept apart, so that members who
 * make up nodes can't push the owner's out.
 */
import { type Address, formatAddress } from "#core/address.ts"
import { keepNewest } from "#core/newest.ts"

const TOLD_MAX = 1_000
const MET_MAX = 1_000

export class KnownAddresses {
  readonly #told = new Map<string, Address>()
  readonly #met = new Map<string, Address>()

  tell(at: Address): void {
    keep(this.#told, at, TOLD_MAX)
  }

  meet(at: Address): void {
    keep(this.#met, at, MET_MAX)
  }

  /** The newest first. */
  all(): Address[] {
    return [...new Map([...[...this.#told].toReversed(), ...[...this.#met].toReversed()]).values()]
  }
}

function keep(addresses: Map<string, Address>, { host, port }: Address, max: number): void {
  keepNewest(addresses, formatAddress({ host, port }), { host, port }, max)
}
