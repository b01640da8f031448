/**
 * An administrator's key as the bytes of a file: 64 hex digits of an Ed25519 seed, or those inside an age file that a passphrase opens
 * (age-encryption.org/v1, scrypt), so that `age -d` recovers a key without this program.
 */
import { Decrypter, Encrypter } from "age-encryption"
import { GridError } from "#core/errors.ts"
import { KEY_BYTES } from "./identity.ts"

/** Largest key file that is read. */
export const KEY_FILE_BYTES_MAX = 8 * 1024
const AGE_START = "age-encryption.org/v1\n"
/** log2 of scrypt's work, age's own default: about a second of one core, for us and for each guess of a thief. */
const SCRYPT_WORK = 18

export function encodeKey(seed: Uint8Array): Buffer {
  if (seed.length !== KEY_BYTES) throw new RangeError(`a seed is ${KEY_BYTES} bytes, not ${seed.length}`)
  return Buffer.from(`${Buffer.from(seed).toString("hex")}\n`)
}

/** The key sealed with a passphrase, `work` being log2 of scrypt's cost. */
export async function lockKey(seed: Uint8Array, passphrase: string, work = SCRYPT_WORK): Promise<Buffer> {
  const encrypter = new Encrypter()
  encrypter.setPassphrase(passphrase)
  encrypter.setScryptWorkFactor(work)
  return Buffer.from(await encrypter.encrypt(encodeKey(seed)))
}

export function isLocked(file: Uint8Array): boolean {
  return Buffer.from(file.subarray(0, AGE_START.length)).equals(Buffer.from(AGE_START))
}

/** @throws {GridError} KEY_INVALID; the message never quotes the file */
export function decodeKey(file: Uint8Array, what: string): Buffer {
  const text = Buffer.from(file).toString("latin1").trim()
  if (!/^[0-9a-f]{64}$/.test(text)) throw new GridError("KEY_INVALID", `${what} is not 64 hex digits; restore it from a backup`)
  return Buffer.from(text, "hex")
}

/** @throws {GridError} KEY_LOCKED when the passphrase is wrong; KEY_INVALID */
export async function unlockKey(file: Uint8Array, passphrase: string, what: string): Promise<Buffer> {
  const decrypter = new Decrypter()
  decrypter.addPassphrase(passphrase)
  let plain: Uint8Array
  try {
    plain = await decrypter.decrypt(file)
  } catch {
    // No cause: nothing of what was tried may reach a log.
    throw new GridError("KEY_LOCKED", `the passphrase does not open ${what}; try again`)
  }
  return decodeKey(plain, what)
}
