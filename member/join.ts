/**
 * A machine becomes a member. Its keys are made here and kept before a server is asked, so that a join that was cut off at any
 * moment goes on as the same member when it is repeated, and an invite's use is never lost.
 */
import { Admission } from "#crypto/admission.ts"
import { readCertificate } from "#crypto/certificate.ts"
import { memberIdentity, sign, signingKeyFromSeed } from "#crypto/identity.ts"
import { inviteProof, type Invite } from "#crypto/invite.ts"
import { openCatalog } from "#trust/catalog.ts"
import { packCatalog, unpackCatalog } from "#trust/catalog-file.ts"
import { formatAddress, type Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import { CATALOG_BYTES_MAX, readMembershipAnswer, routes, type JoinRequest } from "#core/wire.ts"
import { ApiClient } from "./api-client.ts"
import { authoritiesOf } from "./catalog-keeper.ts"
import { Home, seedInTheMaking } from "./home.ts"
import { CLOCK_TOLERANCE_MS, readMembership } from "./membership.ts"
import { ServerDirectory } from "./server-directory.ts"

export type JoinParts = { readonly clock: Clock; readonly random: (byteCount: number) => Uint8Array; readonly signal?: AbortSignal }
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
  for (const server of invite.api) {
    try {
      const signal = parts.signal === undefined ? {} : { signal: parts.signal }
      const files = await unpackCatalog(await api.bytes(server, { path: routes.catalog, maxBytes: CATALOG_BYTES_MAX, ...signal }))
      const catalog = openCatalog(files, { rootDigest: invite.rootDigest }, parts.clock.nowMs())
      visitor.update({ authorities: authoritiesOf(catalog), revoked: catalog.site.revoked })
      const body: JoinRequest = { ...keys, proof, clockMs: parts.clock.nowMs() }
      const answer = await api.json(
        server,
        { method: "POST", path: routes.join, body, answeredBy: ["server"], ...signal },
        readMembershipAnswer,
      )
      const { certificate, secrets } = readMembership(answer, identity, visitor)
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
      await directory.consider(answer.servers)
      return home
    } catch (error) {
      // A server that is down or behind says nothing about the invite; another may answer. Any other refusal is final.
      if (!(error instanceof GridError) || error.code !== "SERVERS_UNREACHABLE") throw error
      if (parts.signal?.aborted === true)
        throw new GridError("INTERRUPTED", "the join was not finished; the same command goes on with it", { cause: error })
      failures.push(error.detail)
    }
  }
  const tried = failures.length === 0 ? invite.api.map(formatAddress) : failures
  throw new GridError(
    "SERVERS_UNREACHABLE",
    `${tried.join("; ")}. See that one of them runs and can be reached from here, then repeat the same command`,
  )
}
