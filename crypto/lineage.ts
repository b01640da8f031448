/**
 * The identities of the versions that an image version was made from, for whoever holds its own: who may open a version may open what it is made of.
 * A NaCl secretbox under a key that follows from the version's identity, and that opens for this version alone.
 */
import { hkdfSync } from "node:crypto"
import nacl from "tweetnacl"
import { Type } from "typebox"
import type { ImageRef } from "#core/identifiers.ts"
import { GridError } from "#core/errors.ts"
import { parseJson, reader } from "#core/schema.ts"
import type { RandomBytes } from "./sealed-box.ts"

const PLAIN_BYTES_MAX = 12_000
const readIdentities = reader(
  Type.Array(
    Type.Object(
      { version: Type.String(), identity: Type.String({ pattern: "^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$" }) },
      { additionalProperties: false },
    ),
    { minItems: 1 },
  ),
  "SEALED_INVALID",
  "lineage",
)

/** Of an image version. */
export type VersionIdentity = { readonly version: string; readonly identity: string }
type Version = { readonly site: string; readonly ref: ImageRef; readonly identity: string }

/** Base64 of the nonce and the box. */
export function sealLineage(own: Version, identities: readonly VersionIdentity[], random: RandomBytes): string {
  const nonce = Uint8Array.from(random(nacl.secretbox.nonceLength))
  const box = nacl.secretbox(Buffer.from(JSON.stringify(readIdentities(identities))), nonce, keyOf(own))
  return Buffer.concat([nonce, box]).toString("base64")
}

/** @throws {GridError} SEALED_INVALID */
export function openLineage(own: Version, sealed: string): VersionIdentity[] {
  const bytes = Buffer.from(sealed, "base64")
  const nonce = Uint8Array.from(bytes.subarray(0, nacl.secretbox.nonceLength))
  const box = Uint8Array.from(bytes.subarray(nacl.secretbox.nonceLength))
  const plain = nonce.length === nacl.secretbox.nonceLength ? nacl.secretbox.open(box, nonce, keyOf(own)) : null
  if (plain === null) throw new GridError("SEALED_INVALID", "the lineage of an image is damaged, or is another version's")
  return readIdentities(parseJson(plain, PLAIN_BYTES_MAX, "SEALED_INVALID", "lineage"))
}

function keyOf({ site, ref, identity }: Version): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", identity, `${site}/${ref.name}:${ref.version}`, "imagegrid lineage 1", nacl.secretbox.keyLength))
}
