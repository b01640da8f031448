/** The certificate authority whose key a server's home holds, with which it makes members and invites. */
import { X509Certificate } from "node:crypto"
import type { Catalog } from "#trust/catalog.ts"
import { signingKeyFromSeed } from "#crypto/identity.ts"
import { GridError } from "#core/errors.ts"
import { authoritiesOf } from "#member/catalog-keeper.ts"
import type { Home } from "#member/home.ts"

export type Authority = { readonly seed: Uint8Array; readonly der: Buffer }

/** @throws {GridError} KEY_MISSING in a client's home, or when the site has replaced the authority since */
export async function authorityOf(home: Home, catalog: Catalog): Promise<Authority> {
  const seed = Buffer.from((await home.onlineKeys()).authority, "hex")
  const { publicKey } = signingKeyFromSeed(seed)
  const der = authoritiesOf(catalog).find((candidate) => new X509Certificate(candidate).publicKey.equals(publicKey))
  if (der === undefined)
    throw new GridError(
      "KEY_MISSING",
      `${home.directory} holds the key of an authority that the site no longer names; join again as a server`,
    )
  return { seed, der }
}
