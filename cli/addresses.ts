/** Where a member listens when it was not told: this machine's first outside IPv4 address, and the usual ports. */
import { networkInterfaces } from "node:os"
import { address, type Address } from "#core/address.ts"

export const defaultPorts = { api: 7400, swarm: 7401, dht: 7402 } as const

/** A server's address is told to others, so it must name one interface that they can reach. */
export function listenAddress(given: string | undefined, defaultPort: number): Address {
  return given === undefined ? { host: outsideHost(), port: defaultPort } : address(given, { anyPort: true })
}

/** The control plane's, beside the API: three ports on, where nothing else was said. */
export function gridAddress(given: string | undefined, api: Address): Address {
  if (given !== undefined) return address(given, { anyPort: true })
  return { host: api.host, port: api.port === 0 ? 0 : api.port + 3 }
}

/** A client dials out and is told of by those it dialled: any interface and any free port will do. */
export function clientAddress(given: string | undefined): Address {
  return given === undefined ? { host: "0.0.0.0", port: 0 } : address(given, { anyPort: true })
}

function outsideHost(): string {
  for (const addresses of Object.values(networkInterfaces()))
    for (const candidate of addresses ?? []) if (candidate.family === "IPv4" && !candidate.internal) return candidate.address
  return "127.0.0.1"
}
