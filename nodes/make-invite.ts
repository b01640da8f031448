/** Makes an invite from a server's home. The server need not run: the invite proves itself by the authority's signature. */
import { encodeInvite } from "#crypto/invite.ts"
import { Admission } from "#crypto/admission.ts"
import type { MemberRole } from "#crypto/certificate.ts"
import { address, type Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import type { GroupName } from "#core/identifiers.ts"
import { authoritiesOf } from "#member/catalog-keeper.ts"
import type { Home } from "#member/home.ts"
import { networkKeyOf } from "#member/network-keys.ts"
import { distinct, ServerDirectory } from "#member/server-directory.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import { AuditLog } from "./audit-log.ts"
import { authorityOf } from "./authority.ts"
import { groupOf } from "./groups.ts"
import { issueInviteCertificate } from "./issuer.ts"

/** Addresses put into an invite; more would only make the string longer. */
const ADDRESSES_MAX = 4

export type InviteOptions = {
  readonly role: MemberRole
  /** Null for a mirror, which is in none. */
  readonly group: GroupName | null
  readonly uses: number
  readonly lifeMs: number
}
export type InviteParts = { readonly home: Home; readonly clock: Clock; readonly random: (byteCount: number) => Uint8Array }

/** @throws {GridError} GROUP_UNKNOWN, KEY_MISSING */
export async function makeInvite(
  parts: InviteParts,
  options: InviteOptions,
): Promise<{ readonly text: string; readonly inviteId: string; readonly expiresAtMs: number }> {
  const { home, clock, random } = parts
  const nowMs = clock.nowMs()
  const { catalog } = await storedCatalog(home, nowMs)
  if (options.group !== null) groupOf(catalog.site, options.group)
  const secrets = await home.secrets()
  const authority = authorityOf(await home.onlineKeys(), catalog)
  const groups = options.group === null ? [] : [options.group]
  const inviteId = Buffer.from(random(16)).toString("hex")
  const subject = { kind: "invite", site: home.site, inviteId, role: options.role, groups, uses: options.uses } as const
  const { seed, der } = await issueInviteCertificate({ authority, subject, nowMs, lifeMs: options.lifeMs, random })
  const certificate = await home.certificate()
  const directory = await ServerDirectory.open(
    home,
    new Admission({
      clock,
      site: home.site,
      authorities: authoritiesOf(catalog),
      revoked: [],
      certificateDer: certificate.der,
      signing: home.identity.signing,
    }),
  )
  const api = distinct([...directory.issuers(), ...ownRecord(directory, home), ...listening(home.listen.api), ...home.firstKnown.api])
  const dht = distinct([...directory.addresses("dht"), ...listening(home.listen.dht), ...home.firstKnown.dht])
  if (api.length === 0)
    throw new GridError(
      "SERVERS_UNREACHABLE",
      "no server's address is known yet; start this one with 'imagegrid server run' and make the invite then",
    )
  const text = encodeInvite({
    site: home.site,
    rootDigest: home.rootDigest,
    networkKey: networkKeyOf(secrets, catalog.site),
    authorityDer: authority.der,
    certificateDer: der,
    seed,
    api: api.slice(0, ADDRESSES_MAX),
    dht: dht.slice(0, ADDRESSES_MAX),
  })
  const expiresAtMs = nowMs + options.lifeMs
  const { role, group, uses } = options
  await new AuditLog({ home, clock }).append([
    { event: "invited", actor: { kind: "member", ids: [home.memberId] }, from: null, what: { inviteId, role, group, uses, expiresAtMs } },
  ])
  return { text, inviteId, expiresAtMs }
}

/** Where this server said last that it answers. */
function ownRecord(directory: ServerDirectory, home: Home): Address[] {
  return directory
    .records()
    .filter(({ memberId }) => memberId === home.memberId)
    .map(({ api }) => address(api))
}

/** A configured address, unless its port is "any free one" and so known only while the server runs. */
function listening(at: Home["listen"]["api"]): { host: string; port: number }[] {
  return at === null || at.port === 0 ? [] : [at]
}
