/**
 * One request to a server's API, inside TLS 1.3 with both certificates checked. Answers are bounded in size and time, and
 * whatever goes wrong comes out as a GridError that says which server and what to do.
 */
import { request as httpsRequest } from "node:https"
import type { TLSSocket } from "node:tls"
import { ALL_MEMBERS, ALL_SERVERS, type AdmittedAs, type Admission } from "#crypto/admission.ts"
import { formatAddress, type Address } from "#core/address.ts"
import { GridError, refusals, systemErrorCode, type RefusalCode } from "#core/errors.ts"
import { parseJson, type Reader } from "#core/schema.ts"
import { API_BODY_BYTES_MAX, readRefusal } from "#core/wire.ts"

export type ApiRequest = {
  readonly method?: "GET" | "POST"
  readonly path: string
  readonly body?: unknown
  readonly maxBytes?: number
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  /** Who must be at the other end; servers and mirrors if not given. */
  readonly answeredBy?: readonly AdmittedAs[]
  /** Of which site; the own one if not given. */
  readonly site?: string
}

const DEFAULT_TIMEOUT_MS = 10_000

type Answerer = { readonly allowed: readonly AdmittedAs[]; readonly site: string }
type Live = Answerer & { readonly certificateDer: Buffer; readonly cut: (error: GridError) => void }

export class ApiClient {
  readonly #admission: Admission
  /** Requests under way, and who answers them. */
  readonly #live = new Set<Live>()

  constructor(admission: Admission) {
    this.#admission = admission
    admission.onChange(() => this.#recheck())
  }

  /** @throws {GridError} SERVERS_UNREACHABLE, CERTIFICATE_*, or the code that the server refused with */
  async json<Shape>(server: Address, request: ApiRequest, read: Reader<Shape>): Promise<Shape> {
    const maxBytes = request.maxBytes ?? API_BODY_BYTES_MAX
    return read(parseJson(await this.bytes(server, request), maxBytes, "REQUEST_INVALID", `answer of ${formatAddress(server)}`))
  }

  /** The body of a successful answer. */
  async bytes(server: Address, request: ApiRequest): Promise<Buffer> {
    const body = await this.#ask(server, request, {})
    if (body === null) throw new GridError("API_REFUSED", `${formatAddress(server)} answers as if it had been asked before`)
    return body
  }

  /** The same; null where it is what has this entity tag (RFC 9110, If-None-Match). */
  bytesUnlessSame(server: Address, request: ApiRequest, entityTag: string): Promise<Buffer | null> {
    return this.#ask(server, request, { "if-none-match": entityTag })
  }

  #ask(server: Address, request: ApiRequest, headers: Readonly<Record<string, string>>): Promise<Buffer | null> {
    const maxBytes = request.maxBytes ?? API_BODY_BYTES_MAX
    const timeoutMs = request.timeoutMs ?? DEFAULT_TIMEOUT_MS
    const timeout = AbortSignal.timeout(timeoutMs)
    const signal = request.signal === undefined ? timeout : AbortSignal.any([timeout, request.signal])
    const body = request.body === undefined ? null : Buffer.from(JSON.stringify(request.body))
    const { promise, resolve, reject } = Promise.withResolvers<Buffer | null>()
    const outgoing = httpsRequest({
      // Of which site the other end is, is looked at once it has shown its certificate.
      ...this.#admission.tlsClientOptions(ALL_MEMBERS, "all sites"),
      host: server.host,
      port: server.port,
      path: request.path,
      method: request.method ?? "GET",
      headers: { ...headers, ...(body !== null && { "content-type": "application/json", "content-length": body.length }) },
      agent: false,
      signal,
    })
    outgoing.on("socket", (socket) => {
      socket.once("secureConnect", () => {
        try {
          const answerer = { allowed: request.answeredBy ?? ALL_SERVERS, site: request.site ?? this.#admission.site }
          const live = this.#admitted(socket as TLSSocket, answerer, (error) => outgoing.destroy(error))
          this.#live.add(live)
          outgoing.once("close", () => this.#live.delete(live))
          outgoing.end(body ?? undefined)
        } catch (error) {
          outgoing.destroy(error as Error)
        }
      })
    })
    outgoing.on("response", (response) => {
      const chunks: Buffer[] = []
      let receivedBytes = 0
      response.on("data", (chunk: Buffer) => {
        receivedBytes += chunk.length
        if (receivedBytes <= maxBytes) chunks.push(chunk)
        else
          outgoing.destroy(new GridError("REQUEST_INVALID", `${formatAddress(server)} sends more than ${maxBytes} bytes; passing over it`))
      })
      response.on("error", (error) => reject(describeFailure(server, error, timeout.aborted)))
      response.on("end", () => {
        const bytes = Buffer.concat(chunks)
        if (response.statusCode === 200) resolve(bytes)
        else if (response.statusCode === 304) resolve(null)
        else reject(refusalFrom(server, response.statusCode ?? 0, bytes))
      })
    })
    outgoing.on("error", (error) => reject(describeFailure(server, error, timeout.aborted)))
    return promise
  }

  /** @throws {GridError} CERTIFICATE_* */
  #admitted(socket: TLSSocket, answerer: Answerer, cut: Live["cut"]): Live {
    // Node gives the certificate of an answering end out once.
    const certificateDer = socket.getPeerX509Certificate()?.raw ?? Buffer.alloc(0)
    this.#requireAdmitted(certificateDer, answerer)
    return { certificateDer, ...answerer, cut }
  }

  #requireAdmitted(certificateDer: Buffer, { allowed, site }: Answerer): void {
    const found = this.#admission.admit(certificateDer, allowed, "all sites").site
    if (found !== site) throw new GridError("CERTIFICATE_INVALID", `the server that answers is of site ${found}, not ${site}`)
  }

  /** A server that was revoked while it answers is not listened to any longer. */
  #recheck(): void {
    for (const live of this.#live)
      try {
        this.#requireAdmitted(live.certificateDer, live)
      } catch (error) {
        if (!(error instanceof GridError)) throw error
        live.cut(error)
      }
  }
}

function refusalFrom(server: Address, statusCode: number, bytes: Buffer): GridError {
  try {
    const { code, detail } = readRefusal(parseJson(bytes, API_BODY_BYTES_MAX, "REQUEST_INVALID", "refusal"))
    if (Object.hasOwn(refusals, code)) return new GridError(code as RefusalCode, `${detail} (said by ${formatAddress(server)})`)
    return new GridError("API_REFUSED", `${formatAddress(server)} says ${code}: ${detail}`)
  } catch {
    return new GridError("API_REFUSED", `${formatAddress(server)} answers with status ${statusCode}`)
  }
}

/** OpenSSL's words for what a certificate check found, on our side or told by the other end as a TLS alert. */
const certificateTroubles: readonly (readonly [pattern: RegExp, code: RefusalCode, detail: string])[] = [
  [
    /CERT_HAS_EXPIRED|certificate_expired|certificate expired/i,
    "CERTIFICATE_EXPIRED",
    "compare this machine's clock with the server's, and join again if they agree",
  ],
  [/CERT_NOT_YET_VALID/i, "CERTIFICATE_NOT_YET_VALID", "compare this machine's clock with the server's"],
  [
    /bad_certificate|bad certificate|certificate_unknown|certificate unknown|unknown_ca|unknown ca|SELF_SIGNED|UNABLE_TO/i,
    "CERTIFICATE_INVALID",
    "one end does not admit the other: another site, a wrong clock, a revoked member, or one who was away until after the site had dropped " +
      "its old authority; in the last case join again with a new invite",
  ],
]

function describeFailure(server: Address, error: Error, timedOut: boolean): GridError {
  if (error instanceof GridError) return error
  const code = systemErrorCode(error)
  const words = `${code ?? ""} ${error.message}`
  for (const [pattern, refusal, detail] of certificateTroubles)
    if (pattern.test(words)) return new GridError(refusal, `at ${formatAddress(server)}: ${detail}`, { cause: error })
  const why = timedOut ? "no answer in time" : (code ?? error.message)
  return new GridError("SERVERS_UNREACHABLE", `${formatAddress(server)}: ${why}`, { cause: error })
}
