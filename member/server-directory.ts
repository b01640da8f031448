/**
 * The servers that this member has ever heard of, of its own site and of those that it federates with. A record is taken only with a valid certificate and signature; its addresses
 * are kept after the certificate has lapsed, because an address is a hint that TLS proves or disproves.
 */
import { ALL_SERVERS, type Admission } from "#crypto/admission.ts"
import { readCertificate, type MemberRole } from "#crypto/certificate.ts"
import { sign, verify, type SigningKey } from "#crypto/identity.ts"
import { address, formatAddress, type Address } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import { readServerList, type ServerRecord } from "#core/wire.ts"
import type { Home } from "./home.ts"

const STATE_FILE = "servers.json"
const STATE_BYTES_MAX = 8 * 1024 * 1024
/** Of the own site, and of each other: what those say can't crowd out the own servers. */
const RECORDS_MAX = 1_000
const OTHER_SITE_RECORDS_MAX = 64

/** Which of a server's listeners is meant. */
export type Service = "api" | "swarm" | "dht"

/** Signs what a server says of itself. */
export function makeServerRecord(fields: Omit<ServerRecord, "signature">, key: SigningKey): ServerRecord {
  return { ...fields, signature: sign(key, signedBytes(fields)).toString("base64") }
}

function signedBytes({ memberId, seq, api, swarm, dht, grid, certificate }: Omit<ServerRecord, "signature">): Buffer {
  return Buffer.from(`imagegrid server record\0${JSON.stringify([memberId, seq, api, swarm, dht, grid, certificate])}`)
}

type Known = { readonly record: ServerRecord; readonly site: string; readonly role: MemberRole }

export class ServerDirectory {
  readonly #home: Home
  readonly #admission: Admission
  readonly #known: Map<string, Known>
  readonly #listeners = new Set<() => void>()
  #saving: Promise<void> = Promise.resolve()

  private constructor(home: Home, admission: Admission, records: readonly ServerRecord[]) {
    this.#home = home
    this.#admission = admission
    this.#known = new Map(records.map((record) => [record.memberId, { record, ...subjectOf(record) }]))
  }

  static async open(home: Home, admission: Admission): Promise<ServerDirectory> {
    const stored = await home.readState(STATE_FILE, STATE_BYTES_MAX)
    return new ServerDirectory(home, admission, stored === null ? [] : readServerList(stored).servers)
  }

  /** Calls `listener` whenever a record has come or changed. Returns how to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Of all servers of a site, the own one if none is named, that are not revoked. */
  records(site: string = this.#home.site): readonly ServerRecord[] {
    return this.#current(({ site: of }) => of === site)
  }

  /** Of all servers of all sites. */
  recordsOfAllSites(): readonly ServerRecord[] {
    return this.#current(() => true)
  }

  /** Addresses of all servers of a site but `except`, newest word first. */
  addresses(service: Service, except?: string, site?: string): readonly Address[] {
    return this.records(site)
      .filter((record) => record.memberId !== except)
      .sort((a, b) => b.seq - a.seq)
      .map((record) => address(record[service]))
  }

  /** Where other servers and mirrors of the own site may answer: all that are known, and those of the invite, which were the first. */
  contacts(service: Service): Address[] {
    const first = service === "swarm" ? [] : this.#home.firstKnown[service]
    const known = this.addresses(service, this.#home.memberId)
    const revoked = new Set([...this.#known.values()].filter((one) => this.#isRevoked(one)).map(({ record }) => record[service]))
    return distinct([...known, ...first.filter((at) => !revoked.has(formatAddress(at)))])
  }

  /**
   * Where servers of the own site that issue certificates may answer: those whose records say so, newest word first, and those of the invite; own ones left out.
   * What a mirror says of itself takes no server's address off the list.
   */
  issuers(): Address[] {
    const { memberId, site } = this.#home
    const servers = this.#current((known) => known.site === site && known.role === "server" && known.record.memberId !== memberId).sort(
      (a, b) => b.seq - a.seq,
    )
    return distinct([...servers.map(({ api }) => address(api)), ...this.#home.firstKnown.api])
  }

  /**
   * Takes the records that are valid and newer than what is known; passes over the others. Resolves with whether any was new,
   * once they are durable.
   */
  async consider(records: readonly ServerRecord[]): Promise<boolean> {
    let changed = false
    for (const record of records) {
      const known = this.#known.get(record.memberId)
      if (known !== undefined && known.record.seq >= record.seq) continue
      const subject = this.#subjectOf(record)
      if (subject === null || (known === undefined && this.#isFull(subject.site))) continue
      this.#known.set(record.memberId, { record, ...subject })
      changed = true
    }
    if (changed) {
      this.#saving = this.#saving.then(() => this.#home.saveState(STATE_FILE, { servers: this.recordsOfAllSites() }))
      await this.#saving
      for (const listener of this.#listeners) listener()
    }
    return changed
  }

  #current(which: (known: Known) => boolean): ServerRecord[] {
    return [...this.#known.values()].filter((known) => which(known) && !this.#isRevoked(known)).map(({ record }) => record)
  }

  #isFull(site: string): boolean {
    return this.records(site).length >= (site === this.#home.site ? RECORDS_MAX : OTHER_SITE_RECORDS_MAX)
  }

  #isRevoked({ record, site }: Known): boolean {
    return this.#admission.isRevoked(record.memberId, site)
  }

  /** Whose record it is; null where it is not valid. */
  #subjectOf(record: ServerRecord): Pick<Known, "site" | "role"> | null {
    try {
      const certificate = this.#admission.admit(Buffer.from(record.certificate, "base64"), ALL_SERVERS, "all sites")
      for (const service of ["api", "swarm", "dht"] as const) address(record[service])
      if (record.grid !== null) address(record.grid)
      const isOwn =
        certificate.kind === "member" &&
        certificate.memberId === record.memberId &&
        verify(certificate.signingKeyHex, signedBytes(record), Buffer.from(record.signature, "base64"))
      return isOwn ? { site: certificate.site, role: certificate.role } : null
    } catch (error) {
      if (error instanceof GridError) return null
      throw error
    }
  }
}

/** Of a record that was valid when it was kept. */
function subjectOf(record: ServerRecord): Pick<Known, "site" | "role"> {
  const { site, role } = readCertificate(Buffer.from(record.certificate, "base64"))
  return { site, role }
}

/** The same addresses, each once, in order. */
export function distinct(addresses: readonly Address[]): Address[] {
  return [...new Map(addresses.map((at) => [formatAddress(at), at])).values()]
}
