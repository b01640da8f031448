/** The certificate authority with whose key a server makes members and invites. */
import { X509Certificate } from "node:crypto"
import type { Catalog } from "#trust/catalog.ts"
import { signingKeyFromSeed } from "#crypto/identity.ts"
import { GridError } from "#core/errors.ts"
import type { OnlineSecrets } from "#core/wire.ts"
import { authoritiesOf } from "#member/catalog-keeper.ts"

export type Authority = { readonly seed: Uint8Array; readonly der: Buffer }

/**
 * The first of the site's authorities whose key is held. Where the site has just got a new one and its key is not here yet, that is an older
 * one that is accepted still.
 * @throws {GridError} KEY_MISSING when the site names none of them any more
 */
export function authorityOf(online: OnlineSecrets, catalog: Pick<Catalog, "site">): Authority {
  const seeds = online.authorities.map((seed) => Buffer.from(seed, "hex"))
  for (const der of authoritiesOf(catalog)) {
    const { publicKey } = new X509Certificate(der)
    const seed = seeds.find((candidate) => signingKeyFromSeed(candidate).publicKey.equals(publicKey))
    if (seed !== undefined) return { seed, der }
  }
  throw new GridError("KEY_MISSING", "this home holds the key of no authority that the site names; join again as a server")
}
