/** One TLS handshake between two admissions over loopback. */
import { once } from "node:events"
import type { AddressInfo } from "node:net"
import { connect, createServer, type ConnectionOptions, type TLSSocket } from "node:tls"
import type { Admission, AdmittedAs, AdmittedFrom } from "#crypto/admission.ts"
import type { Certificate } from "#crypto/certificate.ts"

export type Outcome = {
  /** What the answering end admitted, or why it did not; null when the handshake did not finish there. */
  readonly answered: Certificate | Error | null
  /** What the dialling end read before the connection ended. */
  readonly read: string
  readonly dialError: Error | null
}

export type HandshakeOptions = {
  readonly answeringAdmits?: readonly AdmittedAs[]
  readonly admitsFrom?: AdmittedFrom
  readonly dialling?: ConnectionOptions
  /** Sees the dialling socket before it has connected. */
  readonly observe?: (socket: TLSSocket) => void
}

/** The answering end says "welcome" to whom it admits. */
export async function handshake(answering: Admission, dialling: ConnectionOptions, options: HandshakeOptions = {}): Promise<Outcome> {
  let answered: Certificate | Error | null = null
  const server = createServer(answering.tlsServerOptions(), (socket) => {
    socket.on("error", () => {})
    try {
      answered = answering.admitSocket(socket, options.answeringAdmits ?? ["server", "client"], options.admitsFrom)
      socket.end("welcome")
    } catch (error) {
      answered = error instanceof Error ? error : new Error(String(error))
      socket.destroy()
    }
  })
  server.on("tlsClientError", () => {})
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  const socket = connect({ host: "127.0.0.1", port, ...dialling })
  options.observe?.(socket)
  let dialError: Error | null = null
  let read = ""
  socket.on("error", (error) => (dialError = error))
  socket.on("data", (chunk) => (read += String(chunk)))
  await once(socket, "close").catch(() => {})
  server.close()
  await once(server, "close")
  return { answered, read, dialError }
}
