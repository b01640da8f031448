/** A client or mirror replaces its own keys: with those it gets another member id, and keeps its role and its groups. */
import { memberIdentity, sign } from "#crypto/identity.ts"
import { rekeyProof } from "#crypto/rekey-proof.ts"
import { GridError } from "#core/errors.ts"
import { readMembershipAnswer, routes, type RenewRequest } from "#core/wire.ts"
import { Home } from "./home.ts"
import type { Member } from "./member.ts"
import { nextSeed, switchMember } from "./member-switch.ts"
import { readMembership } from "./membership.ts"

/**
 * Asks the known servers one after another. `member` is the old one and of no use afterwards; whoever calls holds the home's lock. A call that
 * was cut off goes on, when it is repeated, with the same new member.
 * @throws {GridError} MEMBER_REPLACED when its keys were replaced by others; of the last server that refused or could not be reached
 */
export async function rekeyMember(member: Member): Promise<Home> {
  const { home } = member
  const seed = await nextSeed(home.directory)
  const identity = memberIdentity(seed)
  const keys = { signingKey: identity.signing.publicKeyHex, sealingKey: identity.sealing.publicKeyHex }
  const proof = sign(identity.signing, rekeyProof(home.memberId, keys.signingKey, keys.sealingKey)).toString("base64")
  let lastFailure: unknown = new GridError("SERVERS_UNREACHABLE", "no address of a server is known")
  for (const server of member.directory.issuers()) {
    try {
      const body: RenewRequest = { clockMs: member.clock.nowMs(), rekey: { ...keys, proof } }
      const request = { method: "POST", path: routes.renew, body, answeredBy: ["server"] } as const
      const { certificate, secrets } = readMembership(
        await member.api.json(server, request, readMembershipAnswer),
        identity,
        member.admission,
      )
      await home.updateSecrets(() => secrets)
      await switchMember(home.directory, { seed, certificateDer: certificate.der })
      return await Home.open(home.directory)
    } catch (error) {
      if (error instanceof GridError && error.code === "MEMBER_REPLACED") throw error
      lastFailure = error
    }
  }
  throw lastFailure
}
