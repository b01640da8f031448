/**
 * Plain HTTP for the machine's own operators: `/healthz`, `/readyz` and `/metrics`, for systemd, load balancers and Prometheus, which have no certificate of the
 * site. On loopback alone, and to nobody who came by another name than that. Everything else that a server says it says inside mutual TLS.
 */
import { BlockList } from "node:net"
import Fastify from "fastify"
import { formatAddress, type Address } from "#core/address.ts"
import { GridError, systemErrorCode } from "#core/errors.ts"
import type { Health } from "#core/wire.ts"
import { METRICS_TYPE } from "./metrics.ts"

const CONNECTIONS_MAX = 64
const TIMEOUT_MS = 10_000
const BODY_BYTES_MAX = 1_024

export type Watched = {
  readonly living: () => Promise<Health>
  readonly ready: () => Promise<Health>
  /** In the text format that Prometheus reads; null while the server starts. */
  readonly metrics: () => string | null
}

const loopback = new BlockList()
loopback.addSubnet("127.0.0.0", 8)
loopback.addAddress("::1", "ipv6")

/** Whether this names the machine itself: an address of it, or `localhost`. */
function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[(.*)\]$/, "$1")
  if (bare === "localhost") return true
  try {
    return loopback.check(bare, bare.includes(":") ? "ipv6" : "ipv4")
  } catch {
    return false
  }
}

/** @throws {GridError} ADDRESS_INVALID when it is not on loopback, ADDRESS_IN_USE */
export async function listenForOperators(
  { living, ready, metrics }: Watched,
  listen: Address,
): Promise<{ readonly address: Address; close(): Promise<void> }> {
  if (!isLoopback(listen.host))
    throw new GridError(
      "ADDRESS_INVALID",
      `--operators ${formatAddress(listen)} is not on loopback, and this port asks nobody who they are; use 127.0.0.1, and the API's /metrics from elsewhere`,
    )
  const http = Fastify({
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: TIMEOUT_MS,
    connectionTimeout: TIMEOUT_MS,
    forceCloseConnections: true,
  })
  http.server.maxConnections = CONNECTIONS_MAX
  // A page in a browser on this machine may have had its own name answered with 127.0.0.1.
  http.addHook("onRequest", async (request, reply) => {
    if (!isLoopback(request.hostname)) await reply.status(421).send({ code: "API_REFUSED", detail: "ask for 127.0.0.1 or localhost" })
  })
  for (const [path, of] of [
    ["/healthz", living],
    ["/readyz", ready],
  ] as const)
    http.get(path, async (_request, reply) => {
      const health = await of()
      return reply
        .status(health.ok ? 200 : 503)
        .header("cache-control", "no-store")
        .send(health)
    })
  http.get("/metrics", async (_request, reply) => {
    const text = metrics()
    return text === null ? reply.status(503).send("") : reply.type(METRICS_TYPE).send(text)
  })
  try {
    await http.listen({ host: listen.host, port: listen.port })
  } catch (error) {
    await http.close()
    const code = systemErrorCode(error)
    if (code !== "EADDRINUSE" && code !== "EADDRNOTAVAIL" && code !== "EACCES") throw error
    throw new GridError("ADDRESS_IN_USE", `${formatAddress(listen)} (${code}); name another with --operators`, { cause: error })
  }
  const bound = http.server.address()
  if (bound === null || typeof bound === "string") throw new TypeError("the operators' listener has no TCP port")
  return { address: { host: listen.host, port: bound.port }, close: () => http.close() }
}
