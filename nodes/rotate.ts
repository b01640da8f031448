/**
 * Replaces the keys with which servers answer for the site, one change of signed metadata each. A new key is durable in this home's ring before
 * the change that names it is made; the other members see in the new catalog that they lack it and fetch it by a renewal. So a change that
 * never comes into force leaves a key that nobody uses, and one that does never names a key that nobody has.
 */
import { X509Certificate } from "node:crypto"
import { readCertificate } from "#crypto/certificate.ts"
import { signingKeyFromSeed } from "#crypto/identity.ts"
import { networkKeyDigest } from "#crypto/network-key.ts"
import type { Catalog } from "#trust/catalog.ts"
import { newestRoot } from "#trust/files.ts"
import { keyIdOfSeed, tufKeyOf } from "#trust/metadata.ts"
import type { SiteDocument } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { ONLINE_KEYS_MAX, type MemberSecrets, type OnlineSecrets } from "#core/wire.ts"
import { ServerDirectory } from "#member/server-directory.ts"
import { Admission } from "#crypto/admission.ts"
import { authoritiesOf } from "#member/catalog-keeper.ts"
import { BACKDATE_MS, newAuthority } from "./authority.ts"
import { CERTIFICATE_LIFE_MS } from "./issuer.ts"
import { makeChange, type MadeChange, type MakeChangeParts } from "./make-change.ts"
import { currentCatalog } from "./own-server.ts"

export type RotateParts = MakeChangeParts & { readonly random: (byteCount: number) => Uint8Array }

/** Of core/documents.ts: how many authorities and network keys a site lists. */
const AUTHORITIES_MAX = 16
const NETWORK_KEYS_MAX = 4

/**
 * New keys for snapshot, timestamp or both, in one change of the root. What the old ones signed counts no more from then on, however high a
 * version a thief has signed with them.
 * @throws {GridError} KEY_MISSING where this is no server's home; as makeChange
 */
export async function rotateOnlineKeys(parts: RotateParts, roles: readonly ("snapshot" | "timestamp")[]): Promise<MadeChange> {
  const { roles: before } = newestRoot((await currentCatalog(parts)).files)
  const seeds = new Map(roles.map((role) => [role, Buffer.from(parts.random(32))] as const))
  await addOnline(parts, (held) => {
    const added = { ...held }
    for (const [role, seed] of seeds)
      added[role] = withNewest(held[role], seed.toString("hex"), (key) =>
        before[role].keyids.includes(keyIdOfSeed(Buffer.from(key, "hex"))),
      )
    return added
  })
  return makeChange(parts, () => ({
    root: (root) => {
      const next = structuredClone(root)
      for (const [role, seed] of seeds) {
        next.keys[keyIdOfSeed(seed)] = tufKeyOf(seed)
        next.roles[role] = { keyids: [keyIdOfSeed(seed)], threshold: 1 }
      }
      return next
    },
  }))
}

/** A new key of the DHT's pointer to the catalog. @throws {GridError} as rotateOnlineKeys */
export async function rotatePointer(parts: RotateParts): Promise<MadeChange> {
  const { site } = await currentCatalog(parts)
  const seed = Buffer.from(parts.random(32))
  const inForce = (key: string): boolean => signingKeyFromSeed(Buffer.from(key, "hex")).publicKeyHex === site.pointerKey
  await addOnline(parts, (held) => ({ ...held, pointers: withNewest(held.pointers, seed.toString("hex"), inForce) }))
  return changeSite(parts, (document) => ({ ...document, pointerKey: signingKeyFromSeed(seed).publicKeyHex }))
}

/** A new authority, which issues from now on. Certificates of the older ones are admitted until they are dropped. @throws {GridError} as rotateOnlineKeys; USAGE */
export async function rotateAuthority(parts: RotateParts): Promise<MadeChange> {
  const { site } = await currentCatalog(parts)
  requireRoom(site.authorities.length, AUTHORITIES_MAX, "authorities", "imagegrid rotate authority --drop-old")
  const { seed, der } = await newAuthority({ site: parts.home.site, nowMs: parts.clock.nowMs(), random: parts.random })
  const listed = authoritiesOf({ site }).map((known) => new X509Certificate(known).publicKey)
  const inForce = (key: string): boolean => listed.some((known) => known.equals(signingKeyFromSeed(Buffer.from(key, "hex")).publicKey))
  await addOnline(parts, (held) => ({ ...held, authorities: withNewest(held.authorities, Buffer.from(seed).toString("hex"), inForce) }))
  return changeSite(parts, (document) => ({ ...document, authorities: [der.toString("base64"), ...document.authorities] }))
}

/**
 * Whom it would lock out if the site listed its newest authority alone, one sentence for each reason; empty where nobody can be.
 * A member whose certificate is of an older one can reach no other member then, so it can't renew.
 */
export async function lockedOutByDrop(parts: RotateParts): Promise<string[]> {
  const { home, clock } = parts
  const catalog = await currentCatalog(parts)
  const [newestDer] = authoritiesOf(catalog)
  if (newestDer === undefined) throw new TypeError("a site has an authority")
  const newest = new X509Certificate(newestDer)
  const reasons: string[] = []
  const lastOldEndsAtMs = newest.validFromDate.getTime() + BACKDATE_MS + CERTIFICATE_LIFE_MS
  if (clock.nowMs() < lastOldEndsAtMs)
    reasons.push(
      `Members who were away since ${new Date(lastOldEndsAtMs - CERTIFICATE_LIFE_MS).toISOString()} still have a certificate of the old authority and need a ` +
        `new invite; after ${new Date(lastOldEndsAtMs).toISOString()} all such certificates have lapsed by themselves.`,
    )
  const admission = new Admission({
    clock,
    site: home.site,
    authorities: authoritiesOf(catalog),
    revoked: catalog.site.revoked,
    certificateDer: (await home.certificate()).der,
    signing: home.identity.signing,
  })
  for (const record of (await ServerDirectory.open(home, admission)).records()) {
    const { der } = readCertificate(Buffer.from(record.certificate, "base64"))
    if (record.memberId !== home.memberId && !new X509Certificate(der).checkIssued(newest))
      reasons.push(
        `Server ${record.memberId} (${record.api}) was last heard with a certificate of the old authority: it would have to join again.`,
      )
  }
  return reasons
}

/** Lists the newest authority alone. Ask `lockedOutByDrop` first. @throws {GridError} USAGE when there is no other */
export async function dropOldAuthorities(parts: RotateParts): Promise<MadeChange> {
  requireOld((await currentCatalog(parts)).site.authorities, "authority")
  return changeSite(parts, (document) => ({ ...document, authorities: document.authorities.slice(0, 1) }))
}

/** A new network key. Packets under the old one are taken until it is dropped. @throws {GridError} USAGE; as makeChange */
export async function rotateNetworkKey(parts: RotateParts): Promise<MadeChange> {
  const { site } = await currentCatalog(parts)
  requireRoom(site.networkKeys.length, NETWORK_KEYS_MAX, "network keys", "imagegrid rotate network --drop-old")
  const key = Buffer.from(parts.random(32))
  const inForce = (held: string): boolean => site.networkKeys.includes(networkKeyDigest(Buffer.from(held, "hex")))
  // Any server gives the key on, so it is made at one.
  await addSecrets(parts, (held) => ({ ...held, networkKeys: withNewest(held.networkKeys, key.toString("hex"), inForce) }))
  return changeSite(parts, (document) => ({ ...document, networkKeys: [networkKeyDigest(key), ...document.networkKeys] }))
}

/** Lists the newest network key alone. Who lacks it gets it by the next renewal, which needs no DHT. @throws {GridError} USAGE when there is no other */
export async function dropOldNetworkKeys(parts: RotateParts): Promise<MadeChange> {
  requireOld((await currentCatalog(parts)).site.networkKeys, "network key")
  return changeSite(parts, (document) => ({ ...document, networkKeys: document.networkKeys.slice(0, 1) }))
}

function changeSite(parts: RotateParts, site: (document: Catalog["site"]) => SiteDocument): Promise<MadeChange> {
  return makeChange(parts, () => ({ site }))
}

/** @throws {GridError} KEY_MISSING where this is no server's home: only servers give keys on */
async function addSecrets({ home }: RotateParts, add: (held: MemberSecrets) => MemberSecrets): Promise<void> {
  await home.onlineKeys()
  await home.updateSecrets(add)
}

function addOnline(parts: RotateParts, add: (held: OnlineSecrets) => OnlineSecrets): Promise<void> {
  return addSecrets(parts, (held) => (held.online === undefined ? held : { ...held, online: add(held.online) }))
}

/** The ring with one more key; where it is full the oldest goes that is not in force. */
function withNewest(ring: readonly string[], key: string, inForce: (held: string) => boolean): string[] {
  const kept =
    ring.length < ONLINE_KEYS_MAX
      ? ring
      : ring.toSpliced(
          ring.findLastIndex((held) => !inForce(held)),
          1,
        )
  return [key, ...kept]
}

function requireRoom(count: number, max: number, what: string, how: string): void {
  if (count < max) return
  throw new GridError("USAGE", `there are ${count} ${what} already, and ${max} is the most; first use ${how}`)
}

function requireOld(listed: readonly string[], what: string): void {
  if (listed.length > 1) return
  throw new GridError("USAGE", `the site has one ${what}, and no older one to drop; 'imagegrid rotate' makes a new one first`)
}
