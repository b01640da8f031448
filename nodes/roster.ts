/** The servers among which copies are shared out: those that have said of themselves that they serve, with certificates that are in force. Pure. */
import type { Address } from "#core/address.ts"
import { address } from "#core/address.ts"
import type { MemberId } from "#core/identifiers.ts"
import type { SiteDocument } from "#core/documents.ts"
import { readCertificate } from "#crypto/certificate.ts"
import type { RosterServer } from "#grid/core/placement.ts"
import type { ServerRecord } from "#core/wire.ts"

export type GridServer = RosterServer & { readonly api: Address; readonly grid: Address | null; readonly signingKeyHex: string }

/** @param weights of every site whose document is known: a weight counts when the server's own site gave it */
export function rosterOf(
  records: readonly ServerRecord[],
  documents: readonly Pick<SiteDocument, "site" | "weights">[],
  nowMs: number,
): GridServer[] {
  const weights = new Map(
    documents.flatMap(({ site, weights: of }) => of.map(({ memberId, weight }) => [`${site} ${memberId}`, weight] as const)),
  )
  return records
    .flatMap((record) => {
      const certificate = readCertificate(Buffer.from(record.certificate, "base64"))
      // Who was away for longer than its certificate lasts is no server of the grid until it has another one.
      if (certificate.kind !== "member" || nowMs >= certificate.notAfterMs) return []
      const { site, signingKeyHex } = certificate
      const weight = weights.get(`${site} ${record.memberId}`) ?? 1
      return [
        {
          memberId: record.memberId as MemberId,
          site,
          weight,
          api: address(record.api),
          grid: record.grid === null ? null : address(record.grid),
          signingKeyHex,
        },
      ]
    })
    .sort((a, b) => (a.memberId < b.memberId ? -1 : 1))
}
