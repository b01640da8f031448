/** A server replaces its own member keys. It has the authority's key and certifies itself; its fellows are told that the old id is used up. */
import { memberIdentity } from "#crypto/identity.ts"
import { groupsOf } from "#core/groups.ts"
import { Home } from "#member/home.ts"
import { Member, type MemberParts } from "#member/member.ts"
import { nextSeed, switchMember } from "#member/member-switch.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import { authorityOf } from "./authority.ts"
import { askFellows } from "./fellows.ts"
import { issueMemberCertificate, rekeyClaim, replaced } from "./issuer.ts"
import { renewBeforeStart } from "./own-certificate.ts"
import { ServerState } from "./state.ts"

/**
 * Whoever calls holds the home's lock. A call that was cut off goes on, when it is repeated, with the same new member.
 * @throws {GridError} MEMBER_REPLACED when a fellow knows its keys to be replaced by others; KEY_MISSING, HOME_INVALID
 */
export async function rekeyServer(parts: MemberParts & { readonly random: (byteCount: number) => Uint8Array }): Promise<Home> {
  const { home, clock, random } = parts
  const nowMs = clock.nowMs()
  await renewBeforeStart(home, nowMs)
  const { catalog } = await storedCatalog(home, nowMs)
  const old = await home.certificate()
  const seed = await nextSeed(home.directory)
  const { memberId, signing, sealing } = memberIdentity(seed)
  const claim = rekeyClaim(old.memberId, memberId, nowMs)
  const member = await Member.start(parts, { network: "api-only" })
  try {
    if (!(await askFellows(member, claim))) throw replaced(old.memberId, null)
  } finally {
    await member.close()
  }
  const state = new ServerState(home.path("state.sqlite"))
  try {
    state.recordClaim(claim, true)
  } finally {
    state.close()
  }
  const { site, role } = old
  const certificateDer = await issueMemberCertificate({
    authority: authorityOf(await home.onlineKeys(), catalog),
    subject: { kind: "member", site, role, memberId, groups: groupsOf(catalog.site, old), sealingKeyHex: sealing.publicKeyHex },
    signingKeyHex: signing.publicKeyHex,
    nowMs,
    random,
  })
  await switchMember(home.directory, { seed, certificateDer })
  return Home.open(home.directory)
}
