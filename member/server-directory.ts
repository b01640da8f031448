/**
 * The servers that this member has ever heard of. A record is taken only with a valid certificate and signature; its addresses
 * are kept after the certificate has lapsed, because an address is a hint that TLS proves or disproves.
 */
import { ALL_SERVERS, type Admission } from "#crypto/admission.ts"
import { readCertificate } from "#crypto/certificate.ts"
import { sign, verify, type SigningKey } from "#crypto/identity.ts"
import { address, formatAddress, type Address } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import { readServerList, type ServerRecord } from "#core/wire.ts"
import type { Home } from "./home.ts"

const STATE_FILE = "servers.json"
const STATE_BYTES_MAX = 8 * 1024 * 1024
const RECORDS_MAX = 1_000

/** Which of a server's listeners is meant. */
export type Service = "api" | "swarm" | "dht"

/** Signs what a server says of itself. */
export function makeServerRecord(fields: Omit<ServerRecord, "signature">, key: SigningKey): ServerRecord {
  return { ...fields, signature: sign(key, signedBytes(fields)).toString("base64") }
}

function signedBytes({ memberId, seq, api, swarm, dht, certificate }: Omit<ServerRecord, "signature">): Buffer {
  return Buffer.from(`imagegrid server record\0${JSON.stringify([memberId, seq, api, swarm, dht, certificate])}`)
}

export class ServerDirectory {
  readonly #home: Home
  readonly #admission: Admission
  readonly #records: Map<string, ServerRecord>
  #saving: Promise<void> = Promise.resolve()

  private constructor(home: Home, admission: Admission, records: readonly ServerRecord[]) {
    this.#home = home
    this.#admission = admission
    this.#records = new Map(records.map((record) => [record.memberId, record]))
  }

  static async open(home: Home, admission: Admission): Promise<ServerDirectory> {
    const stored = await home.readState(STATE_FILE, STATE_BYTES_MAX)
    return new ServerDirectory(home, admission, stored === null ? [] : readServerList(stored).servers)
  }

  /** Of all servers that are not revoked. */
  records(): readonly ServerRecord[] {
    return [...this.#records.values()].filter(({ memberId }) => !this.#admission.isRevoked(memberId))
  }

  /** Addresses of all servers but `except`, newest word first. */
  addresses(service: Service, except?: string): readonly Address[] {
    return this.records()
      .filter((record) => record.memberId !== except)
      .sort((a, b) => b.seq - a.seq)
      .map((record) => address(record[service]))
  }

  /** Where other servers and mirrors may answer: all that are known, and those of the invite, which were the first. */
  contacts(service: Service): Address[] {
    const first = service === "swarm" ? [] : this.#home.firstKnown[service]
    const known = this.addresses(service, this.#home.memberId)
    const revoked = new Set(
      [...this.#records.values()].filter(({ memberId }) => this.#admission.isRevoked(memberId)).map((record) => record[service]),
    )
    return distinct([...known, ...first.filter((at) => !revoked.has(formatAddress(at)))])
  }

  /**
   * Where servers that issue certificates may answer: those whose records say so, newest word first, and those of the invite; own ones left out.
   * What a mirror says of itself takes no server's address off the list.
   */
  issuers(): Address[] {
    const own = this.#home.memberId
    const servers = this.records()
      .filter((record) => record.memberId !== own && readCertificate(Buffer.from(record.certificate, "base64")).role === "server")
      .sort((a, b) => b.seq - a.seq)
    return distinct([...servers.map(({ api }) => address(api)), ...this.#home.firstKnown.api])
  }

  /**
   * Takes the records that are valid and newer than what is known; passes over the others. Resolves with whether any was new,
   * once they are durable.
   */
  async consider(records: readonly ServerRecord[]): Promise<boolean> {
    let changed = false
    for (const record of records) {
      const known = this.#records.get(record.memberId)
      if (known !== undefined && known.seq >= record.seq) continue
      if (known === undefined && this.#records.size >= RECORDS_MAX) continue
      if (!this.#valid(record)) continue
      this.#records.set(record.memberId, record)
      changed = true
    }
    if (changed) {
      this.#saving = this.#saving.then(() => this.#home.saveState(STATE_FILE, { servers: this.records() }))
      await this.#saving
    }
    return changed
  }

  #valid(record: ServerRecord): boolean {
    try {
      const certificate = this.#admission.admit(Buffer.from(record.certificate, "base64"), ALL_SERVERS)
      for (const service of ["api", "swarm", "dht"] as const) address(record[service])
      return (
        certificate.kind === "member" &&
        certificate.memberId === record.memberId &&
        verify(certificate.signingKeyHex, signedBytes(record), Buffer.from(record.signature, "base64"))
      )
    } catch (error) {
      if (error instanceof GridError) return false
      throw error
    }
  }
}

/** The same addresses, each once, in order. */
export function distinct(addresses: readonly Address[]): Address[] {
  return [...new Map(addresses.map((at) => [formatAddress(at), at])).values()]
}
