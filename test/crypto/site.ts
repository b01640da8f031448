/** A site in the small for tests: an authority and members whose keys and serials follow from words. */
import { createHash } from "node:crypto"
import type { Clock } from "#core/clock.ts"
import { GridError, type RefusalCode } from "#core/errors.ts"
import { groupName, siteName, type SiteName } from "#core/identifiers.ts"
import { Admission, type AdmissionParts } from "#crypto/admission.ts"
import { issueAuthority, issueCertificate, type CertificateParts, type InviteSubject, type MemberRole } from "#crypto/certificate.ts"
import { memberIdentity, signingKeyFromSeed, type MemberIdentity, type SigningKey } from "#crypto/identity.ts"

export const lab = siteName("lab")
export const HOUR_MS = 3_600_000
/** The machine's time, on a whole second: OpenSSL checks certificates by it too. */
export const startMs = Math.floor(Date.now() / 1_000) * 1_000

export const seedOf = (word: string): Buffer => createHash("sha256").update(word).digest()
export const serialOf = (word: string): Buffer => seedOf(word).subarray(0, 16)

/** Bytes that look random and are the same in every run. */
export function seededRandom(word: string): (length: number) => Uint8Array {
  let count = 0
  return (length) => {
    const blocks = Array.from({ length: Math.ceil(length / 32) }, () => seedOf(`${word} ${count++}`))
    return Buffer.concat(blocks).subarray(0, length)
  }
}

export type TestClock = Clock & { now: number }
export function clockAt(now: number): TestClock {
  return {
    now,
    nowMs() {
      return this.now
    },
  }
}

export type Authority = { readonly site: SiteName; readonly seed: Buffer; readonly der: Buffer }
export async function authorityOf(word: string, site: SiteName = lab): Promise<Authority> {
  const seed = seedOf(word)
  const times = { notBeforeMs: startMs - 24 * HOUR_MS, notAfterMs: startMs + 240 * HOUR_MS }
  return { site, seed, der: await issueAuthority({ site, seed, ...times, serial: serialOf(word) }) }
}

export type TestMember = { readonly identity: MemberIdentity; readonly der: Buffer }
type Times = Partial<Pick<CertificateParts, "notBeforeMs" | "notAfterMs">>
const times = { notBeforeMs: startMs - HOUR_MS, notAfterMs: startMs + HOUR_MS }

export async function memberOf(
  authority: Authority,
  word: string,
  options: Times & { readonly role?: MemberRole; readonly site?: SiteName } = {},
): Promise<TestMember> {
  const { role = "client", site = authority.site, ...ownTimes } = options
  const identity = memberIdentity(seedOf(word))
  const der = await issueCertificate({
    authoritySeed: authority.seed,
    authorityDer: authority.der,
    subject: {
      kind: "member",
      site,
      role,
      memberId: identity.memberId,
      groups: [groupName("default")],
      sealingKeyHex: identity.sealing.publicKeyHex,
    },
    signingKeyHex: identity.signing.publicKeyHex,
    ...times,
    ...ownTimes,
    serial: serialOf(word),
  })
  return { identity, der }
}

export type TestInvite = { readonly inviteId: string; readonly seed: Buffer; readonly signing: SigningKey; readonly der: Buffer }
export async function inviteOf(authority: Authority, word: string, options: Partial<InviteSubject> = {}): Promise<TestInvite> {
  const seed = seedOf(word)
  const signing = signingKeyFromSeed(seed)
  const inviteId = serialOf(word).toString("hex")
  const subject: InviteSubject = {
    kind: "invite",
    site: authority.site,
    inviteId,
    role: "client",
    groups: [groupName("default")],
    uses: 1,
    ...options,
  }
  const parts = { authoritySeed: authority.seed, authorityDer: authority.der, subject, signingKeyHex: signing.publicKeyHex }
  return { inviteId, seed, signing, der: await issueCertificate({ ...parts, ...times, serial: serialOf(word) }) }
}

export function admissionOf(
  authority: Authority,
  own: { readonly signing: SigningKey; readonly der: Buffer },
  options: Partial<AdmissionParts> = {},
): Admission {
  return new Admission({
    clock: clockAt(startMs),
    site: authority.site,
    authorities: [authority.der],
    revoked: [],
    certificateDer: own.der,
    signing: own.signing,
    ...options,
  })
}

export const ownOf = ({ identity, der }: TestMember): { readonly signing: SigningKey; readonly der: Buffer } => ({
  signing: identity.signing,
  der,
})

/** For assert.throws and assert.rejects: a refusal with this code. */
export const refusedWith = (code: RefusalCode) => (error: unknown) => error instanceof GridError && error.code === code
