/** Reads the answer to a join or a renewal, and believes nothing in it that does not fit the member that asked. */
import { ALL_MEMBERS, type Admission } from "#crypto/admission.ts"
import type { MemberCertificate } from "#crypto/certificate.ts"
import type { MemberIdentity } from "#crypto/identity.ts"
import { openSealed } from "#crypto/sealed-box.ts"
import { GridError } from "#core/errors.ts"
import { parseJson } from "#core/schema.ts"
import { readMemberSecrets, type MembershipAnswer, type MemberSecrets } from "#core/wire.ts"

/** What a membership answer's secrets are sealed for (crypto/sealed-box.ts). */
export const MEMBERSHIP_PURPOSE = "imagegrid membership"
/** Clocks further apart than this are reported instead of met with confusing certificate errors. */
export const CLOCK_TOLERANCE_MS = 10 * 60_000

const SECRETS_BYTES_MAX = 200_000

/** @throws {GridError} CERTIFICATE_INVALID, SEALED_INVALID */
export function readMembership(
  answer: MembershipAnswer,
  identity: MemberIdentity,
  admission: Admission,
): { readonly certificate: MemberCertificate; readonly secrets: MemberSecrets } {
  const certificate = admission.admit(Buffer.from(answer.certificate, "base64"), ALL_MEMBERS)
  if (certificate.kind !== "member" || certificate.memberId !== identity.memberId)
    throw new GridError("CERTIFICATE_INVALID", "the server issued a certificate for another member; ask its administrator")
  const opened = openSealed(identity.sealing, MEMBERSHIP_PURPOSE, Buffer.from(answer.secrets, "base64"))
  if (opened === null) throw new GridError("SEALED_INVALID", "the server's answer is not sealed to this machine; ask its administrator")
  const secrets = readMemberSecrets(parseJson(opened, SECRETS_BYTES_MAX, "REQUEST_INVALID", "member secrets"))
  return { certificate, secrets }
}

/** @throws {GridError} CLOCK_WRONG */
export function requireSimilarClocks(theirsMs: number, oursMs: number, who: string): void {
  if (Math.abs(theirsMs - oursMs) <= CLOCK_TOLERANCE_MS) return
  const there = new Date(theirsMs).toISOString()
  throw new GridError(
    "CLOCK_WRONG",
    `${who} says ${there}, the clock here ${new Date(oursMs).toISOString()}; set the one that is wrong and try again`,
  )
}
