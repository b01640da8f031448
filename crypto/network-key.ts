/** The key that authenticates every packet of a site's DHT, and what the site's document says of it without telling it. */
import { createHash } from "node:crypto"
import { KEY_BYTES } from "./identity.ts"

/** SHA-256 over a label and the 32 unpredictable bytes of the key, hex: names the key and gives nothing of it away. */
export function networkKeyDigest(key: Uint8Array): string {
  if (key.length !== KEY_BYTES) throw new RangeError(`a network key is ${KEY_BYTES} bytes, not ${key.length}`)
  return createHash("sha256").update("imagegrid network key\0").update(key).digest("hex")
}
