/** The certificate authority with whose key a server makes members and invites. */
import { X509Certificate } from "node:crypto"
import type { Catalog } from "#trust/catalog.ts"
import { issueAuthority } from "#crypto/certificate.ts"
import { signingKeyFromSeed } from "#crypto/identity.ts"
import { GridError } from "#core/errors.ts"
import type { SiteName } from "#core/identifiers.ts"
import type { OnlineSecrets } from "#core/wire.ts"
import { authoritiesOf } from "#member/catalog-keeper.ts"

export type Authority = { readonly seed: Uint8Array; readonly der: Buffer }

/** Certificates begin a little in the past, for clocks that are behind. */
export const BACKDATE_MS = 10 * 60_000
/** An authority's certificate outlives many rotations of what it issues. */
const AUTHORITY_LIFE_MS = 10 * 365 * 24 * 3_600_000

/** A new key, certified by itself. */
export async function newAuthority(parts: {
  readonly site: SiteName
  readonly nowMs: number
  readonly random: (byteCount: number) => Uint8Array
}): Promise<Authority> {
  const seed = parts.random(32)
  const der = await issueAuthority({
    site: parts.site,
    seed,
    notBeforeMs: parts.nowMs - BACKDATE_MS,
    notAfterMs: parts.nowMs + AUTHORITY_LIFE_MS,
    serial: parts.random(16),
  })
  return { seed, der }
}

/** Those of the site's authorities whose keys are held, in the site's order: the newest first. */
export function authoritiesHeld(online: OnlineSecrets, catalog: Pick<Catalog, "site">): Authority[] {
  const seeds = online.authorities.map((seed) => Buffer.from(seed, "hex"))
  return authoritiesOf(catalog).flatMap((der) => {
    const { publicKey } = new X509Certificate(der)
    const seed = seeds.find((candidate) => signingKeyFromSeed(candidate).publicKey.equals(publicKey))
    return seed === undefined ? [] : [{ seed, der }]
  })
}

/**
 * The first of the site's authorities whose key is held. Where the site has just got a new one and its key is not here yet, that is an older
 * one that is accepted still.
 * @throws {GridError} KEY_MISSING when the site names none of them any more
 */
export function authorityOf(online: OnlineSecrets, catalog: Pick<Catalog, "site">): Authority {
  const [first] = authoritiesHeld(online, catalog)
  if (first !== undefined) return first
  throw new GridError("KEY_MISSING", "this home holds the key of no authority that the site names; join again as a server")
}
