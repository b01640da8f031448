/**
 * A machine becomes a member. Its keys are made here and kept before a server is asked, so that a join that was cut off at any
 * moment goes on as the same member when it is repeated, and an invite's use is never lost.
 */
import { Admission } from "#crypto/admission.ts"
import { readCertificate } from "#crypto/certificate.ts"
import { memberIdentity, sign, signingKeyFromSeed, type MemberIdentity } from "#crypto/identity.ts"
import { inviteProof, type Invite } from "#crypto/invite.ts"
import { openCatalog } from "#trust/catalog.ts"
import { packCatalog, unpackCatalog } from "#trust/catalog-file.ts"
import { formatAddress, type Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import { GridError, type RefusalCode } from "#core/errors.ts"
import { CATALOG_BYTES_MAX, readMembershipAnswer, routes, type JoinRequest } from "#core/wire.ts"
import { ApiClient } from "./api-client.ts"
import { authoritiesOf } from "./catalog-keeper.ts"
import { Home, seedInTheMaking } from "./home.ts"
import { CLOCK_TOLERANCE_MS, readMembership } from "./membership.ts"
import { ServerDirectory } from "./server-directory.ts"

export type JoinParts = { readonly clock: Clock; readonly random: (byteCount: number) => Uint8Array; readonly signal?: AbortSignal }
/** Refusals that no other server would take back. */
const FINAL: ReadonlySet<RefusalCode> = new Set(["INVITE_EXPIRED", "INVITE_INVALID", "INVITE_USED", "CLOCK_WRONG"])

export type JoinOptions = {
  readonly directory: string
  readonly listen: { readonly api: Address | null; readonly swarm: Address; readonly dht: Address }
}

/** @throws {GridError} INVITE_*, HOME_EXISTS, CLOCK_WRONG, SERVERS_UNREACHABLE, CATALOG_* */
export async function joinSite(invite: Invite, parts: JoinParts, options: JoinOptions): Promise<Home> {
  const inviteCertificate = readCertificate(invite.certificateDer)
  if (inviteCertificate.kind !== "invite") throw new GridError("INVITE_INVALID", "it holds no invite certificate; ask for another")
  const { notBeforeMs, notAfterMs } = inviteCertificate
  const nowMs = parts.clock.nowMs()
  const here = `the clock here says ${new Date(nowMs).toISOString()}`
  if (nowMs >= notAfterMs)
    throw new GridError(
      "INVITE_EXPIRED",
      `it ended at ${new Date(notAfterMs).toISOString()}, and ${here}; set the clock if it is wrong, else ask for another`,
    )
  if (nowMs < notBeforeMs - CLOCK_TOLERANCE_MS)
    throw new GridError(
      "CLOCK_WRONG",
      `the invite was made at ${new Date(notBeforeMs).toISOString()}, and ${here}; set the clock and try again`,
    )
  if (inviteCertificate.role !== "client" && options.listen.api === null)
    throw new GridError("USAGE", "a server or mirror needs an address for its API: give --api HOST:PORT")

  const seed = await seedInTheMaking(options.directory, parts.random)
  const identity = memberIdentity(seed)
  const visitor = new Admission({
    clock: parts.clock,
    site: inviteCertificate.site,
    authorities: [invite.authorityDer],
    revoked: [],
    certificateDer: invite.certificateDer,
    signing: signingKeyFromSeed(invite.seed),
  })
  const api = new ApiClient(visitor)
  const keys = { signingKey: identity.signing.publicKeyHex, sealingKey: identity.sealing.publicKeyHex }
  const proof = sign(identity.signing, inviteProof(inviteCertificate.inviteId, keys.signingKey, keys.sealingKey)).toString("base64")

  const failures: string[] = []
  let refusal: GridError | null = null
  for (const server of invite.api) {
    let joined: Awaited<ReturnType<typeof askToJoin>>
    try {
      const signal = parts.signal === undefined ? {} : { signal: parts.signal }
      joined = await askToJoin({ api, server, signal, invite, visitor, identity, clock: parts.clock, keys: { ...keys, proof } })
    } catch (error) {
      // What a server says of the invite or of this clock is final. One that is down, behind or hostile says nothing of them: another may answer.
      if (!(error instanceof GridError) || FINAL.has(error.code)) throw error
      if (parts.signal?.aborted === true)
        throw new GridError("INTERRUPTED", "the join was not finished; the same command goes on with it", { cause: error })
      if (error.code !== "SERVERS_UNREACHABLE") refusal ??= error
      failures.push(error.detail)
      continue
    }
    const { certificate, secrets, files, servers } = joined
    const home = await Home.create(options.directory, {
      site: inviteCertificate.site,
      role: inviteCertificate.role,
      rootDigest: invite.rootDigest,
      listen: { ...options.listen, api: inviteCertificate.role !== "client" ? options.listen.api : null },
      firstKnown: { api: invite.api, dht: invite.dht },
      seed,
      certificateDer: certificate.der,
      secrets,
      catalogBytes: await packCatalog(files),
      createdAtMs: parts.clock.nowMs(),
    })
    const directory = await ServerDirectory.open(home, visitor)
    await directory.consider(servers)
    return home
  }
  if (refusal !== null) throw refusal
  const tried = failures.length === 0 ? invite.api.map(formatAddress) : failures
  throw new GridError(
    "SERVERS_UNREACHABLE",
    `${tried.join("; ")}. See that one of them runs and can be reached from here, then repeat the same command`,
  )
}

/** Takes the catalog, from which this visitor learns whom it may talk to, and then asks to be made a member. */
async function askToJoin(parts: {
  readonly api: ApiClient
  readonly server: Address
  readonly signal: { readonly signal?: AbortSignal }
  readonly invite: Invite
  readonly visitor: Admission
  readonly identity: MemberIdentity
  readonly clock: Clock
  readonly keys: Omit<JoinRequest, "clockMs">
}) {
  const { api, server, signal, invite, visitor, identity, clock, keys } = parts
  const files = await unpackCatalog(await api.bytes(server, { path: routes.catalog, maxBytes: CATALOG_BYTES_MAX, ...signal }))
  const catalog = openCatalog(files, { rootDigest: invite.rootDigest }, clock.nowMs())
  visitor.update({ authorities: authoritiesOf(catalog), revoked: catalog.site.revoked })
  const body: JoinRequest = { ...keys, clockMs: clock.nowMs() }
  const request = { method: "POST", path: routes.join, body, answeredBy: ["server"], ...signal } as const
  const answer = await api.json(server, request, readMembershipAnswer)
  return { ...readMembership(answer, identity, visitor), files, servers: answer.servers }
}
