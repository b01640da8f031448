/** What a running server says of itself: a signed record of its addresses and certificate, written anew with each new certificate, which it must not outlive. */
import { formatAddress, type Address } from "#core/address.ts"
import { reasonOf } from "#core/errors.ts"
import type { Member } from "#member/member.ts"
import { exchangeRecords } from "./fellows.ts"
import { makeServerRecord } from "#member/server-directory.ts"

export class OwnRecord implements Disposable {
  readonly #member: Member
  readonly #api: Address
  readonly #stopWatching: () => void
  #grid: Address | null = null
  #announced: { readonly seq: number; readonly certificateDer: Buffer } | null = null

  private constructor(member: Member, api: Address) {
    this.#member = member
    this.#api = api
    this.#stopWatching = member.admission.onChange(() => {
      if (this.#announced?.certificateDer.equals(member.certificate.der) === true) return
      this.#announce().catch((error: unknown) => member.log.warn({ reason: reasonOf(error) }, "the own record was not renewed"))
    })
  }

  /** @param api where the server's API listens */
  static async announce(member: Member, api: Address): Promise<OwnRecord> {
    const record = new OwnRecord(member, api)
    await record.#announce()
    return record
  }

  /** The control plane listens here from now on. */
  async announceGrid(grid: Address): Promise<void> {
    this.#grid = grid
    await this.#announce()
  }

  [Symbol.dispose](): void {
    this.#stopWatching()
  }

  /** Into the own directory, from where renewing members get it, and to the fellows. */
  async #announce(): Promise<void> {
    const { home, clock, certificate, swarm, dht, directory } = this.#member
    const seq = Math.max((this.#announced?.seq ?? 0) + 1, clock.nowMs())
    this.#announced = { seq, certificateDer: certificate.der }
    const record = makeServerRecord(
      {
        memberId: home.memberId,
        seq,
        api: formatAddress(this.#api),
        swarm: formatAddress({ host: home.listen.swarm.host, port: swarm.address.port }),
        dht: formatAddress({ host: home.listen.dht.host, port: dht.address.port }),
        grid: this.#grid === null ? null : formatAddress(this.#grid),
        certificate: certificate.der.toString("base64"),
      },
      home.identity.signing,
    )
    await directory.consider([record])
    // Fellows would have it at the next exchange; whoever waits for this server has it now.
    void exchangeRecords(this.#member)
  }
}
