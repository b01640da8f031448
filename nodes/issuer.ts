/**
 * Who becomes a member, and with which certificate. An invite's use is claimed durably here and at every fellow server that
 * answers before anything is issued, so that an invite for one is not used at two servers.
 */
import {
  issueCertificate,
  readCertificate,
  type InviteCertificate,
  type InviteSubject,
  type MemberCertificate,
  type MemberRole,
  type MemberSubject,
} from "#crypto/certificate.ts"
import { memberIdOf, signingKeyFromSeed, verify } from "#crypto/identity.ts"
import { inviteProof } from "#crypto/invite.ts"
import { rekeyProof } from "#crypto/rekey-proof.ts"
import { sealTo } from "#crypto/sealed-box.ts"
import type { Clock } from "#core/clock.ts"
import type { SiteDocument } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { groupsOf } from "#core/groups.ts"
import type { GroupName, SiteName } from "#core/identifiers.ts"
import type { ClaimRequest, JoinRequest, MembershipAnswer, MemberSecrets, RenewRequest, ServerRecord } from "#core/wire.ts"
import { groupKeysInForce } from "#member/group-keys.ts"
import { MEMBERSHIP_PURPOSE, requireSimilarClocks } from "#member/membership.ts"
import { BACKDATE_MS, type Authority } from "./authority.ts"
import { decideClaim } from "./claims.ts"
import type { ServerState } from "./state.ts"

/** How long a member's certificate lives; it is renewed after two thirds of that. */
export const CERTIFICATE_LIFE_MS = 7 * 24 * 3_600_000
/** How long a server remembers that a member's keys were replaced: by then nobody keeps the old ones to try them. */
const REPLACED_KEPT_MS = 10 * 365 * 24 * 3_600_000

type Random = (byteCount: number) => Uint8Array

export async function issueMemberCertificate(parts: {
  readonly authority: Authority
  readonly subject: MemberSubject
  readonly signingKeyHex: string
  readonly nowMs: number
  readonly random: Random
}): Promise<Buffer> {
  return issueCertificate({
    authoritySeed: parts.authority.seed,
    authorityDer: parts.authority.der,
    subject: parts.subject,
    signingKeyHex: parts.signingKeyHex,
    notBeforeMs: parts.nowMs - BACKDATE_MS,
    notAfterMs: parts.nowMs + CERTIFICATE_LIFE_MS,
    serial: parts.random(16),
  })
}

/** A new certificate for a server itself: same member, role, groups and keys. It has the authority's key and asks nobody. */
export async function renewOwnCertificate(
  authority: Authority,
  old: MemberCertificate,
  nowMs: number,
  random: Random,
): Promise<MemberCertificate> {
  const { site, role, memberId, groups, sealingKeyHex, signingKeyHex } = old
  const subject: MemberSubject = { kind: "member", site, role, memberId, groups, sealingKeyHex }
  return readCertificate(await issueMemberCertificate({ authority, subject, signingKeyHex, nowMs, random })) as MemberCertificate
}

/** A certificate that lets its bearer join, and its key's seed. */
export async function issueInviteCertificate(parts: {
  readonly authority: Authority
  readonly subject: InviteSubject
  readonly nowMs: number
  readonly lifeMs: number
  readonly random: Random
}): Promise<{ readonly seed: Buffer; readonly der: Buffer }> {
  const seed = Buffer.from(parts.random(32))
  const der = await issueCertificate({
    authoritySeed: parts.authority.seed,
    authorityDer: parts.authority.der,
    subject: parts.subject,
    signingKeyHex: signingKeyFromSeed(seed).publicKeyHex,
    notBeforeMs: parts.nowMs - BACKDATE_MS,
    notAfterMs: parts.nowMs + parts.lifeMs,
    serial: parts.random(16),
  })
  return { seed, der }
}

export type IssuerParts = {
  readonly site: SiteName
  readonly clock: Clock
  readonly random: Random
  readonly state: ServerState
  /** Read at each use, as are the next two: authorities, groups and keys change while the server runs. */
  readonly authority: () => Authority
  readonly document: () => SiteDocument
  readonly secrets: () => MemberSecrets
  readonly records: () => readonly ServerRecord[]
  /** Asks every fellow server that answers; false when one of them refuses the claim. */
  readonly askFellows: (claim: ClaimRequest) => Promise<boolean>
}

export class Issuer {
  readonly #parts: IssuerParts

  constructor(parts: IssuerParts) {
    this.#parts = parts
  }

  /** Records a claim that this server or a fellow was asked for. */
  claim(wanted: ClaimRequest): boolean {
    const { state } = this.#parts
    const decision = decideClaim(state.claims(wanted.inviteId), wanted)
    if (decision.kind === "used") return false
    if (decision.displaces !== null) state.withdrawClaim(wanted.inviteId, decision.displaces)
    state.recordClaim(wanted, false)
    return true
  }

  /** @throws {GridError} INVITE_USED, REQUEST_INVALID, CLOCK_WRONG */
  async join(invite: InviteCertificate, request: JoinRequest): Promise<MembershipAnswer> {
    const { clock, site } = this.#parts
    requireSimilarClocks(clock.nowMs(), request.clockMs, "the server's clock")
    const proof = inviteProof(invite.inviteId, request.signingKey, request.sealingKey)
    if (!verify(request.signingKey, proof, Buffer.from(request.proof, "base64")))
      throw new GridError("REQUEST_INVALID", "the join's proof is not a signature by the key that it names")
    const memberId = memberIdOf(request.signingKey)
    const claim: ClaimRequest = { inviteId: invite.inviteId, uses: invite.uses, memberId, expiresAtMs: invite.notAfterMs }
    if (!(await this.#take(claim)))
      throw new GridError("INVITE_USED", `it was for ${invite.uses} machine${invite.uses === 1 ? "" : "s"}; ask for another`)
    return this.#answer(
      {
        kind: "member",
        site,
        role: invite.role,
        memberId,
        groups: invite.groups,
        sealingKeyHex: request.sealingKey,
      },
      request.signingKey,
    )
  }

  /**
   * A new certificate for the same member, role and keys, with its groups of now; or for its new keys, where it brings some, and then never
   * again for the old ones.
   * @throws {GridError} CLOCK_WRONG, REQUEST_INVALID, MEMBER_REPLACED
   */
  async renew(member: MemberCertificate, request: RenewRequest): Promise<MembershipAnswer> {
    requireSimilarClocks(this.#parts.clock.nowMs(), request.clockMs, "the server's clock")
    if (request.rekey !== undefined) return this.#rekey(member, request.rekey)
    const { site, role, memberId, groups, sealingKeyHex } = member
    const [claim] = this.#parts.state.claims(memberId)
    if (claim !== undefined) throw replaced(memberId, claim.memberId)
    return this.#answer({ kind: "member", site, role, memberId, groups, sealingKeyHex }, member.signingKeyHex)
  }

  /** The old key speaks by the connection's certificate, the new one by its proof. */
  async #rekey(
    member: MemberCertificate,
    { signingKey, sealingKey, proof }: NonNullable<RenewRequest["rekey"]>,
  ): Promise<MembershipAnswer> {
    const { site, role } = member
    if (!verify(signingKey, rekeyProof(member.memberId, signingKey, sealingKey), Buffer.from(proof, "base64")))
      throw new GridError("REQUEST_INVALID", "the proof is not a signature by the new key over the old member id and both new keys")
    const memberId = memberIdOf(signingKey)
    if (memberId === member.memberId) throw new GridError("REQUEST_INVALID", "the new signing key is the old one; make another")
    const claim = rekeyClaim(member.memberId, memberId, this.#parts.clock.nowMs())
    if (!(await this.#take(claim))) throw replaced(member.memberId, null)
    const groups = groupsOf(this.#parts.document(), member)
    return this.#answer({ kind: "member", site, role, memberId, groups, sealingKeyHex: sealingKey }, signingKey)
  }

  /** Takes a claim here and at every fellow that answers, for good; false when another has it. */
  async #take(claim: ClaimRequest): Promise<boolean> {
    const { state } = this.#parts
    if (!this.claim(claim)) return false
    if (!(await this.#parts.askFellows(claim))) {
      state.withdrawClaim(claim.inviteId, claim.memberId)
      return false
    }
    if (!state.claims(claim.inviteId).some((known) => known.memberId === claim.memberId)) return false
    state.recordClaim(claim, true)
    return true
  }

  async #answer(certified: MemberSubject, signingKeyHex: string): Promise<MembershipAnswer> {
    const { clock, random } = this.#parts
    const authority = this.#parts.authority()
    const document = this.#parts.document()
    const subject = { ...certified, groups: groupsOf(document, certified) }
    const plain = Buffer.from(JSON.stringify(secretsFor(subject, this.#parts.secrets(), document)))
    const certificate = await issueMemberCertificate({ authority, subject, signingKeyHex, nowMs: clock.nowMs(), random })
    return {
      certificate: certificate.toString("base64"),
      secrets: sealTo(subject.sealingKeyHex, MEMBERSHIP_PURPOSE, plain, random).toString("base64"),
      servers: [...this.#parts.records()],
    }
  }
}

/** That a member's id is used up by a new one, as an invite for one machine is by a join. */
export function rekeyClaim(oldMemberId: string, newMemberId: string, nowMs: number): ClaimRequest {
  return { inviteId: oldMemberId, uses: 1, memberId: newMemberId, expiresAtMs: nowMs + REPLACED_KEPT_MS }
}

export function replaced(memberId: string, by: string | null): GridError {
  return new GridError(
    "MEMBER_REPLACED",
    `${memberId} became ${by ?? "another member"} by 'imagegrid rotate member'. If that was cut off here, repeat it; if it was not you, tell an ` +
      "administrator, who revokes both and gives you a new invite",
  )
}

/** Clients get the keys of their groups; servers all keys with which any of them answers for the site; mirrors none that opens or signs. */
function secretsFor(
  subject: { readonly role: MemberRole; readonly groups: readonly GroupName[] },
  all: MemberSecrets,
  document: SiteDocument,
): MemberSecrets {
  if (subject.role === "server") return all
  const named = new Set<string>(subject.role === "mirror" ? [] : subject.groups)
  return { groups: groupKeysInForce(all, document).filter((group) => named.has(group.name)), networkKeys: all.networkKeys }
}
