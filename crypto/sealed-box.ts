/**
 * A small secret that only the holder of one X25519 key can open: NaCl's box from a fresh key pair that is then forgotten.
 * What is sealed for one purpose never opens as another. The sender is not proven; signatures around it do that.
 */
import { createHash } from "node:crypto"
import nacl from "tweetnacl"
import { KEY_BYTES, type SealingKey } from "./identity.ts"

/** `length` unpredictable bytes, such as node:crypto's randomBytes. */
export type RandomBytes = (length: number) => Uint8Array

const PURPOSE_BYTES_MAX = 255

/** Sealed form: the fresh public key, then the box over the purpose's length (one byte), the purpose and `plain`. */
export function sealTo(publicKeyHex: string, purpose: string, plain: Uint8Array, random: RandomBytes): Buffer {
  if (!/^[0-9a-f]{64}$/.test(publicKeyHex)) throw new TypeError("a sealing key is 64 lower-case hex digits")
  const label = purposeLabel(purpose)
  const fresh = nacl.box.keyPair.fromSecretKey(Uint8Array.from(random(KEY_BYTES)))
  const box = nacl.box(Buffer.concat([label, plain]), nonceFor(fresh.publicKey), Buffer.from(publicKeyHex, "hex"), fresh.secretKey)
  return Buffer.concat([fresh.publicKey, box])
}

/** What was sealed to this key for this purpose; null when it is damaged, another's or for another purpose. */
export function openSealed(key: Pick<SealingKey, "secretKey">, purpose: string, sealed: Uint8Array): Buffer | null {
  const label = purposeLabel(purpose)
  if (sealed.length < KEY_BYTES + nacl.box.overheadLength + label.length) return null
  const freshPublicKey = Uint8Array.from(sealed.subarray(0, KEY_BYTES))
  const opened = nacl.box.open(Uint8Array.from(sealed.subarray(KEY_BYTES)), nonceFor(freshPublicKey), freshPublicKey, key.secretKey)
  if (opened === null || !label.equals(opened.subarray(0, label.length))) return null
  return Buffer.from(opened.subarray(label.length))
}

/** A fixed function of the fresh key is enough: that key, and so the box's key, serves one message only. */
function nonceFor(freshPublicKey: Uint8Array): Uint8Array {
  const digest = createHash("sha256").update("imagegrid sealed box\0").update(freshPublicKey).digest()
  return Uint8Array.from(digest.subarray(0, nacl.box.nonceLength))
}

function purposeLabel(purpose: string): Buffer {
  const label = Buffer.from(purpose, "utf8")
  if (label.length === 0 || label.length > PURPOSE_BYTES_MAX) throw new RangeError(`a purpose has 1 to ${PURPOSE_BYTES_MAX} bytes`)
  return Buffer.concat([Buffer.of(label.length), label])
}
