/** Certificates live days and are renewed when two thirds of that have passed, at any server of the site. */
import type { MemberCertificate } from "#crypto/certificate.ts"
import { GridError } from "#core/errors.ts"
import { readMembershipAnswer, routes } from "#core/wire.ts"
import type { Member } from "./member.ts"
import { readMembership } from "./membership.ts"

export function renewalDue(certificate: Pick<MemberCertificate, "notBeforeMs" | "notAfterMs">, nowMs: number): boolean {
  return nowMs >= certificate.notBeforeMs + ((certificate.notAfterMs - certificate.notBeforeMs) * 2) / 3
}

/**
 * Asks the known servers, one after another, until one has renewed this member's certificate.
 * @throws {GridError} of the last server that refused or could not be reached
 */
export async function renewMembership(member: Member): Promise<void> {
  let lastFailure: unknown = new GridError("SERVERS_UNREACHABLE", "no address of a server is known")
  for (const server of member.apiAddresses()) {
    try {
      const body = { clockMs: member.clock.nowMs() }
      const answer = await member.api.json(server, { method: "POST", path: routes.renew, body }, readMembershipAnswer)
      const { certificate, secrets } = readMembership(answer, member.home.identity, member.admission)
      await member.takeMembership(certificate, secrets)
      await member.directory.consider(answer.servers)
      return
    } catch (error) {
      lastFailure = error
    }
  }
  throw lastFailure
}
