/** The other servers of the site: what is asked of them and told to them. Every call is bounded, and one that is down delays nobody. */
import { formatAddress, type Address } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import { readClaimAnswer, readServerList, readServerStatus, routes, type ClaimRequest, type ServerStatus } from "#core/wire.ts"
import type { Member } from "#member/member.ts"

const CLAIM_TIMEOUT_MS = 3_000
const HINT_TIMEOUT_MS = 5_000

/** False when a fellow knows the invite to be used up. Fellows that do not answer are passed over: a join must not need all of them. */
export async function askFellows(member: Member, claim: ClaimRequest): Promise<boolean> {
  const answers = await Promise.all(
    member.directory.issuers().map(async (fellow) => {
      try {
        // A mirror has no say in who joins.
        const request = { method: "POST", path: routes.claims, body: claim, timeoutMs: CLAIM_TIMEOUT_MS, answeredBy: ["server"] } as const
        return (await member.api.json(fellow, request, readClaimAnswer)).accepted
      } catch (error) {
        member.log.warn({ fellow: formatAddress(fellow), reason: codeOf(error) }, "fellow was not asked about an invite")
        return true
      }
    }),
  )
  return answers.every((accepted) => accepted)
}

/** Tells the fellows that there is a newer catalog to fetch. */
export async function hintFellows(member: Member): Promise<void> {
  const body = { catalogSeq: member.catalogs.catalog.seq }
  await Promise.allSettled(
    member
      .apiAddresses()
      .map((fellow) => member.api.bytes(fellow, { method: "POST", path: routes.hints, body, timeoutMs: HINT_TIMEOUT_MS })),
  )
}

/** Gives each fellow the server records known here and takes theirs. */
export async function exchangeRecords(member: Member): Promise<void> {
  await Promise.allSettled(
    member.apiAddresses().map(async (fellow) => {
      const body = { servers: member.directory.records() }
      await member.directory.consider(
        (await member.api.json(fellow, { method: "POST", path: routes.servers, body }, readServerList)).servers,
      )
    }),
  )
}

/** What a server says it holds. @throws {GridError} as ApiClient does */
export function statusOf(member: Member, server: Address, signal?: AbortSignal): Promise<ServerStatus> {
  return member.api.json(server, { path: routes.status, maxBytes: 64 * 1024 * 1024, ...(signal && { signal }) }, readServerStatus)
}

function codeOf(error: unknown): string {
  return error instanceof GridError ? error.code : "UNKNOWN"
}
