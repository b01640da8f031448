/** Passes connections on to an address, until it is cut: then those that there are end, and new ones too. */
import { once } from "node:events"
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net"
import type { Address } from "#core/address.ts"

export class TcpProxy implements AsyncDisposable {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #isCut = false

  private constructor(to: Address) {
    this.#server = createServer((incoming) => {
      const outgoing = this.#isCut ? null : connect(to)
      for (const socket of [incoming, outgoing]) {
        if (socket === null) continue
        this.#sockets.add(socket)
        socket.on("error", () => undefined)
        socket.on("close", () => {
          this.#sockets.delete(socket)
          incoming.destroy()
          outgoing?.destroy()
        })
      }
      if (outgoing === null) incoming.destroy()
      else incoming.pipe(outgoing).pipe(incoming)
    })
  }

  static async open(to: Address): Promise<TcpProxy> {
    const proxy = new TcpProxy(to)
    proxy.#server.listen(0, "127.0.0.1")
    await once(proxy.#server, "listening")
    return proxy
  }

  get address(): Address {
    return { host: "127.0.0.1", port: (this.#server.address() as AddressInfo).port }
  }

  cut(): void {
    this.#isCut = true
    for (const socket of this.#sockets) socket.destroy()
  }

  mend(): void {
    this.#isCut = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, "close")
  }
}
