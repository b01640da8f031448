/**
 * What a member signs with its new key when it replaces its own: that it holds the new key, and in whose place (core/wire.ts RenewRequest). That
 * the holder of the old key wants it shows in the connection's certificate.
 */
export function rekeyProof(oldMemberId: string, signingKeyHex: string, sealingKeyHex: string): Buffer {
  if (!/^[0-9a-f]{32}$/.test(oldMemberId) || !/^[0-9a-f]{64}$/.test(signingKeyHex) || !/^[0-9a-f]{64}$/.test(sealingKeyHex))
    throw new TypeError("a member id is 32 hex digits, a key 64")
  return Buffer.concat([Buffer.from("imagegrid rekey\0"), Buffer.from(oldMemberId + signingKeyHex + sealingKeyHex, "hex")])
}
