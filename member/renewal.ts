/**
 * Certificates live days and are renewed when two thirds of that have passed, at any server of the site; and at once when the site has changed
 * what a member should have (standing.ts).
 */
import type { MemberCertificate } from "#crypto/certificate.ts"
import { GridError } from "#core/errors.ts"
import { readMembershipAnswer, routes } from "#core/wire.ts"
import type { Member } from "./member.ts"
import { readMembership } from "./membership.ts"
import { outdated } from "./standing.ts"

export function renewalDue(certificate: Pick<MemberCertificate, "notBeforeMs" | "notAfterMs">, nowMs: number): boolean {
  return nowMs >= certificate.notBeforeMs + ((certificate.notAfterMs - certificate.notBeforeMs) * 2) / 3
}

/** What this member lacks of what the site says it should have. */
export function outdatedOf(member: Member): string[] {
  const { certificate, secrets } = member
  return outdated({ certificate, secrets, catalog: member.catalogs.catalog })
}

/**
 * Asks the known servers, one after another, until one has renewed this member's certificate and nothing is outdated any more; a server that
 * has not heard the news itself is passed over for the next.
 * @throws {GridError} of the last server that refused or could not be reached, where none answered
 */
export async function renewMembership(member: Member): Promise<void> {
  let lastFailure: unknown = new GridError("SERVERS_UNREACHABLE", "no address of a server is known")
  let renewed = false
  for (const server of member.directory.issuers()) {
    try {
      const body = { clockMs: member.clock.nowMs() }
      const answer = await member.api.json(
        server,
        { method: "POST", path: routes.renew, body, answeredBy: ["server"] },
        readMembershipAnswer,
      )
      const { certificate, secrets } = readMembership(answer, member.home.identity, member.admission)
      await member.takeMembership(certificate, secrets)
      await member.directory.consider(answer.servers)
      renewed = true
      if (outdatedOf(member).length === 0) return
    } catch (error) {
      lastFailure = error
    }
  }
  if (!renewed) throw lastFailure
}
