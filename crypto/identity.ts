/**
 * A member's keys. Everything a member is follows from one 32-byte master seed, so that one secret is kept and the two key
 * pairs can never be mixed between members.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  hkdfSync,
  sign as signBytes,
  verify as verifyBytes,
  type KeyObject,
} from "node:crypto"
import nacl from "tweetnacl"
import { memberId, type MemberId } from "#core/identifiers.ts"

/** Bytes of a seed, and of every raw Ed25519 and X25519 key (RFC 8032, RFC 7748). */
export const KEY_BYTES = 32
/** Bytes of an Ed25519 signature (RFC 8032 5.1.6). */
const SIGNATURE_BYTES = 64

/** What stands before the raw key in DER (RFC 8410 10.3 and 10.1): the rest is the key itself. */
const PKCS8_ED25519_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex")
const SPKI_ED25519_PREFIX = Buffer.from("302a300506032b6570032100", "hex")

/** Ed25519. */
export type SigningKey = { readonly publicKeyHex: string; readonly publicKey: KeyObject; readonly privateKey: KeyObject }
/** X25519, as tweetnacl's box takes it. */
export type SealingKey = { readonly publicKeyHex: string; readonly secretKey: Uint8Array }
export type MemberIdentity = { readonly memberId: MemberId; readonly signing: SigningKey; readonly sealing: SealingKey }

/** Both key pairs of a member: HKDF-SHA256 (RFC 5869) of the master seed, one label for each. */
export function memberIdentity(seed: Uint8Array): MemberIdentity {
  const signing = signingKeyFromSeed(derive(seed, "imagegrid member signing key"))
  return {
    memberId: memberIdOf(signing.publicKeyHex),
    signing,
    sealing: sealingKeyFromSecret(derive(seed, "imagegrid member sealing key")),
  }
}

export function signingKeyFromSeed(seed: Uint8Array): SigningKey {
  requireKeyBytes(seed, "an Ed25519 seed")
  const privateKey = createPrivateKey({ key: Buffer.concat([PKCS8_ED25519_PREFIX, seed]), format: "der", type: "pkcs8" })
  const publicKey = createPublicKey(privateKey)
  return { publicKeyHex: rawPublicKeyHex(publicKey), publicKey, privateKey }
}

export function sealingKeyFromSecret(secret: Uint8Array): SealingKey {
  requireKeyBytes(secret, "an X25519 secret key")
  const { publicKey, secretKey } = nacl.box.keyPair.fromSecretKey(Uint8Array.from(secret))
  return { publicKeyHex: Buffer.from(publicKey).toString("hex"), secretKey }
}

/** The seed that the key was made from, for a library that takes nothing else. */
export function seedOf(key: Pick<SigningKey, "privateKey">): Buffer {
  return key.privateKey.export({ format: "der", type: "pkcs8" }).subarray(PKCS8_ED25519_PREFIX.length)
}

/** The first 16 bytes of the SHA-256 of the raw public key. */
export function memberIdOf(signingPublicKeyHex: string): MemberId {
  const digest = createHash("sha256").update(rawKey(signingPublicKeyHex)).digest("hex")
  return memberId(digest.slice(0, 32))
}

export function sign(key: Pick<SigningKey, "privateKey">, message: Uint8Array): Buffer {
  return signBytes(null, message, key.privateKey)
}

/** Whether `signature` is this key's over `message`. Never throws: keys and signatures of any length may come from outside. */
export function verify(publicKeyHex: string, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== SIGNATURE_BYTES || !/^[0-9a-f]{64}$/.test(publicKeyHex)) return false
  try {
    return verifyBytes(null, message, publicKeyFromRaw(publicKeyHex), signature)
  } catch {
    return false
  }
}

/** SubjectPublicKeyInfo of a raw Ed25519 key, as certificates hold it. */
export function publicKeyDer(publicKeyHex: string): Buffer {
  return Buffer.concat([SPKI_ED25519_PREFIX, rawKey(publicKeyHex)])
}

/** The raw key inside an Ed25519 KeyObject, as hex. */
export function rawPublicKeyHex(publicKey: KeyObject): string {
  return publicKey.export({ format: "der", type: "spki" }).subarray(SPKI_ED25519_PREFIX.length).toString("hex")
}

function publicKeyFromRaw(publicKeyHex: string): KeyObject {
  return createPublicKey({ key: publicKeyDer(publicKeyHex), format: "der", type: "spki" })
}

function rawKey(hex: string): Buffer {
  if (!/^[0-9a-f]{64}$/.test(hex)) throw new TypeError("a public key is 64 lower-case hex digits")
  return Buffer.from(hex, "hex")
}

function derive(seed: Uint8Array, label: string): Buffer {
  requireKeyBytes(seed, "a master seed")
  return Buffer.from(hkdfSync("sha256", seed, "", label, KEY_BYTES))
}

function requireKeyBytes(bytes: Uint8Array, what: string): void {
  if (bytes.length !== KEY_BYTES) throw new RangeError(`${what} is ${KEY_BYTES} bytes, not ${bytes.length}`)
}
