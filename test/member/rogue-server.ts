/** A server of the site, rightly joined, that answers the API as the test says: what a rogue administrator, or whoever took a server over, can run. */
import { once } from "node:events"
import type { IncomingMessage, ServerResponse } from "node:http"
import { createServer } from "node:https"
import type { AddressInfo } from "node:net"
import { Admission } from "../../crypto/admission.ts"
import { formatAddress, type Address } from "../../core/address.ts"
import { systemClock } from "../../core/clock.ts"
import type { ServerRecord } from "../../core/wire.ts"
import { authoritiesOf } from "../../member/catalog-keeper.ts"
import type { Home } from "../../member/home.ts"
import { makeServerRecord } from "../../member/server-directory.ts"
import { storedCatalog } from "../../member/stored-catalog.ts"

export type Answer = (request: IncomingMessage, response: ServerResponse) => void

export class RogueServer implements AsyncDisposable {
  readonly address: Address
  /** What it says of itself to other members, rightly signed and newer than all others' words. */
  readonly record: ServerRecord
  readonly #server: ReturnType<typeof createServer>

  private constructor(address: Address, record: ServerRecord, server: ReturnType<typeof createServer>) {
    this.address = address
    this.record = record
    this.#server = server
  }

  /** As this member, whatever its role. */
  static async listen(home: Home, answer: Answer): Promise<RogueServer> {
    const { catalog } = await storedCatalog(home, systemClock.nowMs())
    const { der } = await home.certificate()
    const admission = new Admission({
      clock: systemClock,
      site: home.site,
      authorities: authoritiesOf(catalog),
      revoked: [],
      certificateDer: der,
      signing: home.identity.signing,
    })
    const server = createServer(admission.tlsServerOptions(), answer)
    server.on("tlsClientError", () => {})
    server.listen(0, "127.0.0.1")
    await once(server, "listening")
    const address = { host: "127.0.0.1", port: (server.address() as AddressInfo).port }
    const at = formatAddress(address)
    const record = makeServerRecord(
      {
        memberId: home.memberId,
        seq: systemClock.nowMs() + 1_000_000,
        api: at,
        swarm: at,
        dht: at,
        grid: null,
        certificate: der.toString("base64"),
      },
      home.identity.signing,
    )
    return new RogueServer(address, record, server)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, "close")
  }
}

/** Sends junk for as long as it is taken. Counts what it could hand to the system. */
export function endless(counter: { bytes: number }): Answer {
  const junk = Buffer.alloc(64 * 1024, "a")
  return (_request, response) => {
    response.on("error", () => {})
    const more = () => {
      while (!response.destroyed) {
        counter.bytes += junk.length
        if (!response.write(junk)) return
      }
    }
    response.on("drain", more)
    more()
  }
}

/** One byte every 20 ms. */
export const dripping: Answer = (_request, response) => {
  const drip = setInterval(() => response.write(" "), 20)
  response.on("error", () => {}).on("close", () => clearInterval(drip))
}

export const silent: Answer = () => {}

export const saying =
  (bytes: Buffer | string): Answer =>
  (_request, response) =>
    void response.end(bytes)
