/**
 * Heads of audit logs, signed by the servers whose logs they are and kept by their fellows: whoever cuts or rewrites a log on a server's disk
 * can't take back what others have seen of it.
 */
import { readCertificate } from "#crypto/certificate.ts"
import { sign, verify, type SigningKey } from "#crypto/identity.ts"
import { address } from "#core/address.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import { readAuditHead, readAuditHeads, routes, type AuditHead, type ServerRecord } from "#core/wire.ts"
import type { Member } from "#member/member.ts"
import type { AuditEvent, ChainHead } from "./audit-entry.ts"
import type { AuditLog } from "./audit-log.ts"
import type { ServerState } from "./state.ts"

const TIMEOUT_MS = 5_000
const HEADS_BYTES_MAX = 4 * 1024 * 1024

export function signAuditHead(fields: Omit<AuditHead, "signature">, key: SigningKey): AuditHead {
  return { ...fields, signature: sign(key, signedBytes(fields)).toString("base64") }
}

function isSignedBy(head: AuditHead, signingKeyHex: string): boolean {
  return verify(signingKeyHex, signedBytes(head), Buffer.from(head.signature, "base64"))
}

function signedBytes({ memberId, seq, hash, atMs }: Omit<AuditHead, "signature">): Buffer {
  return Buffer.from(`imagegrid audit head\0${JSON.stringify([memberId, seq, hash, atMs])}`)
}

export type ExchangeParts = { readonly member: Member; readonly state: ServerState; readonly audit: AuditLog }

/** Looks at the audit log of each fellow and keeps what is new. One call at a time: answers that overtake each other look like a log cut short. */
export async function lookAtFellows({ member, state, audit }: ExchangeParts): Promise<void> {
  await Promise.allSettled(
    fellowsOf(member).map(async (fellow) => {
      const head = await member.api.json(address(fellow.api), { path: routes.auditHead, timeoutMs: TIMEOUT_MS }, readAuditHead)
      await takeHead({ member, state, audit }, fellow, head).catch((error: unknown) =>
        member.log.warn({ fellow: fellow.memberId, reason: reasonOf(error) }, "what a fellow's audit log looks like was not kept"),
      )
    }),
  )
}

/** @throws {GridError} REQUEST_INVALID when the fellow did not sign it */
async function takeHead({ member, state, audit }: ExchangeParts, fellow: ServerRecord, head: AuditHead): Promise<void> {
  const { signingKeyHex } = readCertificate(Buffer.from(fellow.certificate, "base64"))
  if (head.memberId !== fellow.memberId || !isSignedBy(head, signingKeyHex))
    throw new GridError("REQUEST_INVALID", `${fellow.api} shows an audit head that ${fellow.memberId} did not sign; look who answers there`)
  const saw = state.lastAuditHead(fellow.memberId)
  if (saw !== null && saw.seq === head.seq && saw.hash === head.hash) return
  if (saw !== null && head.seq <= saw.seq) {
    const what = { fellow: fellow.memberId, seq: head.seq, hash: head.hash, sawSeq: saw.seq, sawHash: saw.hash, sawAtMs: saw.atMs }
    member.log.warn(what, "THE AUDIT LOG OF A FELLOW WENT BACK: it was cut or rewritten there, or its home was restored from a backup")
    const actor: AuditEvent["actor"] = { kind: "member", ids: [member.home.memberId] }
    await audit.append([{ event: "fellow-audit-went-back", actor, from: fellow.api, what }])
  }
  state.recordAuditHead(head)
}

/** What the fellows say they saw of this member's audit log. */
export type Witnesses = {
  readonly heads: readonly (AuditHead & { readonly seenBy: string })[]
  /** Fellows that answered, and those that did not, with the reason. */
  readonly asked: readonly string[]
  readonly unreached: readonly { readonly memberId: string; readonly reason: string }[]
  /** Fellows that showed heads which this member's key never signed. Such heads prove nothing. */
  readonly lying: readonly string[]
}

/** Asks all fellows that are known. */
export async function askWitnesses(member: Member): Promise<Witnesses> {
  const heads: (AuditHead & { seenBy: string })[] = []
  const asked: string[] = []
  const unreached: { memberId: string; reason: string }[] = []
  const lying = new Set<string>()
  const { memberId: own, identity } = member.home
  await Promise.all(
    fellowsOf(member).map(async ({ api, memberId }) => {
      try {
        const request = { path: routes.auditSeen, timeoutMs: TIMEOUT_MS, maxBytes: HEADS_BYTES_MAX }
        const answer = await member.api.json(address(api), request, readAuditHeads)
        asked.push(memberId)
        for (const head of answer.heads)
          if (head.memberId === own && isSignedBy(head, identity.signing.publicKeyHex)) heads.push({ ...head, seenBy: memberId })
          else lying.add(memberId)
      } catch (error) {
        unreached.push({ memberId, reason: reasonOf(error) })
      }
    }),
  )
  return { heads, asked: asked.sort(), unreached, lying: [...lying].sort() }
}

/**
 * What speaks against a log, given the heads that fellows saw of it and the hashes of its own lines by entry; null when nothing does. The
 * earliest entry that is not as it was seen.
 */
export function contradiction(
  heads: Witnesses["heads"],
  hashes: ReadonlyMap<number, string>,
  end: ChainHead,
): { readonly seq: number; readonly detail: string } | null {
  const against = heads.filter(({ seq, hash }) => seq > 0 && hashes.get(seq) !== hash).sort((a, b) => a.seq - b.seq)
  const [first] = against
  if (first === undefined) return null
  const { seq, seenBy, atMs } = first
  const seen = `server ${seenBy} saw entry ${seq} at ${new Date(atMs).toISOString()}`
  return seq > end.seq
    ? { seq, detail: `${seen}, and the log ends with entry ${end.seq}: its end was cut off` }
    : { seq, detail: `${seen} with another hash: entry ${seq} or one before it was changed` }
}

function fellowsOf(member: Member): ServerRecord[] {
  return member.directory.records().filter(({ memberId }) => memberId !== member.home.memberId)
}
