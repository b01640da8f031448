/**
 * The servers' API over TLS 1.3 with both certificates checked: a stranger does not get as far as HTTP. Each route names the
 * roles that may call it, and the certificate is checked again at each request, so a revoked member is refused at once.
 */
import type { TLSSocket } from "node:tls"
import { Type, type Static } from "typebox"
import swagger from "@fastify/swagger"
import Fastify, { LogController, type FastifyInstance, type FastifyRequest } from "fastify"
import type { Logger } from "pino"
import { ALL_MEMBERS, ALL_SERVERS, type AdmittedAs, type AdmittedFrom } from "#crypto/admission.ts"
import { readCertificate, type Certificate, type InviteCertificate, type MemberCertificate } from "#crypto/certificate.ts"
import { memberIdOf } from "#crypto/identity.ts"
import { planeKeyOf } from "#crypto/plane-key.ts"
import { packCatalog } from "#trust/catalog-file.ts"
import { siteScope } from "#trust/files.ts"
import type { Address } from "#core/address.ts"
import { GridError, type exitCodes, refusals, systemErrorCode } from "#core/errors.ts"
import type { Infohash } from "#core/identifiers.ts"
import {
  API_BODY_BYTES_MAX,
  AuditHead,
  AuditHeads,
  BundleRequest,
  BundleTaken,
  ClaimAnswer,
  ClaimRequest,
  DeployProgress,
  Deployments,
  DeployReport,
  DrainRequest,
  GridStatus,
  Health,
  Hint,
  JoinRequest,
  MembershipAnswer,
  PieceRequest,
  PlaneKeys,
  ProgressAnswer,
  ProofAnswer,
  ProofRequest,
  Publication,
  Refusal,
  RenewRequest,
  routes,
  ServerList,
  ServerStatus,
} from "#core/wire.ts"
import type { Member } from "#member/member.ts"
import { networkKeysInForce } from "#member/network-keys.ts"
import { ActLimit } from "./act-limit.ts"
import { signAuditHead } from "./audit-heads.ts"
import type { AuditEvent } from "./audit-entry.ts"
import type { AuditLog } from "./audit-log.ts"
import { METRICS_TYPE } from "./metrics.ts"
import { saveDraining } from "./draining.ts"
import type { DeploymentLog } from "./deployments.ts"
import type { Issuer } from "./issuer.ts"
import type { Keeper } from "./keeper.ts"
import { pieceOf, proofOf } from "./proof.ts"

const CONNECTIONS_MAX = 2_000
const HANDSHAKE_TIMEOUT_MS = 10_000
const REQUEST_TIMEOUT_MS = 30_000
const PUBLICATION_BYTES_MAX = 16 * 1024 * 1024
/** A server that lacks a key asks its fellows for it four times a minute. */
const RECORDED_ACTS_PER_HOUR_MAX = 600
const PROOFS_PER_HOUR_MAX = 20_000
const CATALOG_TYPE = "application/x-tar"

type Caller = AdmittedAs

export type ApiParts = {
  readonly member: Member
  /** Null in a mirror, which issues nothing. */
  readonly issuer: Issuer | null
  readonly logger: Logger
  /** What is done here for others is written down before it is answered. */
  readonly audit: AuditLog
  /** What this server saw of a fellow's audit log. */
  readonly headsSeen: (memberId: string) => readonly AuditHead[]
  readonly status: () => ServerStatus
  readonly deployments: Pick<DeploymentLog, "hear" | "own" | "all">
  readonly living: () => Promise<Health>
  readonly ready: () => Promise<Health>
  /** In the text format that Prometheus reads. */
  readonly metrics: () => string
  /** Takes a change that people signed, with the layers of new images in the store. */
  readonly apply: (publication: Publication, from: string) => Promise<void>
  /** Null until it has begun. */
  readonly keeper: () => Pick<Keeper, "status" | "drain"> | null
  /** Bytes of a layer that should be whole here are bad. */
  readonly damaged: (infohash: Infohash) => void
  /** Takes a bundle that lies unpacked in this directory below the home's `importing/`. */
  readonly takeBundle: (directory: string) => Promise<BundleTaken>
  /** A server, of this site or another, says that it has a newer catalog of its site. */
  readonly hinted: (site: string, catalogSeq: number) => void
}

/** HTTP status of a refusal, by what its exit code says of it. */
const statusByExit: Readonly<Record<keyof typeof exitCodes, number>> = {
  internal: 500,
  usage: 400,
  data: 400,
  input: 404,
  unavailable: 503,
  output: 409,
  io: 507,
  retry: 503,
  permission: 403,
  configuration: 500,
  interrupted: 503,
}

/** Listens and answers until closed. @throws {GridError} ADDRESS_IN_USE */
export async function listenApi(parts: ApiParts, listen: Address): Promise<{ readonly address: Address; close(): Promise<void> }> {
  const { member } = parts
  const api = Fastify({
    https: { ...member.admission.tlsServerOptions(), handshakeTimeout: HANDSHAKE_TIMEOUT_MS },
    loggerInstance: parts.logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: API_BODY_BYTES_MAX,
    // A body is taken as it came or not at all; nothing is dropped, filled in or turned into another type.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false } },
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: true,
  })
  api.server.maxConnections = CONNECTIONS_MAX
  const open = new Set<TLSSocket>()
  api.server.on("secureConnection", (socket: TLSSocket) => {
    open.add(socket)
    socket.once("close", () => open.delete(socket))
  })
  const stopListening = member.admission.onChange(() => {
    if ("setSecureContext" in api.server) api.server.setSecureContext(member.admission.tlsServerOptions())
    for (const socket of open) if (!mayStay(member, socket)) socket.destroy()
  })
  api.setErrorHandler(async (error, _request, reply) => {
    const refusal = asRefusal(error)
    if (refusal === null) {
      parts.logger.error({ reason: error instanceof Error ? error.stack : "unknown" }, "request failed")
      return reply.status(500).send({ code: "INTERNAL", detail: "the server failed at this; its log says why" })
    }
    return reply.status(statusByExit[refusals[refusal.code].exit]).send({ code: refusal.code, detail: refusal.detail })
  })
  await api.register(swagger, {
    openapi: {
      info: { title: "imagegrid server API", version: "1", description: "Mutual TLS 1.3 with certificates of the site; see docs/api.md." },
    },
  })
  await api.register(async (scope) => addRoutes(scope, parts))
  try {
    await api.listen({ host: listen.host, port: listen.port })
  } catch (error) {
    stopListening()
    await api.close()
    if (systemErrorCode(error) !== "EADDRINUSE" && systemErrorCode(error) !== "EADDRNOTAVAIL") throw error
    throw new GridError(
      "ADDRESS_IN_USE",
      `${listen.host}:${listen.port} (${systemErrorCode(error)}); stop the program that has it or name another with --api`,
      {
        cause: error,
      },
    )
  }
  const bound = api.server.address()
  if (bound === null || typeof bound === "string") throw new TypeError("the API listens on no TCP port")
  return {
    address: { host: listen.host, port: bound.port },
    close: async () => {
      stopListening()
      await api.close()
    },
  }
}

/** Whether a connection that was admitted once is admitted still. */
function mayStay(member: Member, socket: TLSSocket): boolean {
  const peer = socket.getPeerX509Certificate()
  if (peer === undefined) return false
  try {
    const certificate = readCertificate(peer.raw)
    // A command of this home that has just revoked it gets its answer.
    if (certificate.kind === "member" && certificate.memberId === member.home.memberId) return true
    member.admission.admit(peer.raw, [...ALL_MEMBERS, "invite"], "all sites")
    return true
  } catch {
    return false
  }
}

function addRoutes(api: FastifyInstance, parts: ApiParts): void {
  const { member, audit } = parts
  const limit = new ActLimit(RECORDED_ACTS_PER_HOUR_MAX)
  const proofLimit = new ActLimit(PROOFS_PER_HOUR_MAX)
  const issuing = (): Issuer => {
    if (parts.issuer !== null) return parts.issuer
    throw new GridError("ROLE_WRONG", "this is a mirror, which issues nothing and takes no changes; ask a server of the site")
  }
  /** The schema of a route and the check of who calls it. */
  const route = (
    summary: string,
    callers: readonly Caller[],
    shapes: { body?: object; answer?: object; otherwise?: object },
    from: AdmittedFrom = "own site",
  ) => ({
    schema: {
      summary: `${summary} Callers: ${callers.join(", ")}${from === "own site" ? "" : "; of federated sites too"}.`,
      ...(shapes.body && { body: shapes.body }),
      response: {
        ...(shapes.answer && { 200: shapes.answer }),
        ...(shapes.otherwise && { 503: shapes.otherwise }),
        "4xx": Refusal,
        "5xx": Refusal,
      },
    },
    onRequest: async (request: FastifyRequest) => {
      callerOf(request, callers, from)
    },
  })
  const callerOf = (request: FastifyRequest, callers: readonly Caller[], from?: AdmittedFrom): Certificate =>
    member.admission.admitSocket(request.raw.socket as TLSSocket, callers, from)

  const requireOwnHome = (request: FastifyRequest): void => {
    const caller = callerOf(request, ALL_SERVERS) as MemberCertificate
    if (caller.memberId !== member.home.memberId)
      throw new GridError("API_REFUSED", "only a command of this server's own home may ask for that")
  }

  for (const [path, summary, health] of [
    [routes.health, "Whether the server lives.", parts.living],
    [routes.readiness, "Whether the server can serve.", parts.ready],
  ] as const)
    api.get(path, route(summary, ALL_MEMBERS, { answer: Health, otherwise: Health }), async (_request, reply) => {
      const found = await health()
      return reply.status(found.ok ? 200 : 503).send(found)
    })

  api.get(routes.description, { ...route("This description.", ALL_MEMBERS, {}), schema: { hide: true } }, async () => api.swagger())

  api.get(routes.status, route("What this server is and holds.", ALL_MEMBERS, { answer: ServerStatus }), async () => parts.status())

  api.get(
    routes.catalog,
    route(
      "The newest catalog, a tar. Who is of a site with which no agreement is in force gets it without what publishers signed.",
      [...ALL_MEMBERS, "invite"],
      {},
      "all sites",
    ),
    async (request, reply) => {
      const { site } = callerOf(request, [...ALL_MEMBERS, "invite"], "all sites")
      const inForce = site === member.home.site || member.federation.catalogs.bytes(site) !== null
      if (!inForce) return reply.type(CATALOG_TYPE).send(await packCatalog(siteScope(member.catalogs.catalog.files)))
      const { entityTag, bytes } = member.catalogs
      reply.header("etag", entityTag)
      return request.headers["if-none-match"] === entityTag ? reply.status(304).send() : reply.type(CATALOG_TYPE).send(bytes)
    },
  )

  api.get(routes.catalogSeq, route("How new that is.", ALL_MEMBERS, { answer: Hint }, "all sites"), async () => ({
    catalogSeq: member.catalogs.catalog.seq,
  }))

  api.get<{ Params: { site: string } }>(
    routes.federatedCatalog,
    { ...route("The newest catalog of a federated site that is kept here, a tar.", ALL_MEMBERS, {}) },
    async (request, reply) => {
      const { site } = request.params
      member.federation.catalogs.catalogOf(site)
      return reply.type(CATALOG_TYPE).send(member.federation.catalogs.bytes(site))
    },
  )

  api.post<{ Body: JoinRequest }>(
    routes.join,
    route("Makes the bearer of an invite a member.", ["invite"], { body: JoinRequest, answer: MembershipAnswer }),
    async (request) => {
      const invite = callerOf(request, ["invite"]) as InviteCertificate
      const answer = await issuing().join(invite, request.body)
      const memberId = memberIdOf(request.body.signingKey)
      limit.count(memberId, member.clock.nowMs())
      const { role, groups } = invite
      const actor: AuditEvent["actor"] = { kind: "invite", ids: [invite.inviteId] }
      await audit.append([{ event: "joined", actor, from: request.ip, what: { memberId, role, groups: groups.join(" ") } }])
      parts.logger.info({ memberId, inviteId: invite.inviteId, role: invite.role, from: request.ip }, "member joined")
      return answer
    },
  )

  api.post<{ Body: RenewRequest }>(
    routes.renew,
    route("Renews the caller's certificate, for its new keys where it brings some.", ALL_MEMBERS, {
      body: RenewRequest,
      answer: MembershipAnswer,
    }),
    async (request) => {
      const caller = callerOf(request, ALL_MEMBERS) as MemberCertificate
      limit.count(caller.memberId, member.clock.nowMs())
      const answer = await issuing().renew(caller, request.body)
      const { rekey } = request.body
      const { memberId, role } = caller
      const newMemberId = rekey === undefined ? null : memberIdOf(rekey.signingKey)
      await audit.append([
        newMemberId === null
          ? { event: "renewed", actor: memberActor(caller), from: request.ip, what: { role } }
          : { event: "rekeyed", actor: memberActor(caller), from: request.ip, what: { role, newMemberId } },
      ])
      if (newMemberId === null) parts.logger.info({ memberId, from: request.ip }, "certificate renewed")
      else parts.logger.info({ memberId, newMemberId, from: request.ip }, "member keys replaced")
      return answer
    },
  )

  // Whoever is of another site is told of this site's servers, and not of a third one's.
  const recordsFor = (caller: Certificate) =>
    caller.site === member.home.site ? member.directory.recordsOfAllSites() : member.directory.records()

  api.get(routes.servers, route("The servers known here.", ALL_MEMBERS, { answer: ServerList }, "all sites"), async (request) => ({
    servers: recordsFor(callerOf(request, ALL_MEMBERS, "all sites")),
  }))

  api.post<{ Body: { servers: ReturnType<typeof member.directory.records> } }>(
    routes.servers,
    route("Tells of servers; answers with those known here.", ALL_SERVERS, { body: ServerList, answer: ServerList }, "all sites"),
    async (request) => {
      await member.directory.consider(request.body.servers)
      return { servers: recordsFor(callerOf(request, ALL_SERVERS, "all sites")) }
    },
  )

  api.post<{ Body: ClaimRequest }>(
    routes.claims,
    route("Claims one use of an invite.", ["server"], { body: ClaimRequest, answer: ClaimAnswer }),
    async (request) => ({ accepted: issuing().claim(request.body) }),
  )

  api.post<{ Body: { catalogSeq: number } }>(
    routes.hints,
    route("Tells of a newer catalog.", ALL_SERVERS, { body: Hint }, "all sites"),
    async (request) => {
      parts.hinted(callerOf(request, ALL_SERVERS, "all sites").site, request.body.catalogSeq)
      return {}
    },
  )

  api.post<{ Body: Publication }>(
    routes.publications,
    { ...route("Takes a change of signed metadata.", ["server"], { body: Publication }), bodyLimit: PUBLICATION_BYTES_MAX },
    async (request) => {
      issuing()
      await parts.apply(request.body, request.ip)
      return {}
    },
  )

  api.get(
    routes.planeKeys,
    route("Keys that open this site's control plane to servers.", ALL_SERVERS, { answer: PlaneKeys }, "all sites"),
    async (request) => {
      const { site } = callerOf(request, ALL_SERVERS, "all sites")
      if (site !== member.home.site) member.federation.catalogs.catalogOf(site)
      const keys = networkKeysInForce(member.secrets, member.catalogs.catalog.site)
      return { keys: keys.map((key) => planeKeyOf(key).toString("hex")) }
    },
  )

  const keeping = () => {
    const keeper = parts.keeper()
    if (keeper !== null) return keeper
    throw new GridError("ROLE_WRONG", "this server takes no part in the grid yet; ask again in a moment")
  }
  api.get(routes.grid, route("The grid as this server sees it.", ALL_MEMBERS, { answer: GridStatus }), async () => keeping().status())

  api.post<{ Body: Static<typeof DrainRequest> }>(
    routes.drain,
    route("Has this server's images taken over by others, or takes part again; of its own home alone.", ALL_SERVERS, {
      body: DrainRequest,
      answer: GridStatus,
    }),
    async (request) => {
      requireOwnHome(request)
      const { draining } = request.body
      await saveDraining(member.home, draining)
      keeping().drain(draining)
      return keeping().status()
    },
  )

  const requireShared = (request: FastifyRequest, infohash: string): void => {
    const { memberId, site } = callerOf(request, ALL_SERVERS, "all sites") as MemberCertificate
    proofLimit.count(memberId, member.clock.nowMs())
    // A layer that a site may not have is none to its servers.
    if (member.swarm.session(infohash as Infohash)?.isSharedWith(site) !== true)
      throw new GridError("LAYER_MISSING", `${infohash} is not whole here`)
  }
  /** Whoever finds its own bytes bad says that it has not got the layer, and sees to it. */
  const honestly = async <Shown>(infohash: string, shown: Promise<Shown>): Promise<Shown> => {
    try {
      return await shown
    } catch (error) {
      if (!(error instanceof GridError) || error.code !== "DIGEST_MISMATCH") throw error
      parts.damaged(infohash as Infohash)
      throw new GridError("LAYER_MISSING", `${infohash} is damaged here`, { cause: error })
    }
  }
  api.post<{ Body: ProofRequest }>(
    routes.proofs,
    route("Shows that this server holds a layer.", ALL_SERVERS, { body: ProofRequest, answer: ProofAnswer }, "all sites"),
    async (request) => {
      requireShared(request, request.body.infohash)
      return { digest: await honestly(request.body.infohash, proofOf(member.layers, request.body)) }
    },
  )

  api.post<{ Body: PieceRequest }>(
    routes.pieces,
    route("A piece of a layer, to servers that audit this one without having it.", ALL_SERVERS, { body: PieceRequest }, "all sites"),
    async (request, reply) => {
      requireShared(request, request.body.infohash)
      return reply.type("application/octet-stream").send(await honestly(request.body.infohash, pieceOf(member.layers, request.body)))
    },
  )

  api.post<{ Body: Static<typeof BundleRequest> }>(
    routes.bundles,
    route("Takes images that a command of this server's own home has unpacked.", ALL_SERVERS, { body: BundleRequest, answer: BundleTaken }),
    async (request) => {
      requireOwnHome(request)
      return parts.takeBundle(request.body.directory)
    },
  )

  api.post<{ Body: DeployReport }>(
    routes.reports,
    route("Says how a deploy of the caller ended.", ["client"], { body: DeployReport }),
    async (request) => {
      const caller = callerOf(request, ["client"]) as MemberCertificate
      limit.count(caller.memberId, member.clock.nowMs())
      const { event, ...what } = request.body
      const name = event === "deployed" ? "deployed" : "deploy-failed"
      await audit.append([{ event: name, actor: memberActor(caller), from: request.ip, what }])
      return {}
    },
  )

  api.post<{ Body: DeployProgress }>(
    routes.progress,
    route("Says how a deploy of the caller goes.", ["client"], { body: DeployProgress, answer: ProgressAnswer }),
    async (request) => ({ nextInMs: parts.deployments.hear((callerOf(request, ["client"]) as MemberCertificate).memberId, request.body) }),
  )

  api.get<{ Querystring: { heard?: "here" } }>(
    routes.deployments,
    {
      ...route("Deploys that go on and that ended, as the servers of the site heard of them.", ["server"], { answer: Deployments }),
      schema: {
        summary:
          "Deploys that go on and that ended, as the servers of the site heard of them; with `heard=here` this one alone. Callers: server.",
        querystring: Type.Object({ heard: Type.Optional(Type.Literal("here")) }, { additionalProperties: false }),
        response: { 200: Deployments, "4xx": Refusal, "5xx": Refusal },
      },
    },
    async (request) => ({ deployments: request.query.heard === "here" ? parts.deployments.own() : await parts.deployments.all() }),
  )

  api.get(
    routes.auditHead,
    route("How long this server's audit log is, signed.", ALL_SERVERS, { answer: AuditHead }),
    async (): Promise<AuditHead> => {
      const { memberId, identity } = member.home
      const { seq, hash } = await audit.head()
      return signAuditHead({ memberId, seq, hash, atMs: member.clock.nowMs() }, identity.signing)
    },
  )

  api.get(
    routes.auditSeen,
    route("What this server saw of the caller's audit log.", ALL_SERVERS, { answer: AuditHeads }),
    async (request) => ({ heads: parts.headsSeen((callerOf(request, ALL_SERVERS) as MemberCertificate).memberId) }),
  )

  api.get(routes.metrics, route("Figures for Prometheus.", ALL_MEMBERS, {}), async (_request, reply) =>
    reply.type(METRICS_TYPE).send(parts.metrics()),
  )
}

function memberActor({ memberId }: MemberCertificate): AuditEvent["actor"] {
  return { kind: "member", ids: [memberId] }
}

function asRefusal(error: unknown): GridError | null {
  if (error instanceof GridError) return error
  if (error instanceof Error && "statusCode" in error && typeof error.statusCode === "number" && error.statusCode < 500)
    return new GridError("REQUEST_INVALID", error.message.slice(0, 500))
  return null
}
