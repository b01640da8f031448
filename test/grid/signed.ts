/** Documents signed by the servers of a test. */
import type { MemberIdentity } from "#crypto/identity.ts"
import { infohash } from "#core/identifiers.ts"
import { DocumentSet } from "#grid/core/document-set.ts"
import { signDocument, writeHoldings, writeState, type DocumentKind, type ServerDocument, type StateData } from "#grid/core/documents.ts"

export const serving: StateData = { phase: "serving", isFull: false, heldBytes: 0, freeBytes: 0, repairing: [], doubts: [] }

/** A state that differs by its number. */
export function stateOf(number: number): Buffer {
  return writeState({ ...serving, heldBytes: number })
}

/** Holdings of this kind: so many infohashes, which are the first of all that begin so. */
export function holdingsOf(digit: string, count: number): Buffer {
  const held = Array.from({ length: count }, (_, number) => infohash(digit + number.toString(16).padStart(39, "0")))
  return writeHoldings(held).get(`holdings/${digit}`) ?? Buffer.alloc(0)
}

export function signed(by: MemberIdentity, seq: number, data: Uint8Array, kind: DocumentKind = "state"): ServerDocument {
  return signDocument({ memberId: by.memberId, kind, seq, data }, by.signing)
}

export function setOf(signers: readonly MemberIdentity[], documents: readonly ServerDocument[] = []): DocumentSet {
  const set = new DocumentSet()
  set.setRoster(signers.map(({ memberId, signing }) => ({ memberId, signingKeyHex: signing.publicKeyHex })))
  for (const document of documents) set.take(document)
  return set
}
