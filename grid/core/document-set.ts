/**
 * The newest documents of every server of the roster, as far as they are known here. Whatever the order in which documents come, and from whom, two
 * sets that have seen the same ones hold the same: of one server and kind the greatest `seq` stays, and of two with one `seq` the greater digest.
 */
import { hash } from "node:crypto"
import { memberIdOf } from "#crypto/identity.ts"
import type { MemberId } from "#core/identifiers.ts"
import { documentDigest, documentKinds, isSignedBy, isWellFormed, kindNumber, type DocumentKind, type ServerDocument } from "./documents.ts"

/** Servers whose documents are kept: no roster may be larger. */
export const SERVERS_MAX = 1_000
/** Entries of a vector. */
export const ENTRIES_MAX = SERVERS_MAX * documentKinds.length
/** Bytes of a digest that a vector carries: enough that nobody finds two documents which share them. */
export const DIGEST_PREFIX_BYTES = 16

/** Who signs, as the roster says. */
export type Signer = { readonly memberId: MemberId; readonly signingKeyHex: string }

/** What a set holds, or what is asked for. */
export type VersionEntry = {
  readonly memberId: MemberId
  readonly kind: DocumentKind
  readonly seq: number
  /** The first 16 bytes of the document's digest, hex. */
  readonly digest: string
}
export type VersionVector = readonly VersionEntry[]

/**
 * `taken`: it was newer, and is held now. `known`: it is held. `stale`: a newer one is held. `foreign`: the roster has no such server. `forged`: the
 * signature is not the server's. `malformed`: not what a document of its kind may be.
 */
export type Taking = "taken" | "known" | "stale" | "foreign" | "forged" | "malformed"

type Held = { readonly document: ServerDocument; readonly digest: string }

/** Whom an answer speaks of: a set may know servers that the asking one is not to hear of. */
export type Visible = (memberId: MemberId) => boolean
const all: Visible = () => true

export class DocumentSet {
  #signers: ReadonlyMap<string, Signer> = new Map()
  readonly #held = new Map<string, Map<DocumentKind, Held>>()

  /** Forgets the documents of all others. @throws {RangeError} where there are more than `SERVERS_MAX` @throws {TypeError} where an id is not its key's */
  setRoster(signers: readonly Signer[]): void {
    if (signers.length > SERVERS_MAX) throw new RangeError(`a roster has ${SERVERS_MAX} servers at most, not ${signers.length}`)
    for (const { memberId, signingKeyHex } of signers)
      if (memberIdOf(signingKeyHex) !== memberId) throw new TypeError(`${memberId} is not the id of the key that stands beside it`)
    this.#signers = new Map(signers.map((signer) => [signer.memberId, signer]))
    for (const memberId of this.#held.keys()) if (!this.#signers.has(memberId)) this.#held.delete(memberId)
  }

  get(memberId: MemberId, kind: DocumentKind): ServerDocument | null {
    return this.#held.get(memberId)?.get(kind)?.document ?? null
  }

  /** Of one server, in the order of kinds. */
  documentsOf(memberId: MemberId): ServerDocument[] {
    return [...(this.#held.get(memberId)?.values() ?? [])]
      .map(({ document }) => document)
      .sort((a, b) => kindNumber(a.kind) - kindNumber(b.kind))
  }

  /** The greatest `seq` of this server's documents; 0 when there is none. */
  newestSeqOf(memberId: MemberId): number {
    return Math.max(0, ...this.documentsOf(memberId).map(({ seq }) => seq))
  }

  /** Keeps the document if it is newer than what is held. Everything in it may come from outside, but for its types. */
  take(document: ServerDocument): Taking {
    const signer = this.#signers.get(document.memberId)
    if (signer === undefined) return "foreign"
    if (!isWellFormed(document)) return "malformed"
    const digest = documentDigest(document).toString("hex")
    const held = this.#held.get(document.memberId)?.get(document.kind)
    if (held !== undefined && held.digest === digest) return "known"
    if (held !== undefined && !isNewer({ seq: document.seq, digest }, { seq: held.document.seq, digest: held.digest })) return "stale"
    if (!isSignedBy(document, signer.signingKeyHex)) return "forged"
    // The bytes may be part of a larger message, which would be kept for their sake.
    const own = { ...document, data: Uint8Array.from(document.data), signature: Uint8Array.from(document.signature) }
    const ofServer = this.#held.get(document.memberId) ?? new Map<DocumentKind, Held>()
    this.#held.set(document.memberId, ofServer.set(document.kind, { document: own, digest }))
    return "taken"
  }

  /** In one order wherever it is made: by member id, then by kind. */
  vector(visible: Visible = all): VersionVector {
    const members = [...this.#held.keys()].filter((memberId) => visible(memberId as MemberId)).sort()
    return members.flatMap((memberId) => {
      const documents = this.#held.get(memberId) ?? new Map<DocumentKind, Held>()
      return documentKinds.flatMap((kind) => {
        const held = documents.get(kind)
        return held === undefined ? [] : [entryOf(held)]
      })
    })
  }

  /** Equal where the vectors are: SHA-256. */
  summary(visible: Visible = all): Buffer {
    const parts = this.vector(visible).map(({ memberId, kind, seq, digest }) => {
      const entry = Buffer.alloc(9)
      entry.writeUInt8(kindNumber(kind))
      entry.writeBigUInt64BE(BigInt(seq), 1)
      return Buffer.concat([Buffer.from(memberId, "hex"), entry, Buffer.from(digest, "hex")])
    })
    return hash("sha256", Buffer.concat(parts), "buffer")
  }

  /** What a set with that vector has and this one lacks, of servers in the roster. */
  lackedHere(theirs: VersionVector, visible: Visible = all): VersionEntry[] {
    return theirs.filter((entry) => {
      if (!this.#signers.has(entry.memberId) || !visible(entry.memberId)) return false
      const held = this.#held.get(entry.memberId)?.get(entry.kind)
      return held === undefined || isNewer(entry, entryOf(held))
    })
  }
}

function entryOf({ document: { memberId, kind, seq }, digest }: Held): VersionEntry {
  return { memberId, kind, seq, digest: digest.slice(0, 2 * DIGEST_PREFIX_BYTES) }
}

/** Digests of one length. */
function isNewer(a: { seq: number; digest: string }, b: { seq: number; digest: string }): boolean {
  return a.seq > b.seq || (a.seq === b.seq && a.digest > b.digest)
}
