/** The other servers of the site: what is asked of them and told to them. Every call is bounded, and one that is down delays nobody. */
import { formatAddress, type Address } from "#core/address.ts"
import type { Agreement } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import {
  readClaimAnswer,
  readServerList,
  readServerStatus,
  routes,
  type ClaimRequest,
  type ServerRecord,
  type ServerStatus,
} from "#core/wire.ts"
import type { Member } from "#member/member.ts"

const CLAIM_TIMEOUT_MS = 3_000
const HINT_TIMEOUT_MS = 5_000
/** They tell one another. */
const HINTED_OF_A_SITE_MAX = 3

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

/** Tells the fellows, and servers of the sites that this one has agreements with, that there is a newer catalog to fetch. */
export async function hintFellows(member: Member): Promise<void> {
  const own = member.apiAddresses().map((fellow) => hint(member, fellow, member.home.site))
  await Promise.allSettled([...own, ...member.federation.catalogs.sites().map(({ agreement }) => hintSite(member, agreement))])
}

/** The same to another site alone. */
export async function hintSite(member: Member, agreement: Agreement): Promise<void> {
  const servers = member.federation.contactsOf(agreement, "api").slice(0, HINTED_OF_A_SITE_MAX)
  await Promise.allSettled(servers.map((server) => hint(member, server, agreement.site)))
}

async function hint({ api, catalogs }: Member, server: Address, site: string): Promise<void> {
  const body = { catalogSeq: catalogs.catalog.seq }
  await api.bytes(server, { method: "POST", path: routes.hints, body, timeoutMs: HINT_TIMEOUT_MS, site })
}

/** Gives each fellow the server records known here and takes theirs; servers of other sites get and give those of their own site alone. */
export async function exchangeRecords(member: Member): Promise<void> {
  const { directory, federation, home } = member
  const exchange = async (server: Address, site: string, servers: readonly ServerRecord[]) => {
    const request = { method: "POST", path: routes.servers, body: { servers }, site } as const
    await directory.consider((await member.api.json(server, request, readServerList)).servers)
  }
  const ownRecords = directory.records()
  await Promise.allSettled([
    ...member.apiAddresses().map((fellow) => exchange(fellow, home.site, directory.recordsOfAllSites())),
    ...federation.catalogs
      .sites()
      .filter(({ inForce }) => inForce)
      .flatMap(({ agreement }) => federation.contactsOf(agreement, "api").map((server) => exchange(server, agreement.site, ownRecords))),
  ])
}

/** What a server says it holds. @throws {GridError} as ApiClient does */
export function statusOf(member: Member, server: Address, signal?: AbortSignal): Promise<ServerStatus> {
  return member.api.json(server, { path: routes.status, maxBytes: 64 * 1024 * 1024, ...(signal && { signal }) }, readServerStatus)
}

function codeOf(error: unknown): string {
  return error instanceof GridError ? error.code : "UNKNOWN"
}
