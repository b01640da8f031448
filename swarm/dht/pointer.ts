/**
 * Signed pointers: BEP 44 mutable items whose value is BEP 46's `{ ih: 20 bytes }`. A PointerItem made or read here has a
 * signature that holds.
 */
import { createHash, createPublicKey, verify } from "node:crypto"
import { GridError } from "#core/errors.ts"
import { infohash, type Infohash } from "#core/identifiers.ts"

export type PointerItem = {
  /** Ed25519, raw, 32 bytes. */
  readonly publicKey: Buffer
  readonly salt: Buffer
  readonly seq: number
  /** Ed25519, 64 bytes, over `signedBytes`. */
  readonly signature: Buffer
  readonly infohash: Infohash
}

/** The form in which a pointer is saved: plain JSON, bytes as hex. */
export type SavedPointer = {
  readonly publicKey: string
  readonly salt: string
  readonly seq: number
  readonly signature: string
  readonly infohash: Infohash
}

/** Who signs: a key pair whose secret half stays with the caller. */
export type PointerSigner = { readonly publicKeyHex: string; sign(message: Buffer): Buffer }

/** Largest salt (BEP 44). Off-spec: BEP 44 makes salt optional; items without one are refused. */
export const SALT_MAX_BYTES = 64

/** SubjectPublicKeyInfo of Ed25519 up to the 32 raw bytes (RFC 8410, section 4). */
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex")

/** Where in the DHT an item is stored (BEP 44): SHA-1 of key and salt. */
export function pointerTarget(publicKey: Buffer, salt: Buffer): Buffer {
  return createHash("sha1").update(publicKey).update(salt).digest()
}

/** What a pointer's signature covers (BEP 44): salt, seq and v, bencoded, without the dictionary's frame. */
export function signedBytes(item: Pick<PointerItem, "salt" | "seq" | "infohash">): Buffer {
  return Buffer.concat([
    Buffer.from(`4:salt${item.salt.length}:`),
    item.salt,
    Buffer.from(`3:seqi${item.seq}e1:vd2:ih20:`),
    Buffer.from(item.infohash, "hex"),
    Buffer.from("e"),
  ])
}

/** Ed25519 with raw keys, as bittorrent-dht calls it; anything out of form is false and nothing throws. */
export function verifyRaw(signature: unknown, message: Uint8Array, publicKey: unknown): boolean {
  if (!(signature instanceof Uint8Array) || signature.length !== 64) return false
  if (!(publicKey instanceof Uint8Array) || publicKey.length !== 32) return false
  try {
    const key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: "der", type: "spki" })
    return verify(null, message, key, signature)
  } catch {
    return false
  }
}

export function pointerHolds(item: PointerItem): boolean {
  return (
    Number.isSafeInteger(item.seq) &&
    item.seq >= 0 &&
    item.salt.length >= 1 &&
    item.salt.length <= SALT_MAX_BYTES &&
    verifyRaw(item.signature, signedBytes(item), item.publicKey)
  )
}

/**
 * Signs a pointer.
 * @throws {RangeError} for a salt, seq or key out of form
 * @throws {GridError} KEY_INVALID when the signer's signature does not hold under its public key
 */
export function signPointer(parts: { signing: PointerSigner; salt: string; seq: number; infohash: Infohash }): PointerItem {
  const salt = saltBytes(parts.salt)
  if (!Number.isSafeInteger(parts.seq) || parts.seq < 0) throw new RangeError(`a pointer's seq is a whole number from 0, not ${parts.seq}`)
  const publicKey = publicKeyBytes(parts.signing.publicKeyHex)
  const unsigned = { publicKey, salt, seq: parts.seq, infohash: parts.infohash }
  const item = { ...unsigned, signature: Buffer.from(parts.signing.sign(signedBytes(unsigned))) }
  if (!pointerHolds(item)) throw new GridError("KEY_INVALID", "the pointer's signature does not hold under its own public key")
  return item
}

/** @throws {RangeError} */
export function saltBytes(salt: string): Buffer {
  const bytes = Buffer.from(salt)
  if (bytes.length < 1 || bytes.length > SALT_MAX_BYTES)
    throw new RangeError(`a salt has 1 to ${SALT_MAX_BYTES} bytes, not ${bytes.length}`)
  return bytes
}

/** @throws {RangeError} */
export function publicKeyBytes(hex: string): Buffer {
  if (!/^[0-9a-f]{64}$/.test(hex)) throw new RangeError("a pointer's public key is 64 lower-case hex digits")
  return Buffer.from(hex, "hex")
}

/** An item from bittorrent-dht's answer; null when it is none of ours: another key or salt, a value that is no pointer, a false signature. */
export function pointerOf(answer: unknown, publicKey: Buffer, salt: Buffer): PointerItem | null {
  if (typeof answer !== "object" || answer === null) return null
  const { v, sig, seq, k } = answer as { v?: unknown; sig?: unknown; seq?: unknown; k?: unknown }
  if (!(k instanceof Uint8Array) || !publicKey.equals(k) || !(sig instanceof Uint8Array) || typeof seq !== "number") return null
  const ih = typeof v === "object" && v !== null && "ih" in v ? v.ih : null
  if (!(ih instanceof Uint8Array) || ih.length !== 20) return null
  const item = { publicKey, salt, seq, signature: Buffer.from(sig), infohash: infohash(Buffer.from(ih).toString("hex")) }
  return pointerHolds(item) ? item : null
}

export function savePointer(item: PointerItem): SavedPointer {
  return {
    publicKey: item.publicKey.toString("hex"),
    salt: item.salt.toString("hex"),
    seq: item.seq,
    signature: item.signature.toString("hex"),
    infohash: item.infohash,
  }
}

/** Null when the signature does not hold. */
export function restorePointer(saved: SavedPointer): PointerItem | null {
  const item = {
    publicKey: Buffer.from(saved.publicKey, "hex"),
    salt: Buffer.from(saved.salt, "hex"),
    seq: saved.seq,
    signature: Buffer.from(saved.signature, "hex"),
    infohash: saved.infohash,
  }
  return pointerHolds(item) ? item : null
}
