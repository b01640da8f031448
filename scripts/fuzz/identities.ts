/**
 * Who the admitted attackers are: a client that joined as any client does, and further members made with the site's own authority, because a
 * member that breaks the rules three times is let into the torrent no more and would fuzz a closed door from then on.
 */
import { randomBytes } from "node:crypto"
import { systemClock } from "#core/clock.ts"
import { Admission } from "#crypto/admission.ts"
import { memberIdentity, type MemberIdentity } from "#crypto/identity.ts"
import { authoritiesOf } from "#member/catalog-keeper.ts"
import { Home } from "#member/home.ts"
import { networkKeyOf } from "#member/network-keys.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import { authorityOf, type Authority } from "../../nodes/authority.ts"
import { issueMemberCertificate } from "../../nodes/issuer.ts"

export type Attacker = { readonly memberId: string; readonly admission: Admission }

export class Identities {
  readonly joined: Attacker
  readonly #home: Home
  readonly #authority: Authority
  readonly #networkKey: Buffer

  private constructor(home: Home, authority: Authority, networkKey: Buffer, joined: Attacker) {
    this.#networkKey = networkKey
    this.#home = home
    this.#authority = authority
    this.joined = joined
  }

  static async open(serverDirectory: string, clientDirectory: string): Promise<Identities> {
    const nowMs = systemClock.nowMs()
    const home = await Home.open(serverDirectory)
    const authority = authorityOf(await home.onlineKeys(), (await storedCatalog(home, nowMs)).catalog)
    const client = await Home.open(clientDirectory)
    const { catalog } = await storedCatalog(client, nowMs)
    const { der } = await client.certificate()
    return new Identities(
      home,
      authority,
      networkKeyOf(await home.secrets(), catalog.site),
      attacker(client.identity, client, authoritiesOf(catalog), der),
    )
  }

  get networkKey(): Buffer {
    return this.#networkKey
  }

  async another(): Promise<Attacker> {
    const identity = memberIdentity(randomBytes(32))
    const der = await issueMemberCertificate({
      authority: this.#authority,
      subject: {
        kind: "member",
        site: this.#home.site,
        role: "client",
        memberId: identity.memberId,
        groups: [],
        sealingKeyHex: identity.sealing.publicKeyHex,
      },
      signingKeyHex: identity.signing.publicKeyHex,
      nowMs: systemClock.nowMs(),
      random: randomBytes,
    })
    return attacker(identity, this.#home, [this.#authority.der], der)
  }
}

function attacker(
  identity: MemberIdentity,
  home: Pick<Home, "site">,
  authorities: readonly Uint8Array[],
  certificateDer: Buffer,
): Attacker {
  const parts = { clock: systemClock, site: home.site, authorities, revoked: [], certificateDer, signing: identity.signing }
  return { memberId: identity.memberId, admission: new Admission(parts) }
}
