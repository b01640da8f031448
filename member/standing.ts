/** Whether a member's certificate and secrets are those that the site now says they should be. Pure. */
import { X509Certificate } from "node:crypto"
import type { MemberCertificate } from "#crypto/certificate.ts"
import { sealingKeyFromSecret, signingKeyFromSeed } from "#crypto/identity.ts"
import { networkKeyDigest } from "#crypto/network-key.ts"
import { newestRoot } from "#trust/files.ts"
import { keyIdOfSeed } from "#trust/metadata.ts"
import type { Catalog } from "#trust/catalog.ts"
import { groupsOf } from "#core/groups.ts"
import type { MemberSecrets, OnlineSecrets } from "#core/wire.ts"

export type Standing = {
  readonly certificate: MemberCertificate
  readonly secrets: MemberSecrets
  readonly catalog: Pick<Catalog, "site" | "files">
}

/** What the member has to fetch from a server, in words for a log; empty when nothing. */
export function outdated({ certificate, secrets, catalog }: Standing): string[] {
  const { site } = catalog
  const reasons: string[] = []
  const [issuing] = site.authorities
  if (issuing !== undefined && !new X509Certificate(certificate.der).checkIssued(new X509Certificate(Buffer.from(issuing, "base64"))))
    reasons.push("a certificate of the newest authority")
  const groups = groupsOf(site, certificate)
  if ([...groups].sort().join() !== [...certificate.groups].sort().join()) reasons.push("a certificate with its groups of now")
  const opens = certificate.role !== "mirror"
  for (const group of site.groups)
    if ((secrets.online !== undefined || (opens && groups.some((own) => own === group.name))) && !holdsGroup(secrets, group))
      reasons.push(`generation ${group.generation} of the key of group ${group.name}`)
  const [networkKey] = site.networkKeys
  if (!secrets.networkKeys.some((key) => networkKeyDigest(Buffer.from(key, "hex")) === networkKey)) reasons.push("the newest network key")
  if (secrets.online !== undefined) reasons.push(...missingOnline(secrets.online, catalog))
  return reasons
}

function missingOnline(online: OnlineSecrets, { site, files }: Standing["catalog"]): string[] {
  const { roles } = newestRoot(files)
  const missing: string[] = []
  for (const role of ["snapshot", "timestamp"] as const)
    if (!seeds(online[role]).some((seed) => roles[role].keyids.includes(keyIdOfSeed(seed)))) missing.push(`the ${role} key`)
  if (!seeds(online.pointers).some((seed) => signingKeyFromSeed(seed).publicKeyHex === site.pointerKey)) missing.push("the pointer key")
  const [issuing] = site.authorities
  const key = issuing === undefined ? null : new X509Certificate(Buffer.from(issuing, "base64")).publicKey
  if (key !== null && !seeds(online.authorities).some((seed) => signingKeyFromSeed(seed).publicKey.equals(key)))
    missing.push("the newest authority's key")
  return missing
}

function seeds(held: readonly string[]): Buffer[] {
  return held.map((seed) => Buffer.from(seed, "hex"))
}

/** The key itself is compared: two servers may each have made one for a generation, of which one came into force. */
function holdsGroup(secrets: MemberSecrets, { name, generation, publicKey }: Catalog["site"]["groups"][number]): boolean {
  return secrets.groups.some(
    (held) =>
      held.name === name &&
      held.generation === generation &&
      sealingKeyFromSecret(Buffer.from(held.secretKey, "hex")).publicKeyHex === publicKey,
  )
}
