/** What messages of the extension protocol are made of, between values and bytes: whatever a peer sends is a value of the right form or refused. */
import type { Address } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import type { Bencoded } from "#core/strict-bencode.ts"

/** Of one IPv4 address with its port (BEP 11). */
export const ADDRESS_BYTES = 6
const IPV4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/

/** IPv4 alone has a compact form here; other addresses are left out. */
export function compact(address: Address): Buffer {
  const parts = IPV4.exec(address.host)
  if (parts === null) return Buffer.alloc(0)
  const bytes = Buffer.from([...parts.slice(1).map(Number), 0, 0])
  bytes.writeUInt16BE(address.port, 4)
  return bytes
}

export function dictionary(value: Bencoded): ReadonlyMap<string, Bencoded> {
  if (!(value instanceof Map)) refuse("expected a dictionary")
  return value as ReadonlyMap<string, Bencoded>
}

export function wholeNumber(value: Bencoded | undefined, lowest: number, highest: number): number | null {
  return typeof value === "number" && value >= lowest && value <= highest ? value : null
}

export function refuse(detail: string): never {
  throw new GridError("PEER_MISBEHAVED", detail)
}

/** Null where there is no port. */
export function addressAt(bytes: Buffer, at: number): Address | null {
  const port = bytes.readUInt16BE(at + 4)
  return port === 0 ? null : { host: bytes.subarray(at, at + 4).join("."), port }
}
