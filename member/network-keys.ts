/** Which of the network keys that a member holds are used, as the site's document says. Pure. */
import { networkKeyDigest } from "#crypto/network-key.ts"
import type { SiteDocument } from "#core/documents.ts"
import type { MemberSecrets } from "#core/wire.ts"

/** Those that the site names, in its order: the first is in force. Where none is held that it names, the newest that is held. */
export function networkKeysInForce(secrets: MemberSecrets, site: Pick<SiteDocument, "networkKeys">): Buffer[] {
  const held = secrets.networkKeys.map((key) => Buffer.from(key, "hex"))
  const named = site.networkKeys.flatMap((digest) => held.filter((key) => networkKeyDigest(key) === digest))
  return named.length > 0 ? named : held.slice(0, 1)
}

export function networkKeyOf(secrets: MemberSecrets, site: Pick<SiteDocument, "networkKeys">): Buffer {
  const [first] = networkKeysInForce(secrets, site)
  if (first === undefined) throw new TypeError("a member holds a network key")
  return first
}
