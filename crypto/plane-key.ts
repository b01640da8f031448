/**
 * What a server must hold to speak to the servers of a site on the control plane, beside being in their roster: a key that follows from the site's network
 * key. It is another key so that sites can give it to each other and keep their network keys.
 */
import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto"
import { KEY_BYTES } from "./identity.ts"

/** Bytes by which one end shows the other that it holds a key. */
export const PLANE_PROOF_BYTES = 16

/** HKDF-SHA256 (RFC 5869). */
export function planeKeyOf(networkKey: Uint8Array): Buffer {
  return derive(networkKey, "", "imagegrid plane key 1")
}

/** HMAC-SHA256, cut to 16 bytes, over what was said so far: good for this one handshake, and names the key to nobody who does not hold it. */
export function planeProof(planeKey: Uint8Array, by: "dialling" | "listening", said: Uint8Array): Buffer {
  return createHmac("sha256", planeKey).update(`imagegrid plane ${by} 1\0`).update(said).digest().subarray(0, PLANE_PROOF_BYTES)
}

export function isPlaneProof(given: Uint8Array, planeKey: Uint8Array, by: "dialling" | "listening", said: Uint8Array): boolean {
  return given.length === PLANE_PROOF_BYTES && timingSafeEqual(given, planeProof(planeKey, by, said))
}

/** What both ends mix into their Noise handshake: of the key, and of all that was said before. */
export function planePrologue(planeKey: Uint8Array, said: Uint8Array): Buffer {
  return derive(planeKey, said, "imagegrid plane prologue 1")
}

function derive(key: Uint8Array, salt: Uint8Array | string, label: string): Buffer {
  if (key.length !== KEY_BYTES) throw new RangeError(`a network key or plane key is ${KEY_BYTES} bytes, not ${key.length}`)
  return Buffer.from(hkdfSync("sha256", key, salt, label, KEY_BYTES))
}
