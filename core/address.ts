/** Where a member listens. IPv4 or a host name; the DHT (BEP 5) knows IPv4 alone. */
import { GridError } from "./errors.ts"

export type Address = { readonly host: string; readonly port: number }

const HOST = /^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?$/

/**
 * Reads `HOST:PORT`. Port 0 ("any free one") is taken only with `anyPort`, for listening.
 * @throws {GridError} ADDRESS_INVALID
 */
export function address(text: string, options: { readonly anyPort?: boolean } = {}): Address {
  const colon = text.lastIndexOf(":")
  const host = text.slice(0, colon)
  const port = Number(text.slice(colon + 1))
  const lowest = options.anyPort === true ? 0 : 1
  if (colon < 1 || !HOST.test(host) || !/^\d{1,5}$/.test(text.slice(colon + 1)) || port < lowest || port > 65_535)
    throw new GridError("ADDRESS_INVALID", `${JSON.stringify(text.slice(0, 300))}; write it like 192.0.2.7:7401`)
  return { host, port }
}

export function formatAddress(at: Address): string {
  return `${at.host}:${at.port}`
}
